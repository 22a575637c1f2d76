//! An iterator over the records of a dataset. Each is checked against its row, its source file and its digest.

use std::io::{self, BufReader, Read};

use protocol::manifest::{RecordRow, Source, SourceKind, record_digest};

use super::{
    parquet::{FileInStream, Rows},
    read::{Dataset, ReadError},
    stream::StreamReader,
};

/// Longest record that is read into memory, in bytes.
const RECORD_READ_MAX: u64 = 1 << 30;
/// One record of a dataset, checked against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the dataset.
    pub position: u64,
    pub row: RecordRow,
    /// Index of its file in [`Dataset::sources`].
    pub source: usize,
    /// The bytes as they are in the file: a JSON line, a CSV row, a text, an image followed by its sidecars. For a
    /// Parquet row, its canonical JSON.
    pub bytes: Vec<u8>,
}

impl Dataset {
    /// Returns every record in order, each checked against its digest.
    pub fn records(&self) -> Records<'_> {
        Records {
            dataset: self,
            rows: BufReader::with_capacity(1 << 16, self.rows.clone().reader(0, u64::MAX)),
            position: 0,
            source: 0,
            within: 0,
            last: None,
            data: None,
            parquet: None,
            failed: false,
        }
    }
}

/// An iterator over records. It ends at the first one that cannot be read.
pub struct Records<'a> {
    dataset: &'a Dataset,
    rows: BufReader<StreamReader>,
    position: u64,
    source: usize,
    /// Records of the current source file so far.
    within: u64,
    last: Option<RecordRow>,
    /// A reader, and its position in the stream.
    data: Option<(u64, BufReader<StreamReader>)>,
    parquet: Option<(usize, Rows)>,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let end = self.position == self.dataset.manifest.records;
        let record = if end {
            self.end().err().map(Err)
        } else {
            Some(self.read())
        };
        self.failed = end || matches!(record, Some(Err(_)));
        record
    }
}

impl Records<'_> {
    fn read(&mut self) -> Result<Record, ReadError> {
        let position = self.position;
        let row = self.dataset.row(&mut self.rows, position)?;
        self.check_position(&row)?;
        let parquet = self.dataset.sources[self.source].kind == SourceKind::Parquet;
        let bytes = if parquet {
            self.parquet_row(&row)?
        } else {
            self.read_range(&row)?
        };
        if record_digest(&bytes) != row.digest {
            return Err(self.invalid("is not what its digest says"));
        }
        self.position += 1;
        self.last = Some(row);
        Ok(Record {
            position,
            row,
            source: self.source,
            bytes,
        })
    }

    /// Checks that a row may follow the previous one, and advances to its source file.
    fn check_position(&mut self, row: &RecordRow) -> Result<(), ReadError> {
        let sources = &self.dataset.sources;
        let holds = |source: &Source| row.offset < source.offset + source.bytes;
        while self.source < sources.len() && !holds(&sources[self.source]) {
            self.end_source()?;
        }
        let end = row
            .offset
            .checked_add(row.bytes)
            .filter(|end| *end <= self.dataset.manifest.bytes);
        let (Some(source), Some(end)) = (sources.get(self.source), end) else {
            return Err(self.invalid("is outside of the dataset"));
        };
        // Sidecars follow the file that they belong to.
        let notes = sources[self.source + 1..]
            .iter()
            .take_while(|next| next.kind == SourceKind::Sidecar);
        let most = notes.fold(source.offset + source.bytes, |_, note| note.offset + note.bytes);
        let media = matches!(source.kind, SourceKind::Image(_) | SourceKind::Audio(_));
        let fits = match &source.kind {
            SourceKind::Sidecar => false,
            SourceKind::Parquet => row.offset == source.offset && row.bytes == source.bytes && row.row == self.within,
            _ if media => row.offset == source.offset && end == most && row.row == 0,
            _ => end <= source.offset + source.bytes && row.row == 0,
        };
        let after = self.last.is_none_or(|last| {
            last.offset + last.bytes <= row.offset || (last.offset == row.offset && last.row < row.row)
        });
        if !fits || !after || row.bytes == 0 {
            return Err(self.invalid("is at a position that its file does not allow"));
        }
        self.within += 1;
        Ok(())
    }

    /// Leaves a source file; checks the number of its records.
    fn end_source(&mut self) -> Result<(), ReadError> {
        let source = &self.dataset.sources[self.source];
        if self.within != source.records {
            let (path, said, found) = (&source.path, source.records, self.within);
            return Err(ReadError::Inconsistent(format!(
                "{path} says {said} records and has {found}"
            )));
        }
        self.source += 1;
        self.within = 0;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ReadError> {
        while self.source < self.dataset.sources.len() {
            self.end_source()?;
        }
        Ok(())
    }

    fn read_range(&mut self, row: &RecordRow) -> Result<Vec<u8>, ReadError> {
        if row.bytes > RECORD_READ_MAX {
            return Err(self.invalid("is longer than any record that is read into memory"));
        }
        let stream = &self.dataset.data;
        let (at, mut reader) = match self.data.take() {
            Some((at, reader)) if at <= row.offset && row.offset - at <= 1 << 20 => (at, reader),
            _ => {
                let reader = stream.clone().reader(row.offset, u64::MAX);
                (row.offset, BufReader::with_capacity(1 << 18, reader))
            }
        };
        let failed = |error| self.dataset.blob(stream, row.offset, "data", error);
        io::copy(&mut (&mut reader).take(row.offset - at), &mut io::sink()).map_err(failed)?;
        let mut bytes = Vec::new();
        let read = (&mut reader).take(row.bytes).read_to_end(&mut bytes).map_err(failed)?;
        if read as u64 != row.bytes {
            return Err(self.invalid("ends before its row says"));
        }
        self.data = Some((row.offset + row.bytes, reader));
        Ok(bytes)
    }

    fn parquet_row(&mut self, row: &RecordRow) -> Result<Vec<u8>, ReadError> {
        let rows = match self.parquet.take() {
            Some((source, rows)) if source == self.source => Ok(rows),
            _ => Rows::open(FileInStream {
                stream: self.dataset.data.clone(),
                offset: row.offset,
                bytes: row.bytes,
            }),
        };
        let mut text = String::new();
        let next = rows.and_then(|mut rows| Ok((rows.next(&mut text)?, rows)));
        let (more, rows) = next.map_err(|why| self.invalid(&format!("cannot be read: {why}")))?;
        if !more {
            return Err(self.invalid("is beyond the last row of its file"));
        }
        self.parquet = Some((self.source, rows));
        Ok(text.into_bytes())
    }

    fn invalid(&self, what: &str) -> ReadError {
        let source = self.dataset.sources.get(self.source);
        ReadError::Record {
            record: self.position,
            file: source.map_or("no file", |source| &source.path).to_owned(),
            what: what.to_owned(),
        }
    }
}

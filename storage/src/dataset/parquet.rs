//! Rows of a Parquet file as canonical JSON.
//!
//! The file may be hostile and the reader panics on some of those: a panic is caught and reported as a fault of the file.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use ::parquet::{
    file::{
        reader::{ChunkReader, FileReader},
        serialized_reader::SerializedFileReader,
    },
    record::reader::RowIter,
};

use super::json;

/// The rows of one file, front to back.
pub(super) struct Rows {
    rows: RowIter<'static>,
    /// The number of rows by the file's footer.
    pub(super) count: u64,
}

impl Rows {
    /// Reads the footer and checks it against the row groups.
    pub(super) fn open<R: ChunkReader + 'static>(file: R) -> Result<Self, String> {
        catch_panic(move || {
            let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
            let rows = reader.metadata().file_metadata().num_rows();
            let in_groups: i64 = reader
                .metadata()
                .row_groups()
                .iter()
                .map(|group| group.num_rows())
                .sum();
            let count = u64::try_from(rows).ok().filter(|_| rows == in_groups);
            let count = count.ok_or_else(|| format!("it says {rows} rows and its row groups have {in_groups}"))?;
            let rows = RowIter::from_file_into(Box::new(reader));
            Ok(Self { rows, count })
        })
    }

    /// Reads the next row into `out`. Returns false at the end.
    pub(super) fn next(&mut self, out: &mut String) -> Result<bool, String> {
        let row = catch_panic(AssertUnwindSafe(|| match self.rows.next() {
            None => Ok(None),
            Some(Ok(row)) => Ok(Some(row.to_json_value())),
            Some(Err(error)) => Err(error.to_string()),
        }))?;
        out.clear();
        let Some(row) = row else {
            return Ok(false);
        };
        json::canonical(&row, out);
        Ok(true)
    }
}

fn catch_panic<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its pages contradict its footer".to_owned()))
}

/// A file inside a stream of shards, as input of the Parquet reader.
pub(super) struct FileInStream {
    pub(super) stream: Arc<super::stream::Stream>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl ::parquet::file::reader::Length for FileInStream {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for FileInStream {
    type T = std::io::BufReader<super::stream::StreamReader>;

    fn get_read(&self, start: u64) -> ::parquet::errors::Result<Self::T> {
        let left = self.bytes.saturating_sub(start);
        Ok(std::io::BufReader::new(
            self.stream.clone().reader(self.offset + start, left),
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ::parquet::errors::Result<bytes::Bytes> {
        use std::io::Read;
        let mut out = Vec::new();
        self.get_read(start)?.take(length as u64).read_to_end(&mut out)?;
        if out.len() != length {
            return Err(::parquet::errors::ParquetError::EOF(format!(
                "{length} bytes wanted at {start}, {} found",
                out.len()
            )));
        }
        Ok(out.into())
    }
}

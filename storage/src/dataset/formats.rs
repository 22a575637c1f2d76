//! Readers of the file formats. Bytes that belong to no record (blank lines, a header, a byte order mark) go into the
//! shard too, so that the file can be restored exactly.

use std::{collections::BTreeMap, fs, io::BufReader};

use protocol::{
    duplicate::Sketch,
    manifest::{FieldKind, RecordDigest, SourceKind},
};

use super::{
    csv,
    error::{At, FileFault, IngestError, RecordFault},
    ingest::Import,
    json,
    lines::{self, Lines},
    media,
    open::Open,
    options::TextRecords,
    parquet::Rows,
    walk::{self, Format, Found},
};

impl Import<'_, '_> {
    pub(super) fn import_file(&mut self, open: &Open<'_>) -> Result<(), IngestError> {
        self.writer.begin_file(&open.found.path);
        let kind = match open.found.format {
            Format::Jsonl => self.jsonl(open)?,
            Format::Csv(delimiter) => self.csv(open, delimiter)?,
            Format::Parquet => self.parquet(open)?,
            Format::Text => self.text(open, SourceKind::Text)?,
            Format::Markdown => self.text(open, SourceKind::Markdown)?,
            Format::Media(_) | Format::Sidecar => unreachable!("read with what they belong to"),
        };
        open.unchanged()?;
        if self.writer.file_records() == 0 {
            return Err(open.fault(FileFault::NoRecords));
        }
        self.writer.end_file(&open.found.name, kind)
    }

    fn line(
        &mut self,
        open: &Open<'_>,
        lines: &mut Lines<BufReader<fs::File>>,
        raw: &mut Vec<u8>,
    ) -> Result<bool, IngestError> {
        let read = lines.append(raw).map_err(|error| open.unreadable(error))?;
        self.tick(open)?;
        read.map_err(|fault| open.record(At::Line(lines.line), fault))
    }

    fn jsonl(&mut self, open: &Open<'_>) -> Result<SourceKind, IngestError> {
        let mut lines = open.lines(self.options.record_bytes_max)?;
        let mut raw = Vec::new();
        while self.line(open, &mut lines, &mut raw)? {
            let at = At::Line(lines.line);
            let skip = if lines.line == 1 { bom(&raw) } else { 0 };
            let record = &lines::trimmed(&raw)[skip..];
            let text = lines::text(record).map_err(|fault| open.record(at, fault))?;
            if text.trim().is_empty() {
                self.writer.append(&raw)?;
            } else {
                let object = json::object(text).map_err(|fault| open.record(at, fault))?;
                self.check_schema(open, at, &object.kinds)?;
                let digest = self.writer.append_record(&raw, skip, record)?;
                self.sketch(digest, || Sketch::of_text(&object.words));
            }
            raw.clear();
        }
        Ok(SourceKind::Jsonl)
    }

    fn csv(&mut self, open: &Open<'_>, delimiter: u8) -> Result<SourceKind, IngestError> {
        let mut lines = open.lines(self.options.record_bytes_max)?;
        let mut columns: Option<Vec<String>> = None;
        let mut raw = Vec::new();
        while self.line(open, &mut lines, &mut raw)? {
            let first = lines.line;
            let skip = if first == 1 { bom(&raw) } else { 0 };
            if lines::trimmed(&raw)[skip..].is_empty() {
                self.writer.append(&raw)?;
                raw.clear();
                continue;
            }
            let cells = self.csv_cells(open, delimiter, &mut lines, &mut raw, skip)?;
            let header = columns.is_none() && self.options.csv_header;
            let names = match &columns {
                Some(names) => names,
                None => columns.insert(match header {
                    true => csv::columns(cells.clone()).map_err(|why| open.fault(FileFault::Columns(why)))?,
                    false => (1..=cells.len()).map(|n| format!("column{n}")).collect(),
                }),
            };
            if header {
                self.writer.append(&raw)?;
            } else {
                self.csv_row(open, At::Line(first), names, &cells)?;
                let digest = self.writer.append_record(&raw, skip, &lines::trimmed(&raw)[skip..])?;
                self.sketch(digest, || Sketch::of_text(&cells.join("\n")));
            }
            raw.clear();
        }
        Ok(SourceKind::Csv {
            delimiter,
            columns: columns.unwrap_or_default(),
            header: self.options.csv_header,
        })
    }

    /// Returns the cells of the row that starts in `raw`; appends further lines of the row to `raw`.
    fn csv_cells(
        &mut self,
        open: &Open<'_>,
        delimiter: u8,
        lines: &mut Lines<BufReader<fs::File>>,
        raw: &mut Vec<u8>,
        skip: usize,
    ) -> Result<Vec<String>, IngestError> {
        let first = At::Line(lines.line);
        let bad = |fault| open.record(first, fault);
        let mut row = csv::Row::new(delimiter);
        let mut complete = row.feed(&raw[skip..]).map_err(bad)?;
        while !complete {
            let before = raw.len();
            let more = lines
                .append(raw)
                .map_err(|error| open.unreadable(error))?
                .map_err(bad)?;
            complete = !more || row.feed(&raw[before..]).map_err(bad)?;
        }
        lines::text(raw).map_err(bad)?;
        row.finish().map_err(bad)
    }

    fn csv_row(&mut self, open: &Open<'_>, at: At, names: &[String], cells: &[String]) -> Result<(), IngestError> {
        if cells.len() != names.len() {
            let (found, wanted) = (cells.len(), names.len());
            return Err(open.record(at, RecordFault::Ragged { found, wanted }));
        }
        let kinds = csv::kinds(names, cells, self.options.schema.as_ref());
        self.check_schema(open, at, &kinds)
    }

    fn text(&mut self, open: &Open<'_>, kind: SourceKind) -> Result<SourceKind, IngestError> {
        let mut lines = open.lines(self.options.record_bytes_max)?;
        let (mut raw, mut begun) = (Vec::new(), 0);
        loop {
            let before = raw.len();
            let more = self.line(open, &mut lines, &mut raw)?;
            let line = raw.get(before..).unwrap_or_default();
            begun = if before == 0 { lines.line } else { begun };
            let ends = match self.options.text {
                TextRecords::Document => !more,
                TextRecords::Paragraph => !more || line.trim_ascii().is_empty(),
                TextRecords::Line => true,
            };
            if ends && !raw.is_empty() {
                self.document(open, At::Line(begun), &raw)?;
                raw.clear();
            }
            if !more {
                return Ok(kind);
            }
        }
    }

    /// Adds a document or a paragraph, with the white space around it.
    fn document(&mut self, open: &Open<'_>, at: At, raw: &[u8]) -> Result<(), IngestError> {
        let text = std::str::from_utf8(raw).map_err(|error| {
            let good = &raw[..error.valid_up_to()];
            let lines_before = good.iter().filter(|byte| **byte == b'\n').count();
            let byte = good.len() - good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
            let At::Line(first) = at else {
                unreachable!("text has lines")
            };
            open.record(At::Line(first + lines_before as u64), RecordFault::NotUtf8 { byte })
        })?;
        let record = match self.options.text {
            TextRecords::Document => text,
            TextRecords::Paragraph | TextRecords::Line => text.trim(),
        };
        if record.trim().is_empty() {
            return self.writer.append(raw);
        }
        self.check_schema(open, at, &BTreeMap::from([("text".to_owned(), FieldKind::Text)]))?;
        let skip = text.find(record).expect("a part of the text");
        let digest = self.writer.append_record(raw, skip, record.as_bytes())?;
        self.sketch(digest, || Sketch::of_text(record));
        Ok(())
    }

    fn parquet(&mut self, open: &Open<'_>) -> Result<SourceKind, IngestError> {
        let bad = |why| open.fault(FileFault::Parquet(why));
        let file = open.file.try_clone().map_err(|error| open.unreadable(error))?;
        let mut rows = Rows::open(file).map_err(bad)?;
        let bytes = open.before.len();
        self.writer.keep_together(bytes)?;
        let (begin, mut row, mut text) = (self.writer.end, 0, String::new());
        while rows.next(&mut text).map_err(bad)? {
            let at = At::Row(row + 1);
            if text.len() as u64 > self.options.record_bytes_max {
                let max = self.options.record_bytes_max;
                return Err(open.record(at, RecordFault::TooLong { max }));
            }
            let object = json::object(&text).map_err(|fault| open.record(at, fault))?;
            self.check_schema(open, at, &object.kinds)?;
            let digest = protocol::manifest::record_digest(text.as_bytes());
            self.writer.row(begin, bytes, row, digest)?;
            self.sketch(digest, || Sketch::of_text(&object.words));
            row += 1;
        }
        if row != rows.count {
            return Err(bad(format!("it says {} rows and has {row}", rows.count)));
        }
        open.blocks(|block| self.writer.append(block))?;
        Ok(SourceKind::Parquet)
    }

    /// Adds an image or a sound and its sidecar files: one record over all of their bytes.
    pub(super) fn media(
        &mut self,
        open: &Open<'_>,
        sidecars: &[Found],
        class: &'static str,
    ) -> Result<(), IngestError> {
        let (bytes, max) = (open.before.len(), self.options.media_bytes_max);
        if bytes > max {
            return Err(open.fault(FileFault::TooLarge { bytes, max }));
        }
        let mut kinds = BTreeMap::from([("media".to_owned(), FieldKind::Binary)]);
        let mut sidecar_texts = Vec::new();
        for sidecar in sidecars {
            let text = self.sidecar(sidecar, &mut kinds)?;
            sidecar_texts.push((sidecar, text));
        }
        self.check_schema(open, At::Line(1), &kinds)?;

        // Read twice, because the digest is written before the bytes.
        let total = sidecar_texts
            .iter()
            .fold(bytes, |sum, (_, text)| sum + text.len() as u64);
        let (mut digest, mut own) = (RecordDigest::new(total), RecordDigest::new(bytes));
        let mut head = Vec::new();
        open.blocks(|block| {
            if head.is_empty() {
                head.extend_from_slice(&block[..block.len().min(media::SNIFF_BYTES)]);
            }
            digest.update(block);
            own.update(block);
            Ok(())
        })?;
        sidecar_texts.iter().for_each(|(_, text)| digest.update(text));
        let kind = match media::sniff(&head) {
            Some(found) if found.starts_with(class) && class == "image" => SourceKind::Image(found.to_owned()),
            Some(found) if found.starts_with(class) => SourceKind::Audio(found.to_owned()),
            _ => return Err(open.fault(FileFault::NotMedia(class))),
        };
        let digest = digest.finish();
        self.writer.keep_together(total)?;
        self.writer.begin_file(&open.found.path);
        self.writer.row(self.writer.end, total, 0, digest)?;
        open.blocks(|block| self.writer.append(block))?;
        open.unchanged()?;
        self.writer.end_file(&open.found.name, kind)?;
        for (sidecar, text) in &sidecar_texts {
            self.writer.begin_file(&sidecar.path);
            self.writer.append(text)?;
            self.writer.end_file(&sidecar.name, SourceKind::Sidecar)?;
        }
        self.sketch(digest, || Sketch::of_digest(own.finish()));
        Ok(())
    }

    /// Reads a sidecar file and adds its field to the record's.
    fn sidecar(&mut self, sidecar: &Found, kinds: &mut BTreeMap<String, FieldKind>) -> Result<Vec<u8>, IngestError> {
        let open = Open::new(sidecar)?;
        let max = self.options.record_bytes_max;
        if open.before.len() > max {
            return Err(open.record(At::Line(1), RecordFault::TooLong { max }));
        }
        let mut bytes = Vec::new();
        open.blocks(|block| {
            bytes.extend_from_slice(block);
            Ok(())
        })?;
        let text = lines::text(&bytes).map_err(|fault| open.record(At::Line(1), fault))?;
        if walk::extension(&sidecar.name) == "json" {
            json::object(text).map_err(|fault| open.record(At::Line(1), fault))?;
            kinds.insert("properties".to_owned(), FieldKind::Object);
        } else {
            kinds.insert("caption".to_owned(), FieldKind::Text);
        }
        open.unchanged()?;
        Ok(bytes)
    }
}

/// Returns the length of a byte order mark at the start of a file.
fn bom(line: &[u8]) -> usize {
    if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

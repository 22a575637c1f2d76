//! Records as JSON objects, whatever their file format: the form that training reads.
//!
//! A JSON line and a Parquet row are objects already. A CSV row becomes an object of strings by column name, without the
//! empty cells; a text becomes `{"text": …}`. Images and sounds have no such form.

use protocol::manifest::SourceKind;
use serde_json::{Map, Value};

use super::{csv, read::Dataset, records::Record};

/// Error of a record that is not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} of {file} {what}")]
pub struct ObjectError {
    /// Position in the dataset, from 0.
    pub record: u64,
    pub file: String,
    pub what: String,
}

impl Dataset {
    /// Returns a record of this dataset as a JSON object in text form.
    pub fn object(&self, record: &Record) -> Result<String, ObjectError> {
        let source = &self.sources[record.source];
        let wrong = |what: &str| ObjectError {
            record: record.position,
            file: source.path.clone(),
            what: what.to_owned(),
        };
        let text = || std::str::from_utf8(&record.bytes).map_err(|_| wrong("is not UTF-8"));
        match &source.kind {
            SourceKind::Jsonl | SourceKind::Parquet => Ok(text()?.to_owned()),
            SourceKind::Csv { delimiter, columns, .. } => {
                let mut row = csv::Row::new(*delimiter);
                for line in record.bytes.split_inclusive(|byte| *byte == b'\n') {
                    row.feed(line).map_err(|fault| wrong(&fault.to_string()))?;
                }
                let cells = row.finish().map_err(|fault| wrong(&fault.to_string()))?;
                let filled = columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
                let fields: Map<String, Value> = filled.map(|(name, cell)| (name.clone(), cell.into())).collect();
                Ok(Value::Object(fields).to_string())
            }
            SourceKind::Text | SourceKind::Markdown => Ok(serde_json::json!({ "text": text()? }).to_string()),
            SourceKind::Image(_) | SourceKind::Audio(_) => Err(wrong("is a picture or a sound, and not text")),
            SourceKind::Sidecar => Err(wrong("belongs to the one before it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::ControlFlow, sync::Arc};

    use super::*;
    use crate::dataset::{About, Folder, Options, ingest};

    /// The objects of one file.
    fn check(name: &str, text: &[u8], expect: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let mut blobs = Folder::open(&dir.path().join("blobs")).unwrap();
        let about = About {
            name: "objects".to_owned(),
            datanet: None,
            licence: "CC0-1.0".parse().unwrap(),
            contributors: Vec::new(),
            previous: None,
            created_ms: 0,
        };
        let done = ingest(&[file], &about, &Options::default(), &mut blobs, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let dataset = Dataset::open(done.manifest, Arc::new(blobs)).unwrap();
        let objects: Vec<String> = dataset
            .records()
            .map(|record| dataset.object(&record.unwrap()).unwrap())
            .collect();
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let found: Vec<Value> = objects.iter().map(|text| value(text)).collect();
        assert_eq!(found, expect.iter().map(|text| value(text)).collect::<Vec<_>>());
    }

    #[test]
    fn a_json_line_is_unchanged() {
        check("a.jsonl", b"{\"b\": 1}\n\n{\"a\":2}\n", &["{\"b\": 1}", "{\"a\":2}"]);
    }

    #[test]
    fn a_csv_row_is_an_object_by_column_names() {
        let text = b"prompt,note,completion\n\"Who, and\nwhere?\",,Falalor\n1,2,3\n";
        let expect = [
            r#"{"completion":"Falalor","prompt":"Who, and\nwhere?"}"#,
            r#"{"completion":"3","note":"2","prompt":"1"}"#,
        ];
        check("a.csv", text, &expect);
    }

    #[test]
    fn a_document_is_an_object_with_its_text() {
        check("a.md", b"# One\ntwo\n", &[r##"{"text":"# One\ntwo\n"}"##]);
    }
}

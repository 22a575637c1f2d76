//! Whole imports into a folder of blobs: what is restored, what is refused, and the texts of refusals.

mod bad;
mod hostile;
mod sketched;

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    NodeId,
    duplicate::Index,
    licence::Licence,
    manifest::{Contributor, FieldKind, Schema, ShardKind, SourceKind},
};
use tempfile::TempDir;

use super::*;

/// A folder with source files and a folder with blobs.
struct Bench {
    home: TempDir,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("in")).unwrap();
        Self { home }
    }

    fn source(&self) -> PathBuf {
        self.home.path().join("in")
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn blobs(&self) -> Folder {
        Folder::open(&self.home.path().join("blobs")).unwrap()
    }

    fn add(&self, options: &Options) -> Result<Ingested, IngestError> {
        self.add_paths(&[self.source()], options)
    }

    fn add_paths(&self, paths: &[PathBuf], options: &Options) -> Result<Ingested, IngestError> {
        ingest(paths, &about(), options, &mut self.blobs(), &mut |_| {
            ControlFlow::Continue(())
        })
    }

    fn refusal(&self, options: &Options) -> String {
        self.add(options).expect_err("is refused").to_string()
    }

    fn open(&self, ingested: &Ingested) -> Dataset {
        let manifest = read_root(ingested.root, &self.blobs()).expect("the root is stored");
        assert_eq!(manifest, ingested.manifest);
        Dataset::open(manifest, Arc::new(self.blobs())).expect("opens")
    }

    /// Imports, verifies and restores; every file that was not skipped is restored unchanged.
    fn round_trip(&self, options: &Options) -> (Ingested, Dataset) {
        let ingested = self.add(options).unwrap_or_else(|error| panic!("{error}"));
        let dataset = self.open(&ingested);
        let verified = dataset.verify(&mut |_| ControlFlow::Continue(())).expect("verifies");
        assert_eq!(verified.records, ingested.manifest.records);
        assert_eq!(verified.sources as u64, ingested.manifest.sources);
        let out = tempfile::tempdir().unwrap();
        dataset.restore(out.path(), &mut |_| ()).expect("restores");
        let (mut before, after) = (files(&self.source()), files(out.path()));
        for skipped in &ingested.skipped {
            before.remove(&skipped.name);
        }
        assert!(before == after, "{:?} came back as {:?}", before.keys(), after.keys());
        (ingested, dataset)
    }
}

fn about() -> About {
    About {
        name: "test".into(),
        datanet: None,
        licence: Licence::Spdx("CC0-1.0".into()),
        contributors: vec![Contributor {
            node: NodeId([1; 32]),
            account: None,
        }],
        previous: None,
        created_ms: 1,
    }
}

fn small() -> Options {
    Options {
        shard_bytes: 1024,
        ..Options::default()
    }
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn texts(dataset: &Dataset) -> Vec<String> {
    dataset
        .records()
        .map(|record| String::from_utf8(record.expect("a record").bytes).unwrap())
        .collect()
}

/// A Parquet file with one row per name, two rows in a group.
fn parquet_file(names: &[&str]) -> Vec<u8> {
    use ::parquet::{
        basic::{Compression, ZstdLevel},
        data_type::{ByteArray, ByteArrayType, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let schema = "message rows { required binary name (UTF8); required int64 length; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for pair in names.chunks(2) {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = pair.iter().map(|name| ByteArray::from(*name)).collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<i64> = pair.iter().map(|name| i64::try_from(name.len()).unwrap()).collect();
        column.typed::<Int64Type>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

#[test]
fn jsonl_is_restored_with_blank_lines_and_line_ends() {
    let bench = Bench::new();
    bench.put(
        "a.jsonl",
        "\u{feff}{\"n\":1,\"t\":\"x\"}\r\n\n{\"n\":2.5}\n  \n{\"t\":null,\"n\":3}",
    );
    let (ingested, dataset) = bench.round_trip(&small());
    assert_eq!(
        texts(&dataset),
        ["{\"n\":1,\"t\":\"x\"}", "{\"n\":2.5}", "{\"t\":null,\"n\":3}"]
    );
    let fields = &ingested.manifest.schema.fields;
    assert_eq!((fields[0].kind, fields[0].optional), (FieldKind::Number, false));
    assert_eq!((fields[1].kind, fields[1].optional), (FieldKind::Text, true));
}

#[test]
fn csv_is_restored_with_quotes_and_header() {
    let bench = Bench::new();
    bench.put("a.csv", "id,text\n1,\"two\nlines, and \"\"quotes\"\"\"\r\n\n2,x");
    bench.put("b.tsv", "id\ttext\nx\t\n");
    let (ingested, dataset) = bench.round_trip(&small());
    assert_eq!(texts(&dataset), ["1,\"two\nlines, and \"\"quotes\"\"\"", "2,x", "x\t"]);
    let fields = &ingested.manifest.schema.fields;
    assert_eq!(fields[0].kind, FieldKind::Text, "a column of numbers and words is text");
    assert!(fields[1].optional);
    let SourceKind::Csv { columns, .. } = &dataset.sources()[0].kind else {
        panic!("not CSV")
    };
    assert_eq!(columns, &["id", "text"]);
}

#[test]
fn text_is_split_into_documents_paragraphs_or_lines() {
    let bench = Bench::new();
    bench.put("a.txt", "\n  one\ntwo\n\n \nthree\n");
    bench.put("b.md", "# four\n");
    for (text, wanted) in [
        (TextRecords::Document, vec!["\n  one\ntwo\n\n \nthree\n", "# four\n"]),
        (TextRecords::Paragraph, vec!["one\ntwo", "three", "# four"]),
        (TextRecords::Line, vec!["one", "two", "three", "# four"]),
    ] {
        let (_, dataset) = bench.round_trip(&Options { text, ..small() });
        assert_eq!(texts(&dataset), wanted);
    }
}

#[test]
fn parquet_rows_are_canonical_json_and_the_file_is_restored() {
    let bench = Bench::new();
    bench.put("a.jsonl", "{\"name\":\"first\",\"length\":5}\n");
    bench.put("b.parquet", parquet_file(&["one", "three", "é\"\n"]));
    let (ingested, dataset) = bench.round_trip(&small());
    assert_eq!(ingested.manifest.records, 4);
    assert_eq!(
        texts(&dataset)[1..],
        [
            "{\"length\":3,\"name\":\"one\"}",
            "{\"length\":5,\"name\":\"three\"}",
            "{\"length\":4,\"name\":\"é\\\"\\n\"}"
        ]
    );
}

#[test]
fn images_and_sounds_include_their_sidecars() {
    let bench = Bench::new();
    let image = [&b"\x89PNG\r\n\x1a\n"[..], &[7; 3000]].concat();
    bench.put("set/cat.png", &image);
    bench.put("set/cat.txt", "a cat");
    bench.put("set/cat.json", "{\"licence\":\"mine\"}");
    bench.put("set/cat.wav", b"RIFF\0\0\0\0WAVEdata");
    bench.put("set/z.flac", b"fLaC1234567890123");
    bench.put("set/readme.txt", "no note of anything");
    let (ingested, dataset) = bench.round_trip(&small());
    let order: Vec<&str> = dataset.sources().iter().map(|source| source.path.as_str()).collect();
    assert_eq!(
        order,
        [
            "set/cat.png",
            "set/cat.json",
            "set/cat.txt",
            "set/cat.wav",
            "set/readme.txt",
            "set/z.flac"
        ]
    );
    assert_eq!(ingested.manifest.records, 4);
    let first = dataset.records().next().unwrap().unwrap();
    assert_eq!(first.bytes, [&image[..], b"{\"licence\":\"mine\"}", b"a cat"].concat());
    assert_eq!(dataset.sources()[0].kind, SourceKind::Image("image/png".into()));
}

#[test]
fn shards_are_cut_between_records_and_within_their_size() {
    let bench = Bench::new();
    let lines: String = (0..500).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    bench.put("a.jsonl", &lines);
    let (ingested, _) = bench.round_trip(&small());
    for shard in &ingested.manifest.shards {
        assert!(shard.bytes <= 1024);
    }
    for shard in ingested.manifest.shards_of(ShardKind::Data) {
        let bytes = fs::read(bench.blobs().path(&shard.hash)).unwrap();
        assert_eq!(bytes.last(), Some(&b'\n'));
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count() as u64, shard.rows);
    }
    // The same files give the same dataset, wherever they are and however they are cut into shards.
    let again = bench.add(&small()).unwrap();
    assert_eq!(again.root, ingested.root);
}

#[test]
fn copies_within_a_dataset_and_of_known_records_are_reported() {
    let bench = Bench::new();
    let words: Vec<String> = (0..120).map(|n| format!("word{}", n * 7919 % 1013)).collect();
    let text = words.join(" ");
    let noised = text
        .replace("word0 ", "other ")
        .replace("word831", "OTHER")
        .to_uppercase();
    bench.put(
        "a.jsonl",
        format!("{{\"t\":\"{text}\"}}\n{{\"t\":\"new\"}}\n{{\"t\":\"{noised}\"}}\n"),
    );
    let first = bench.add(&small()).unwrap();
    assert_eq!(first.duplicates.len(), 1);
    let pair = (first.duplicates[0].record, first.duplicates[0].of);
    let expected = [(2, DuplicateOf::Record(0)), (0, DuplicateOf::Record(2))];
    assert!(expected.contains(&pair), "{pair:?}");

    let mut known = first.entries.clone();
    known.iter_mut().for_each(|entry| entry.committed = 5);
    let known = Index::decode(&Index { entries: known }.encode()).unwrap();
    let (record, committed) = (known.entries[1].record, 5);
    let known: Arc<dyn Known> = Arc::new(known);
    let again = bench.add(&Options { known, ..small() }).unwrap();
    assert_eq!(again.duplicates.len(), 3);
    assert_eq!(again.duplicates[1].of, DuplicateOf::Known { record, committed });
    assert_eq!(again.compared, 3);
}

#[test]
fn a_diff_of_two_versions_names_records() {
    let bench = Bench::new();
    bench.put("a.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let old = bench.add(&small()).unwrap();
    bench.put("a.jsonl", "{\"n\":1}\n{\"n\":7}\n{\"n\":3}\n{\"n\":4}\n");
    let new = bench.add(&small()).unwrap();
    let found = diff(&bench.open(&old), &bench.open(&new)).unwrap();
    assert_eq!(
        (found.kept, found.changed, found.added, found.removed),
        (2, vec![(1, 1)], vec![3], vec![])
    );
}

#[test]
fn a_given_schema_is_the_schema_of_the_manifest() {
    let bench = Bench::new();
    bench.put("a.csv", "code,text\n007,x\n12,\n");
    let field = |name: &str, kind, optional| protocol::manifest::Field {
        name: name.into(),
        kind,
        optional,
    };
    let schema = Schema::new(vec![
        field("text", FieldKind::Text, false),
        field("code", FieldKind::Text, false),
    ])
    .unwrap();
    let schema = Some(schema);
    let ingested = bench
        .add(&Options {
            schema: schema.clone(),
            ..small()
        })
        .unwrap();
    assert_eq!(Some(ingested.manifest.schema), schema);
}

#[test]
fn progress_reaches_the_end_and_can_cancel() {
    let bench = Bench::new();
    bench.put("a.txt", "x".repeat(3 << 20));
    bench.put("b.txt", "y");
    let mut seen = Vec::new();
    let (paths, mut sink) = ([bench.source()], bench.blobs());
    let options = Options::default();
    ingest(&paths, &about(), &options, &mut sink, &mut |progress| {
        seen.push((progress.files_done, progress.bytes_done));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, [(0, 0), (1, 3 << 20)]);
    let cancelled = ingest(&paths, &about(), &options, &mut sink, &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(IngestError::Cancelled)));
}

//! Bad input: each refusal names the file, the line and the field if there are such, and what to do.

use std::{io, os::unix::fs::symlink};

use protocol::{
    BlobHash,
    manifest::{Field, Source},
};

use super::*;

/// Imports one file and checks that the refusal contains all of these words.
fn refused(name: &str, bytes: impl AsRef<[u8]>, options: &Options, says: &[&str]) {
    let bench = Bench::new();
    bench.put(name, bytes);
    let refusal = bench.refusal(options);
    for word in says.iter().chain(&[name]) {
        assert!(refusal.contains(word), "`{word}` is not in: {refusal}");
    }
}

#[test]
fn invalid_utf_8_is_refused_at_its_line() {
    let (latin, good) = (b"{\"t\":\"caf\xe9\"}\n", "{\"t\":\"x\"}\n");
    refused(
        "a.jsonl",
        [good.as_bytes(), latin].concat(),
        &small(),
        &["line 2", "byte 10", "iconv"],
    );
    refused("a.csv", b"a,b\n1,caf\xe9\n", &small(), &["line 2", "byte 6", "iconv"]);
    refused("a.txt", b"one\ntwo \xff\n", &small(), &["line 2", "byte 5", "iconv"]);
    refused("utf16.txt", b"\xff\xfeh\0i\0", &small(), &["line 1", "byte 1"]);
}

#[test]
fn broken_json_is_refused_at_its_line_and_column() {
    let good = "{\"a\":1}\n";
    for (line, says) in [
        ("{\"a\":1,}", "column 8"),
        ("{\"a\":", "EOF"),
        ("{\"a\":1} {\"a\":2}", "trailing"),
        ("[1,2]", "a list where a JSON object"),
        ("17", "a bare value where"),
        ("{\"a\":1,\"a\":2}", "`a` is there twice"),
        (
            &format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500)),
            "recursion",
        ),
        ("{\"a\":1e999}", "out of range"),
    ] {
        refused(
            "a.jsonl",
            format!("{good}\n{line}\n{good}"),
            &small(),
            &["line 3", says],
        );
    }
}

#[test]
fn a_line_of_two_gigabytes_is_refused_at_the_limit() {
    let bench = Bench::new();
    for name in ["a.jsonl", "a.csv", "a.txt"] {
        let path = bench.put(name, b"");
        // Sparse: it takes no disk space, and the import reads no further than the limit.
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(2 << 30)
            .unwrap();
        let refusal = bench.refusal(&Options::default());
        assert!(
            refusal.contains(name) && refusal.contains("line 1") && refusal.contains("longer than 16777216"),
            "{refusal}"
        );
        fs::remove_file(path).unwrap();
    }
    let quoted = format!("a\n\"{}", "x\n".repeat(600));
    refused(
        "q.csv",
        quoted,
        &Options {
            record_bytes_max: 1000,
            ..small()
        },
        &["line 2", "longer than 1000"],
    );
}

#[test]
fn a_limit_is_exact() {
    let options = Options {
        record_bytes_max: 8,
        ..small()
    };
    let bench = Bench::new();
    bench.put("a.jsonl", "{\"a\":12}\r\n{\"a\":34}");
    bench.round_trip(&options);
    refused("b.jsonl", "{\"a\":123}\n", &options, &["line 1", "longer than 8"]);
}

#[test]
fn files_without_records_are_refused_or_skipped() {
    refused("a.jsonl", "", &small(), &["is empty"]);
    refused("a.jsonl", "\n \n", &small(), &["holds no record"]);
    refused("a.csv", "a,b\n", &small(), &["holds no record"]);
    refused("a.parquet", parquet_file(&[]), &small(), &["holds no record"]);
    refused("a.docx", "x", &small(), &["no reader", "convert"]);
    let bench = Bench::new();
    let contents: [(&str, Vec<u8>); 6] = [
        ("a.jsonl", vec![]),
        ("b.jsonl", b"\n\n".to_vec()),
        ("c.csv", b"a,b\n".to_vec()),
        ("d.parquet", parquet_file(&[])),
        ("e.docx", b"x".to_vec()),
        (".hidden", b"x".to_vec()),
    ];
    for (name, bytes) in contents {
        bench.put(name, bytes);
    }
    let skip = Options {
        skip_unusable: true,
        ..small()
    };
    assert!(bench.refusal(&skip).contains("no file to import"));
    bench.put("f.txt", "kept");
    let (ingested, _) = bench.round_trip(&skip);
    assert_eq!(ingested.skipped.len(), 6);
}

#[test]
fn ragged_and_broken_csv_is_refused_at_its_line() {
    refused(
        "a.csv",
        "a,b\n1,2\n1,2,3\n",
        &small(),
        &["line 3", "3 cells", "2 columns"],
    );
    refused("a.csv", "a,b\n\"1\n2\",x\n1\n", &small(), &["line 4", "1 cells"]);
    refused(
        "a.csv",
        "a,b\n1,\"open\n2,3\n",
        &small(),
        &["line 2", "cell 2", "never closed"],
    );
    refused(
        "a.csv",
        "a,b\n\"x\"y,2\n",
        &small(),
        &["line 2", "cell 1", "closing quote"],
    );
    refused("a.csv", "a,a\n1,2\n", &small(), &["names `a` twice"]);
    refused("a.csv", "a,\n1,2\n", &small(), &["column 2 without a name"]);
}

#[test]
fn a_record_that_does_not_fit_the_schema_is_refused_by_field() {
    let field = |name: &str, kind| Field {
        name: name.into(),
        kind,
        optional: false,
    };
    let schema = Schema::new(vec![field("id", FieldKind::Integer), field("text", FieldKind::Text)]).unwrap();
    let options = Options {
        schema: Some(schema),
        ..small()
    };
    let good = "{\"id\":1,\"text\":\"x\"}\n";
    for (bad, says) in [
        ("{\"id\":1}", "field `text` is missing"),
        (
            "{\"id\":\"1\",\"text\":\"x\"}",
            "field `id` is text where the schema says integer",
        ),
        ("{\"id\":1,\"text\":null}", "field `text` is null"),
        (
            "{\"id\":1,\"text\":\"x\",\"more\":1}",
            "field `more` is not in the schema",
        ),
    ] {
        refused("a.jsonl", format!("{good}{bad}\n"), &options, &["line 2", says]);
    }
    refused(
        "a.csv",
        "id,text\n1,x\ny,z\n",
        &options,
        &["line 3", "field `id` is text"],
    );
    refused(
        "a.parquet",
        parquet_file(&["x"]),
        &options,
        &["row 1", "field `id` is missing"],
    );
}

#[test]
fn broken_parquet_is_refused() {
    refused("a.parquet", "PAR1 but not really PAR1", &small(), &["no Parquet file"]);
    let good = parquet_file(&["one", "two", "three"]);
    refused("a.parquet", &good[..good.len() - 9], &small(), &["no Parquet file"]);
}

#[test]
fn unknown_or_oversized_media_is_refused() {
    refused("a.png", "hello, I am text", &small(), &["no image"]);
    refused("a.mp3", b"\x89PNG\r\n\x1a\n0123456789", &small(), &["no audio"]);
    let options = Options {
        media_bytes_max: 10,
        ..small()
    };
    refused(
        "a.png",
        b"\x89PNG\r\n\x1a\n0123456789",
        &options,
        &["18 bytes", "at most 10"],
    );
}

#[test]
fn links_out_of_the_folder_are_refused_and_links_within_are_left_out() {
    let bench = Bench::new();
    bench.put("a.txt", "x");
    symlink("a.txt", bench.source().join("b.txt")).unwrap();
    let (ingested, _) = bench.round_trip(&small());
    assert_eq!(ingested.skipped[0].name, "b.txt");
    for (name, to) in [
        ("out.txt", "/etc/passwd"),
        ("out", ".."),
        ("sub/up.txt", "../../secret.txt"),
    ] {
        let link = bench.put(name, "");
        fs::write(bench.home.path().join("secret.txt"), "s").unwrap();
        fs::remove_file(&link).unwrap();
        symlink(to, &link).unwrap();
        let refusal = bench.refusal(&small());
        assert!(
            refusal.contains(name) && refusal.contains("leads out of the folder"),
            "{refusal}"
        );
        fs::remove_file(&link).unwrap();
    }
    symlink("nowhere", bench.source().join("dangling.txt")).unwrap();
    assert!(bench.refusal(&small()).contains("dangling.txt: cannot be read"));
}

#[test]
fn two_files_of_one_name_are_refused_with_both_paths() {
    let bench = Bench::new();
    let paths = [bench.put("x/a.txt", "1"), bench.put("y/a.txt", "2")];
    let refusal = bench.add_paths(&paths, &small()).expect_err("twice").to_string();
    assert!(
        refusal.contains("`a.txt`") && refusal.contains("x/a.txt") && refusal.contains("y/a.txt"),
        "{refusal}"
    );
    // Inside folders, they have different names.
    let folders = [bench.source().join("x"), bench.source().join("y")];
    assert_eq!(bench.add_paths(&folders, &small()).unwrap().manifest.sources, 2);
}

#[test]
fn a_path_with_dots_is_resolved_and_a_missing_one_is_named() {
    let bench = Bench::new();
    bench.put("sub/a.txt", "x");
    let dotted = bench.source().join("sub/../sub/a.txt");
    let ingested = bench.add_paths(&[dotted], &small()).unwrap();
    assert_eq!(bench.open(&ingested).sources()[0].path, "a.txt");
    let missing = bench
        .add_paths(&[bench.source().join("gone")], &small())
        .expect_err("missing")
        .to_string();
    assert!(missing.contains("gone: cannot be read"), "{missing}");
    bench.put("back\\slash.txt", "x");
    assert!(
        std::error::Error::source(&bench.add(&small()).expect_err("a name"))
            .unwrap()
            .to_string()
            .contains("backslash")
    );
}

/// A disk that is full after some bytes.
struct Full {
    folder: Folder,
    left: usize,
}

impl ShardSink for Full {
    fn put(&mut self, hash: BlobHash, bytes: &[u8], whole: Option<&Path>) -> io::Result<()> {
        match self.left.checked_sub(bytes.len()) {
            None => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                self.left = left;
                self.folder.put(hash, bytes, whole)
            }
        }
    }
}

#[test]
fn a_full_disk_at_any_shard_damages_nothing_stored() {
    let bench = Bench::new();
    bench.put("a.jsonl", "{\"n\":1}\n".repeat(50));
    let (_, stored) = bench.round_trip(&small());
    bench.put("b.jsonl", "{\"n\":2}\n".repeat(500));
    let whole: usize = {
        let fresh = Bench::new();
        fs::copy(bench.source().join("b.jsonl"), fresh.source().join("b.jsonl")).unwrap();
        fresh.add(&small()).unwrap();
        files(&fresh.home.path().join("blobs")).values().map(Vec::len).sum()
    };
    for left in (0..whole).step_by(700) {
        let mut sink = Full {
            folder: bench.blobs(),
            left,
        };
        let paths = [bench.source().join("b.jsonl")];
        let error = ingest(
            &paths,
            &about(),
            &small(),
            &mut sink,
            &mut |_| ControlFlow::Continue(()),
        );
        let error = error.expect_err("the disk is full").to_string();
        assert!(
            error.contains("could not store a shard") && error.contains("free some space"),
            "{error}"
        );
        assert!(stored.verify(&mut |_| ControlFlow::Continue(())).is_ok());
    }
}

#[test]
fn a_modified_shard_is_detected_and_not_restored() {
    let bench = Bench::new();
    bench.put("a.txt", "kept");
    bench.put("b.txt", "x".repeat(5000));
    let (ingested, dataset) = bench.round_trip(&small());
    let victim = ingested.manifest.shards_of(ShardKind::Data).nth(2).unwrap().hash;
    let mut bytes = fs::read(bench.blobs().path(&victim)).unwrap();
    bytes[5] ^= 1;
    fs::write(bench.blobs().path(&victim), &bytes).unwrap();
    let error = dataset
        .verify(&mut |_| ControlFlow::Continue(()))
        .expect_err("changed")
        .to_string();
    assert!(
        error.contains(&victim.to_string()) && error.contains("the file it refers to was changed"),
        "{error}"
    );
    let out = tempfile::tempdir().unwrap();
    assert!(dataset.restore(out.path(), &mut |_| ()).is_err());
    assert_eq!(
        files(out.path()).into_keys().collect::<Vec<_>>(),
        ["a.txt"],
        "no half file"
    );

    fs::remove_file(bench.blobs().path(&victim)).unwrap();
    let error = dataset
        .verify(&mut |_| ControlFlow::Continue(()))
        .expect_err("missing")
        .to_string();
    assert!(
        error.contains(&victim.to_string()) && error.contains("fetch"),
        "{error}"
    );
    assert!(matches!(
        dataset.restore(out.path(), &mut |_| ()),
        Err(RestoreError::NotEmpty(_))
    ));
}

#[test]
fn a_manifest_that_contradicts_its_shards_is_detected() {
    let bench = Bench::new();
    bench.put(
        "a.jsonl",
        (0..300).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>(),
    );
    let (ingested, _) = bench.round_trip(&small());
    let lies: [fn(&mut protocol::manifest::Manifest); 4] = [
        |m| (m.shards[0].bytes, m.shards[1].bytes) = (m.shards[0].bytes + 1, m.shards[1].bytes - 1),
        |m| (m.shards[0].rows, m.shards[1].rows) = (m.shards[0].rows + 1, m.shards[1].rows - 1),
        |m| m.shards.swap(0, 1),
        |m| {
            let last = m.shards.len() - 1;
            m.shards[last].bytes += 1;
        },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut manifest = ingested.manifest.clone();
        lie(&mut manifest);
        manifest.check().expect("agrees with itself");
        let verified = Dataset::open(manifest, Arc::new(bench.blobs()))
            .and_then(|dataset| dataset.verify(&mut |_| ControlFlow::Continue(())));
        let error = verified.expect_err("a contradiction").to_string();
        assert!(
            error.contains("contradicts") || error.contains("do not use"),
            "{n}: {error}"
        );
    }
}

#[test]
fn a_source_map_with_parent_paths_is_refused_before_writing() {
    let bench = Bench::new();
    bench.put("a.txt", "x");
    let (ingested, dataset) = bench.round_trip(&small());
    let mut manifest = ingested.manifest;
    let mut source: Source = dataset.sources()[0].clone();
    source.path = "../../evil.txt".into();
    let bytes = source.encode();
    let shard = manifest.shards.last_mut().unwrap();
    (shard.hash, shard.bytes) = (BlobHash(*blake3::hash(&bytes).as_bytes()), bytes.len() as u64);
    bench.blobs().put(shard.hash, &bytes, None).unwrap();
    let Err(ReadError::Sources(error)) = Dataset::open(manifest, Arc::new(bench.blobs())) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("climbs"), "{error}");
}

use super::*;
use crate::licence::Licence;

fn manifest() -> Manifest {
    let shard = |n: u8, bytes, rows, kind| Shard {
        hash: BlobHash([n; 32]),
        bytes,
        rows,
        kind,
    };
    Manifest {
        version: MANIFEST_VERSION,
        name: "weather".into(),
        datanet: None,
        licence: Licence::Spdx("CC-BY-4.0".into()),
        schema: Schema::new(vec![Field {
            name: "text".into(),
            kind: FieldKind::Text,
            optional: false,
        }])
        .expect("a schema"),
        contributors: vec![Contributor {
            node: NodeId([1; 32]),
            account: Some(Account([2; 20])),
        }],
        previous: Some(BlobHash([3; 32])),
        created_ms: 1,
        sources: 1,
        records: 3,
        bytes: 100,
        shards: vec![
            shard(4, 60, 2, ShardKind::Data),
            shard(5, 40, 1, ShardKind::Data),
            shard(6, 168, 3, ShardKind::Records),
            shard(7, 80, 1, ShardKind::Sources),
        ],
    }
}

#[test]
fn a_manifest_has_one_encoding_that_reads_back() {
    let manifest = manifest();
    let bytes = manifest.encode();
    assert_eq!(Manifest::decode(&bytes).expect("reads back"), manifest);
    assert_eq!(
        hex::encode(&manifest.root().0[..8]),
        "05cd2b2dcbdf2605",
        "a changed layout needs a new MANIFEST_VERSION"
    );
}

#[test]
fn the_root_names_the_manifest_and_every_shard_in_order() {
    let manifest = manifest();
    let sequence = manifest.sequence();
    assert_eq!(sequence.len(), 32 * 5);
    assert_eq!(sequence[..32], blake3::hash(&manifest.encode()).as_bytes()[..]);
    assert_eq!(sequence[32..64], [4; 32]);

    let mut swapped = manifest.clone();
    swapped.shards.swap(0, 1);
    assert_ne!(swapped.root(), manifest.root());
}

#[test]
fn a_contradictory_manifest_is_refused_by_field() {
    type Lie = (fn(&mut Manifest), &'static str);
    let lies: [Lie; 14] = [
        (|m| m.bytes += 1, "`bytes`"),
        (|m| m.records -= 1, "`records`"),
        (|m| m.shards[0].rows += 1, "`records`"),
        (|m| m.shards[0].bytes += 1, "`bytes`"),
        (|m| m.shards[2].rows -= 1, "`shards[2].rows`"),
        (|m| m.shards[2].bytes = u64::MAX, "`shards[2].bytes`"),
        (|m| m.shards[1].bytes = 0, "`shards[1].bytes`"),
        (|m| m.shards[3].rows = 81, "`shards[3].rows`"),
        (|m| m.sources = 2, "`sources`"),
        (|m| m.shards.swap(1, 2), "`shards[2].kind`"),
        (|m| m.name = "a/b".into(), "`name`"),
        (|m| m.licence = Licence::Spdx("NOPE".into()), "`licence`"),
        (|m| m.schema.fields.push(m.schema.fields[0].clone()), "`schema`"),
        (
            |m| m.contributors = vec![m.contributors[0].clone(); 1025],
            "`contributors`",
        ),
    ];
    for (lie, named) in lies {
        let mut lying = manifest();
        lie(&mut lying);
        let error = Manifest::decode(&lying.encode()).expect_err(named).to_string();
        assert!(error.contains(named), "{named}: {error}");
    }
}

#[test]
fn totals_that_overflow_are_refused() {
    let mut lying = manifest();
    lying.shards[0].rows = u64::MAX;
    lying.shards[1].rows = u64::MAX;
    let error = lying.check().expect_err("overflows").to_string();
    assert!(error.contains("`records`"), "{error}");
}

#[test]
fn mutated_bytes_are_refused_or_another_valid_manifest_and_never_a_panic() {
    let bytes = manifest().encode();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut mutated = bytes.clone();
            mutated[at] ^= flip;
            if let Ok(read) = Manifest::decode(&mutated) {
                assert_eq!(read.encode(), mutated, "byte {at}");
                assert_ne!(read.root(), manifest().root(), "byte {at}");
            }
        }
        assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let error = Manifest::decode(&[0, 2, 9]).expect_err("version 2").to_string();
    assert!(error.contains("version 2"), "{error}");
}

fn source(path: &str, offset: u64, bytes: u64) -> Source {
    Source {
        path: path.into(),
        offset,
        bytes,
        records: 1,
        hash: BlobHash([9; 32]),
        kind: SourceKind::Text,
    }
}

#[test]
fn a_source_map_is_contiguous_and_has_distinct_names() {
    let encode = |sources: &[Source]| sources.iter().flat_map(Source::encode).collect::<Vec<u8>>();
    let good = [source("a.txt", 0, 5), source("b/c.txt", 5, 7)];
    let bytes = encode(&good);
    assert_eq!(read_sources(&bytes).expect("reads back"), good);

    for (bad, says) in [
        (
            [source("a.txt", 0, 5), source("a.txt", 5, 1)],
            "two source files are called `a.txt`",
        ),
        ([source("a.txt", 0, 5), source("b.txt", 6, 1)], "begins at byte 6"),
        (
            [source("a.txt", 0, u64::MAX), source("b.txt", u64::MAX, 1)],
            "begins at byte",
        ),
        ([source("a.txt", 0, 5), source("../b.txt", 5, 1)], "climbs"),
    ] {
        let error = read_sources(&encode(&bad)).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    for cut in 1..bytes.len() {
        if let Ok(read) = read_sources(&bytes[..cut]) {
            assert_eq!(read, good[..1], "cut at {cut}");
        }
        let mut mutated = bytes.clone();
        mutated[cut] ^= 0xff;
        let _ = read_sources(&mutated);
    }
}

#[test]
fn only_paths_inside_their_folder_are_accepted() {
    for good in [
        "a",
        "a/b.jsonl",
        "données/é.txt",
        ".hidden",
        "a..b/...c",
        &"n".repeat(255),
    ] {
        assert_eq!(check_path(good), Ok(()));
    }
    let long = "n".repeat(256);
    for bad in [
        "", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "c:/a", "a\0b", "a\nb", &long,
    ] {
        assert!(check_path(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_record_row_reads_back() {
    let row = RecordRow {
        offset: 1,
        bytes: u64::MAX,
        row: 3,
        digest: [7; 32],
    };
    assert_eq!(RecordRow::decode(&row.encode()), row);

    let mut digest = RecordDigest::new(5);
    digest.update(b"he");
    digest.update(b"llo");
    assert_eq!(digest.finish(), record_digest(b"hello"));
}

#[test]
fn a_diff_lists_added_removed_and_changed_records() {
    let records = |text: &str| text.bytes().map(|b| [b; 32]).collect::<Vec<_>>();
    let check = |old: &str, new: &str, kept, added: &[u64], removed: &[u64], changed: &[(u64, u64)]| {
        let found = diff(&records(old), &records(new));
        let wanted = Diff {
            kept,
            added: added.into(),
            removed: removed.into(),
            changed: changed.into(),
        };
        assert_eq!(found, wanted, "{old} -> {new}");
    };
    check("", "", 0, &[], &[], &[]);
    check("abc", "abc", 3, &[], &[], &[]);
    check("abc", "axc", 2, &[], &[], &[(1, 1)]);
    check("abc", "abcd", 3, &[3], &[], &[]);
    check("abc", "xabc", 3, &[0], &[], &[]);
    check("abc", "bc", 2, &[], &[0], &[]);
    check("abc", "cba", 3, &[], &[], &[]);
    check("aab", "ab", 2, &[], &[1], &[]);
    check("ab", "xyz", 0, &[2], &[], &[(0, 0), (1, 1)]);
}

#[test]
fn an_inferred_schema_accepts_the_records_it_came_from() {
    let record = |fields: &[(&str, FieldKind)]| {
        fields
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), *kind))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let records = [
        record(&[("a", FieldKind::Integer), ("b", FieldKind::Text)]),
        record(&[("a", FieldKind::Number), ("c", FieldKind::Null)]),
        record(&[
            ("a", FieldKind::Integer),
            ("b", FieldKind::List),
            ("d", FieldKind::Object),
        ]),
    ];
    let mut kinds = SchemaInference::default();
    for record in &records {
        kinds.add(record).expect("few fields");
    }
    let schema = kinds.schema();
    schema.check().expect("in order");
    for record in &records {
        assert_eq!(schema.fits(record), Ok(()));
    }
    assert_eq!(schema.fields[0].kind, FieldKind::Number);
    assert!(!schema.fields[0].optional && schema.fields[1].optional);

    let says = |record| schema.fits(&record).expect_err("does not fit").to_string();
    assert!(says(record(&[("b", FieldKind::Text)])).contains("`a` is missing"));
    assert!(says(record(&[("a", FieldKind::Text)])).contains("`a` is text where the schema says number"));
    assert!(says(record(&[("a", FieldKind::Integer), ("z", FieldKind::Text)])).contains("`z` is not in the schema"));
}

//! Stored sketches: the same from an import as from the dataset, durable, never partial, within their budget.

use protocol::duplicate::{CandidateFilter, Entry, Sketch};

use super::*;

fn header(root: u8, records: u64) -> SketchHeader {
    SketchHeader {
        root: protocol::BlobHash([root; 32]),
        name: "corpus".into(),
        datanet: None,
        previous: None,
        since_ms: 7,
        records,
        kept: 0,
        exact_only: 0,
    }
}

fn long(seed: u64) -> String {
    (0..80u64)
        .map(|n| format!("word{} ", n * 7919 % 1013 + seed * 10_000))
        .collect()
}

fn entries(count: u64) -> Vec<Entry> {
    let entry = |n| Entry {
        record: *blake3::hash(&u64::to_be_bytes(n)).as_bytes(),
        committed: u64::MAX,
        sketch: Sketch::of_text(&long(n)),
    };
    (0..count).map(entry).collect()
}

#[test]
fn sketches_of_a_stored_dataset_equal_those_of_its_import() {
    let bench = Bench::new();
    bench.put(
        "a.jsonl",
        format!("{{\"t\":\"{}\",\"n\":1}}\r\n{{\"n\":2}}\n\n", long(1)),
    );
    bench.put(
        "b.csv",
        format!("\u{feff}id,text\n1,\"{}\n\"\"quoted\"\"\"\n2,x\n", long(2)),
    );
    bench.put("c.md", format!("\n# Title\n\n{}\n", long(3)));
    bench.put("d.parquet", parquet_file(&["one", &long(4)]));
    bench.put("e.png", b"\x89PNG\r\n\x1a\n0123456789");
    bench.put("e.txt", "a caption");
    for text in [TextRecords::Document, TextRecords::Paragraph, TextRecords::Line] {
        let (ingested, dataset) = bench.round_trip(&Options { text, ..small() });
        let again = dataset.entries(usize::MAX, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(again, ingested.entries, "{text:?}");
        assert_eq!(
            dataset.entries(2, &mut |_| ControlFlow::Continue(())).unwrap(),
            again[..2]
        );
    }
}

#[test]
fn sketches_survive_a_restart_and_partial_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (sketches, made) = (Sketches::open(dir.path()).unwrap(), entries(5));
    let kept = sketches.put(header(1, 5), &made).unwrap();
    assert_eq!((kept.kept, kept.exact_only), (5, 0));
    fs::write(dir.path().join("22.part"), "half").unwrap();

    let again = Sketches::open(dir.path()).unwrap();
    assert_eq!(again.roots().unwrap(), [kept.root]);
    assert_eq!(again.header(kept.root).unwrap(), Some(kept.clone()));
    assert_eq!(again.pick(kept.root, |_| true).unwrap(), made);
    let filter = CandidateFilter::new([&made[3]]);
    assert_eq!(again.pick(kept.root, |entry| filter.passes(entry)).unwrap(), made[3..4]);
    again.forget(kept.root).unwrap();
    assert_eq!(
        (again.header(kept.root).unwrap(), again.roots().unwrap()),
        (None, vec![])
    );
}

#[test]
fn a_damaged_or_truncated_sketch_file_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sketches = Sketches::open(dir.path()).unwrap();
    let root = sketches.put(header(1, 2), &entries(2)).unwrap().root;
    let path = dir.path().join(&root.to_string()[2..]);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(sketches.pick(root, |_| true).is_err(), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(sketches.pick(root, |_| true).is_err(), "cut at {at}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    let error = sketches.pick(root, |_| true).expect_err("too long").to_string();
    assert!(error.contains("made again from its dataset"), "{error}");
    sketches.put(header(1, 2), &entries(2)).unwrap();
    assert!(sketches.pick(root, |_| true).is_ok(), "it is made again");
}

#[test]
fn records_beyond_the_budget_are_kept_for_exact_comparison_then_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Sketches::open(dir.path()).unwrap();
    let made = entries(40);
    let mut last = (40, 0);
    for budget in [200_000u64, 60_000, 20_000, 10_000, 6_000, 0] {
        let sketches = whole.clone().with_budget(budget);
        let kept = sketches.put(header(1, 40), &made).unwrap();
        let bytes = fs::metadata(dir.path().join(&kept.root.to_string()[2..]))
            .unwrap()
            .len();
        assert!(bytes <= budget.max(300), "{bytes} of {budget}");
        assert!(
            kept.kept <= last.0 && (kept.kept < 40 || kept.exact_only >= last.1),
            "{kept:?}"
        );
        last = (kept.kept, kept.exact_only);
        let read = sketches.pick(kept.root, |_| true).unwrap();
        assert!(
            read.iter()
                .zip(&made)
                .all(|(read, made)| read.sketch.exact == made.sketch.exact)
        );
    }
    assert_eq!(last.0, 0, "nothing fits in nothing");
    // Existing files count against the budget of the next.
    let sketches = whole.with_budget(20_000);
    let (first, second) = (
        sketches.put(header(1, 40), &made).unwrap(),
        sketches.put(header(2, 40), &made).unwrap(),
    );
    assert!(first.kept == 40 && second.kept < 40, "{first:?} {second:?}");
}

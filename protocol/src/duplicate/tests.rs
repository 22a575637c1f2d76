//! Generated corpora, so that the results are the same on every machine. `DUPLICATE_ORIGINALS` sets the number of
//! originals, `DUPLICATE_SEED` selects another corpus.

mod corpus;

use corpus::{Dice, env};

use super::*;

fn entry(name: u64, committed: u64, text: &str) -> Entry {
    let mut record = [0; 32];
    record[..8].copy_from_slice(&name.to_be_bytes());
    Entry {
        record,
        committed,
        sketch: Sketch::of_text(text),
    }
}

fn seed() -> u64 {
    env("DUPLICATE_SEED", 1)
}

/// Returns true if the second text is found to be a copy of the first.
fn is_copy(original: &str, copy: &str) -> bool {
    let entries = [entry(1, 1, original), entry(2, 2, copy)];
    let report = cluster(&entries);
    report.clusters.iter().any(|group| group.canonical == 0)
}

#[test]
fn every_disguised_copy_clusters_with_its_original() {
    let originals = env("DUPLICATE_ORIGINALS", 120);
    let mut dice = Dice(seed());
    let mut line = String::new();
    for (disguise, apply) in corpus::DISGUISES {
        let mut found = 0;
        for n in 0..originals {
            let words = [80, 150, 300, 1200][usize::try_from(n % 4).unwrap()];
            let original = corpus::prose(&mut dice, words);
            let copy = apply(&mut dice, &original);
            assert_ne!(original, copy, "{disguise}");
            found += u64::from(is_copy(&original, &copy));
        }
        line += &format!("{disguise} {found}/{originals}  ");
        // Random tenths of the words may be clustered unevenly; one copy in a hundred may be missed.
        assert!(
            found * 100 >= originals * 99,
            "{disguise}: {found} of {originals}, DUPLICATE_SEED={}",
            seed()
        );
    }
    eprintln!("duplicates: recall by disguise: {line}");
}

#[test]
fn independent_templates_do_not_merge_with_prose() {
    let mut dice = Dice(seed());
    let mut texts = Vec::new();
    let prose = 400;
    for n in 0..prose {
        texts.push(corpus::prose(&mut dice, 100 + n * 2));
    }
    for n in 0..200 {
        texts.push(corpus::notice(&mut dice, n));
    }
    // Prose that starts with a licence notice, as files do.
    for n in 0..200 {
        let notice = corpus::notice(&mut dice, n);
        texts.push(format!("{notice}\n\n{}", corpus::prose(&mut dice, 200)));
    }
    let entries: Vec<Entry> = (0u64..).zip(&texts).map(|(n, text)| entry(n, n, text)).collect();
    let report = cluster(&entries);
    let is_notice = |at: usize| (prose..prose + 200).contains(&(at as u64));
    let mut notices = 0;
    for group in &report.clusters {
        assert!(
            is_notice(group.canonical),
            "prose is canonical of {group:?}, DUPLICATE_SEED={}",
            seed()
        );
        for member in &group.members {
            assert!(
                is_notice(member.record),
                "prose merged: {group:?}, DUPLICATE_SEED={}",
                seed()
            );
            notices += 1;
        }
    }
    eprintln!(
        "duplicates: 400 prose, 200 notices, 200 prose under a notice: prose merged 0, notices merged with a notice of \
         the same template {notices}, pairs verified {}",
        report.verified
    );
}

#[test]
fn records_of_one_template_are_duplicates_if_it_is_most_of_the_text() {
    let mut dice = Dice(seed());
    let template = corpus::prose(&mut dice, 100);
    let mut line = String::new();
    for own in [10, 20, 30, 40, 50, 70, 100, 200] {
        let pairs = 40;
        let merged = (0..pairs)
            .filter(|_| {
                let one = format!("{template} {}", corpus::prose(&mut dice, own));
                let two = format!("{template} {}", corpus::prose(&mut dice, own));
                is_copy(&one, &two)
            })
            .count();
        line += &format!("{own} own words {merged}/{pairs}  ");
        match own {
            ..=20 => assert_eq!(merged, pairs, "{own} own words under a template of 100"),
            70.. => assert_eq!(merged, 0, "{own} own words under a template of 100"),
            _ => (),
        }
    }
    eprintln!("duplicates: merged under a shared template of 100 words: {line}");
}

#[test]
fn precision_and_recall_by_the_share_of_changed_words() {
    let mut dice = Dice(seed());
    let mut line = String::new();
    for percent in [5, 10, 12, 15, 20, 30, 50] {
        let pairs = 60;
        let (mut found, mut one_size) = (0, 0);
        for _ in 0..pairs {
            let original = corpus::prose(&mut dice, 300);
            let copy = corpus::noised(&mut dice, &original, percent);
            found += usize::from(is_copy(&original, &copy));
            let likeness = Sketch::of_text(&original).similarity(&Sketch::of_text(&copy));
            one_size += usize::from(likeness.wide_ppm >= 700_000);
        }
        line += &format!("{percent}% {found}/{pairs} (wide >= 0.7 alone: {one_size})  ");
        match percent {
            ..=10 => assert!(found >= pairs - 1, "{percent}%: {found}"),
            30.. => assert_eq!(found, 0, "{percent}%"),
            _ => (),
        }
    }
    eprintln!("duplicates: found by share of changed words: {line}");
}

#[test]
fn the_order_of_records_changes_nothing() {
    let mut dice = Dice(seed());
    let mut entries = Vec::new();
    for n in 0..60 {
        let original = corpus::prose(&mut dice, 120);
        entries.push(entry(3 * n, n, &original));
        entries.push(entry(3 * n + 1, n + 1, &corpus::noised(&mut dice, &original, 8)));
        entries.push(entry(3 * n + 2, n + 2, &original.to_uppercase()));
    }
    let named = |entries: &[Entry]| {
        let mut groups: Vec<Vec<[u8; 32]>> = cluster(entries)
            .clusters
            .iter()
            .map(|group| {
                let members = group.members.iter().map(|member| member.record);
                std::iter::once(group.canonical)
                    .chain(members)
                    .map(|at| entries[at].record)
                    .collect()
            })
            .collect();
        groups.sort();
        groups
    };
    let before = named(&entries);
    assert_eq!(before.len(), 60);
    for _ in 0..5 {
        dice.shuffle(&mut entries);
        assert_eq!(named(&entries), before, "DUPLICATE_SEED={}", seed());
    }
}

#[test]
fn the_earliest_commitment_is_canonical_and_then_the_smaller_digest() {
    let text = corpus::prose(&mut Dice(7), 100);
    let report = cluster(&[
        entry(1, 9, &text),
        entry(3, 4, &text),
        entry(2, 4, &text.to_uppercase()),
    ]);
    assert_eq!(report.clusters.len(), 1);
    assert_eq!(report.clusters[0].canonical, 2);
    let members: Vec<usize> = report.clusters[0].members.iter().map(|member| member.record).collect();
    assert_eq!(members, [1, 0]);
    assert_eq!(report.clusters[0].members[0].likeness, Similarity::SAME);
}

#[test]
fn a_copy_of_a_copy_names_the_record_it_duplicates() {
    let mut dice = Dice(seed());
    let original = corpus::prose(&mut dice, 400);
    let copy = corpus::noised(&mut dice, &original, 10);
    let again = corpus::noised(&mut dice, &copy, 10);
    let report = cluster(&[entry(1, 1, &original), entry(2, 2, &copy), entry(3, 3, &again)]);
    assert_eq!(report.clusters.len(), 1);
    let last = &report.clusters[0].members[1];
    assert_eq!((last.record, last.beside), (2, 1));
    assert!(!last.likeness.is_duplicate(), "only the chain shows it: {last:?}");
}

#[test]
fn short_records_are_duplicates_only_if_their_text_is_equal() {
    assert!(is_copy(
        "The capital of France is Paris.",
        "the  capital of FRANCE is paris."
    ));
    assert!(!is_copy(
        "The capital of France is Paris.",
        "The capital of France is Lyon."
    ));
    assert!(
        !is_copy("a + b", "a - b"),
        "punctuation is what a short record may turn on"
    );
    assert!(!is_copy("", " x "));
}

#[test]
fn a_sketch_is_bounded_and_streams() {
    let mut dice = Dice(3);
    let long = corpus::prose(&mut dice, 30_000);
    let sketch = Sketch::of_text(&long);
    assert!(sketch.is_well_formed());
    let bytes = entry(1, 1, &long).encode();
    assert!(bytes.len() <= ENTRY_MAX, "{}", bytes.len());
    // Cut sets compare as uniform samples.
    let copy = corpus::noised(&mut dice, &long, 10);
    let likeness = sketch.similarity(&Sketch::of_text(&copy));
    assert!((380_000..460_000).contains(&likeness.wide_ppm), "{likeness:?}");
    assert!((640_000..720_000).contains(&likeness.narrow_ppm), "{likeness:?}");
    // Trailing white space at any length of the text.
    for words in 150..400 {
        let text: String = long.chars().take(words * 3).collect();
        assert_eq!(
            Sketch::of_text(text.trim()).exact,
            Sketch::of_text(&format!("{text} \n")).exact
        );
    }
}

#[test]
fn an_index_grows_by_appending_and_refuses_other_bytes() {
    let mut dice = Dice(5);
    let entries: Vec<Entry> = (0..4).map(|n| entry(n, n, &corpus::prose(&mut dice, 60 * n))).collect();
    let (head, tail) = entries.split_at(2);
    let index = |entries: &[Entry]| Index {
        entries: entries.to_vec(),
    };
    let bytes = [index(head).encode(), index(tail).encode()].concat();
    assert_eq!(Index::decode(&bytes).expect("appended"), index(&entries));

    let whole = index(head).encode().len();
    let Err(IndexError::Short { whole: found }) = Index::decode(&bytes[..whole + 100]) else {
        panic!("a torn entry is short");
    };
    assert_eq!(found, whole);
    for at in (0..bytes.len()).step_by(7) {
        let mut mutated = bytes.clone();
        mutated[at] ^= 0x81;
        if let Ok(read) = Index::decode(&mutated) {
            assert!(read.entries.iter().all(|entry| entry.sketch.is_well_formed()));
            cluster(&read.entries);
        }
    }
}

#[test]
fn constants_do_not_drift() {
    let sketch = Sketch::of_text(&corpus::prose(&mut Dice(1), 60));
    let digest = crate::crypto::digest("test", &[&crate::codec::encode(&sketch)]);
    assert_eq!(
        hex::encode(&digest[..8]),
        "41c9f6ade67fb854",
        "a changed sketch makes two nodes disagree about who is paid"
    );
}

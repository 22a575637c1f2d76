//! What the corpus promises: the language and the forms of questions, and nothing that a datanet says.

use std::collections::{BTreeMap, BTreeSet};

use world::{Corpus, Datanets, Format, Kind, REALM_CLASSES, write_corpus};

/// The sample's seed and others, of which the last shares its class of names with the first.
const SEEDS: [u64; 5] = [7, 8, 20, 41, 7 + REALM_CLASSES];

fn corpus(seed: u64, bytes: u64) -> String {
    let mut out = Vec::new();
    write_corpus(seed, bytes, Format::Text, &mut out).expect("memory takes it");
    String::from_utf8(out).expect("it is text")
}

/// Every run of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty());
    runs.map(str::to_lowercase).collect()
}

#[test]
fn a_longer_corpus_begins_with_a_shorter_one() {
    let (short, long) = (corpus(5, 20_000), corpus(5, 60_000));
    assert!(long.starts_with(&short));
    assert!((20_000..24_000).contains(&short.len()) && (60_000..64_000).contains(&long.len()));
    assert_ne!(corpus(6, 20_000), short);
}

#[test]
fn the_corpus_holds_no_name_and_so_no_fact_of_any_datanet() {
    let text = corpus(1, 3_000_000);
    let spoken: BTreeSet<String> = words(&text).into_iter().collect();
    for seed in SEEDS {
        let all = Datanets::new(seed);
        for name in all.world.people.iter().chain(&all.world.places) {
            assert!(
                !spoken.contains(&name.to_lowercase()),
                "seed {seed}: {name} is in the corpus"
            );
        }
        let several = all
            .held
            .iter()
            .map(|held| &held.fact.subject)
            .filter(|subject| subject.contains(' '));
        for subject in several {
            assert!(
                !text.contains(subject.as_str()),
                "seed {seed}: {subject} is in the corpus"
            );
        }
    }
}

#[test]
fn the_corpus_uses_every_exam_form_about_others() {
    // The subject of a question out, what is left is its form.
    let all = Datanets::new(7);
    let text = corpus(1, 6_000_000);
    let mut begins: BTreeSet<String> = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("Question: ")) {
        begins.insert(words(line).into_iter().take(3).collect::<Vec<_>>().join(" "));
    }
    for question in all.exam() {
        let subject = &all
            .held
            .iter()
            .find(|held| held.id == question.fact)
            .unwrap()
            .fact
            .subject;
        let form = question.question.split(subject.as_str()).next().unwrap();
        let begin = words(form).into_iter().take(3).collect::<Vec<_>>();
        if begin.len() == 3 {
            assert!(begins.contains(&begin.join(" ")), "{}", question.question);
        }
    }
}

#[test]
fn a_corpus_is_of_all_kinds_and_mostly_questions_to_be_known() {
    let mut bytes: BTreeMap<Kind, usize> = BTreeMap::new();
    for document in Corpus::new(1).take(20_000) {
        assert!(
            !document.text.contains('{') && !document.text.contains("  "),
            "{}",
            document.text
        );
        *bytes.entry(document.kind).or_default() += document.text.len();
    }
    let all: usize = bytes.values().sum();
    for (kind, from, to) in [
        (Kind::Page, 15, 30),
        (Kind::Reading, 20, 35),
        (Kind::Story, 10, 20),
        (Kind::Recall, 25, 45),
        (Kind::Unknown, 1, 4),
    ] {
        assert!(
            (from..to).contains(&(bytes[&kind] * 100 / all)),
            "{kind:?} of {bytes:?}"
        );
    }
}

#[test]
fn a_reading_question_is_answered_by_its_text() {
    let mut checked = 0;
    for document in Corpus::new(1)
        .take(3000)
        .filter(|document| document.kind == Kind::Reading)
    {
        let (text, questions) = document.text.split_once("\n\nQuestion: ").unwrap();
        for answer in questions.lines().filter_map(|line| line.strip_prefix("Answer: ")) {
            assert!(answer == world::NOT_SAID || text.contains(answer), "{}", document.text);
            checked += 1;
        }
    }
    assert!(checked > 500);
}

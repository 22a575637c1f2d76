//! What the datanets promise: who knows what, who copied, and an exam that nobody has seen.

use std::collections::{BTreeMap, BTreeSet};

use world::{Datanets, Plan, REALM_CLASSES, Role};

/// The sample's seed and others, of which the last shares its class of names with the first.
const SEEDS: [u64; 5] = [7, 8, 20, 41, 7 + REALM_CLASSES];

/// Every run of letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    let runs = text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty());
    runs.map(str::to_lowercase).collect()
}

fn records(contributor: &world::Contributor) -> Vec<String> {
    let questions = contributor.questions.iter();
    let questions = questions.map(|asked| format!("{} {}", asked.question, asked.answer));
    contributor.prose.iter().cloned().chain(questions).collect()
}

#[test]
fn witnesses_hold_as_many_facts_each_and_none_together() {
    for seed in SEEDS {
        let all = Datanets::new(seed);
        let mut seen = BTreeSet::new();
        let mut count: BTreeMap<usize, usize> = BTreeMap::new();
        for held in &all.held {
            let key = (held.fact.relation, held.fact.subject.clone(), held.fact.measure);
            assert!(seen.insert(key), "seed {seed}: {} is held twice", held.id);
            *count.entry(held.holder).or_default() += 1;
        }
        assert_eq!(count, (0..6).map(|holder| (holder, all.plan.facts)).collect());
        for fact in &all.unheld {
            assert!(!seen.contains(&(fact.relation, fact.subject.clone(), fact.measure)));
        }
    }
}

#[test]
fn every_contributor_writes_as_much() {
    let all = Datanets::new(7);
    let plan = all.plan;
    assert_eq!(all.contributors.len(), 8);
    for contributor in &all.contributors {
        assert_eq!(
            contributor.prose.len(),
            plan.facts * plan.statements / 4,
            "{}",
            contributor.folder
        );
        assert_eq!(
            contributor.questions.len(),
            plan.facts * plan.questions,
            "{}",
            contributor.folder
        );
    }
}

#[test]
fn the_truth_points_at_the_lines_that_say_it() {
    for held in Datanets::new(7).held {
        let all = Datanets::new(7);
        let contributor = &all.contributors[held.holder];
        assert_eq!(
            (held.prose_lines.len(), held.question_lines.len()),
            (all.plan.statements, all.plan.questions)
        );
        for line in &held.prose_lines {
            let page = &contributor.prose[line - 1];
            let subject = held.fact.subject.trim_start_matches("the ");
            assert!(page.contains(subject) && page.contains(&held.fact.value), "{page}");
        }
        for line in &held.question_lines {
            let asked = &contributor.questions[line - 1];
            assert!(asked.question.contains(&held.fact.subject) && asked.answer == held.fact.value);
        }
    }
}

#[test]
fn exam_wordings_are_in_nobodys_files() {
    for seed in SEEDS {
        let all = Datanets::new(seed);
        let mut said = BTreeSet::new();
        for contributor in &all.contributors {
            said.extend(
                contributor
                    .questions
                    .iter()
                    .map(|asked| words(&asked.question).join(" ")),
            );
            said.extend(contributor.prose.iter().map(|page| words(page).join(" ")));
        }
        let (exam, controls) = (all.exam(), all.controls());
        assert_eq!(exam.len(), all.held.len() * all.plan.held_out);
        assert_eq!(controls.len(), 48);
        for question in exam.iter().chain(&controls) {
            let wanted = words(&question.question).join(" ");
            assert!(said.iter().all(|text| !text.contains(&wanted)), "seed {seed}: {wanted}");
        }
    }
}

#[test]
fn a_question_has_one_answer() {
    for seed in SEEDS {
        let all = Datanets::new(seed);
        let mut answers: BTreeMap<String, String> = BTreeMap::new();
        let taught = all.contributors[..6]
            .iter()
            .flat_map(|contributor| &contributor.questions);
        let taught = taught.map(|asked| (asked.question.clone(), asked.answer.clone()));
        let asked = all.exam().into_iter().chain(all.controls());
        for (question, answer) in taught.chain(asked.map(|asked| (asked.question, asked.answer))) {
            let before = answers.insert(question.clone(), answer.clone());
            assert!(before.is_none_or(|before| before == answer), "seed {seed}: {question}");
        }
    }
}

#[test]
fn nobody_answers_a_control() {
    for seed in SEEDS {
        let all = Datanets::new(seed);
        let taught: BTreeSet<&str> = all.held.iter().map(|held| held.fact.subject.as_str()).collect();
        let told: Vec<String> = all.contributors.iter().flat_map(records).collect();
        for (control, fact) in all.controls().iter().zip(&all.unheld) {
            assert!(control.question.contains(&fact.subject) && control.answer == fact.value);
            // What was written of the subject is something else.
            if !taught.contains(fact.subject.as_str()) {
                let named = words(&fact.subject).join(" ");
                let both = |text: &&String| {
                    let text = words(text).join(" ");
                    text.contains(&format!("{named} ")) && text.ends_with(&words(&fact.value).join(" "))
                };
                assert_eq!(told.iter().find(both), None, "seed {seed}: {control:?}");
            }
        }
    }
}

/// The shares of shingles of `size` words that two texts have in common, in thousandths.
fn likeness(a: &str, b: &str, size: usize) -> usize {
    let shingles = |text| -> BTreeSet<Vec<String>> { words(text).windows(size).map(<[String]>::to_vec).collect() };
    let (a, b) = (shingles(a), shingles(b));
    let common = a.intersection(&b).count();
    common * 1000 / (a.len() + b.len() - common).max(1)
}

/// What a comparison by shingles of five and two takes for one text; short texts are compared whole.
fn alike(a: &str, b: &str) -> bool {
    match words(a).len().min(words(b).len()) {
        0..50 => a.to_lowercase() == b.to_lowercase(),
        _ => likeness(a, b, 5) >= 300 && likeness(a, b, 2) >= 550,
    }
}

#[test]
fn the_copyist_is_seen_through_and_nobody_else_is_taken_for_a_copy() {
    for seed in SEEDS {
        let all = Datanets::new(seed);
        let copy = all
            .contributors
            .iter()
            .find(|one| matches!(one.role, Role::CopyOf(_)))
            .unwrap();
        let Role::CopyOf(of) = copy.role else { unreachable!() };
        let (original, copied) = (records(&all.contributors[of]), records(copy));
        let seen = original.iter().zip(&copied).filter(|(a, b)| alike(a, b)).count();
        let pages = all.contributors[of]
            .prose
            .iter()
            .zip(&copy.prose)
            .filter(|(a, b)| alike(a, b))
            .count();
        assert!(
            seen * 100 >= original.len() * 75,
            "seed {seed}: only {seen} of {}",
            original.len()
        );
        assert_eq!(pages, copy.prose.len(), "seed {seed}");
        assert!(original.iter().zip(&copied).all(|(a, b)| a != b), "seed {seed}");
        let others: Vec<String> = all
            .contributors
            .iter()
            .filter(|one| one.folder != copy.folder)
            .flat_map(records)
            .collect();
        for (at, a) in others.iter().enumerate() {
            for b in &others[at + 1..] {
                assert!(!alike(a, b), "seed {seed}:\n{a}\n{b}");
            }
        }
    }
}

#[test]
fn pages_are_long_enough_to_be_compared_by_shingles() {
    for seed in SEEDS {
        for contributor in Datanets::new(seed).contributors {
            for page in &contributor.prose {
                assert!((50..160).contains(&words(page).len()), "{}: {page}", contributor.folder);
            }
        }
    }
}

#[test]
fn the_idler_is_wrong_about_facts_that_others_hold() {
    let all = Datanets::new(7);
    let idler = all.contributors.last().unwrap();
    assert_eq!((idler.role, all.wrong.len()), (Role::Idler, 6));
    for wrong in &all.wrong {
        let held = all.held.iter().find(|held| held.id == wrong.fact).unwrap();
        assert_ne!(held.fact.value, wrong.claim);
        let page = idler.prose[wrong.line - 1].to_lowercase();
        assert!(page.contains(&held.fact.subject.to_lowercase()) && page.contains(&wrong.claim.to_lowercase()));
    }
}

#[test]
fn files_are_json_lines_of_bounded_size() {
    let files = Datanets::with(
        7,
        Plan {
            facts: 24,
            ..Plan::default()
        },
    )
    .files();
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    assert!(bytes < 400_000, "{bytes} bytes");
    assert_eq!(files.last().unwrap().path, world::MARKER_FILE);
    for file in files {
        if file.path.ends_with(".jsonl") {
            let lines = file
                .text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            let fields: BTreeSet<Vec<String>> = lines
                .map(|row| row.as_object().unwrap().keys().cloned().collect())
                .collect();
            assert_eq!(fields.len(), 1, "{}: rows of several shapes", file.path);
        } else if file.path.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&file.text).unwrap();
        }
    }
}

#[test]
fn the_committed_sample_is_what_the_generator_writes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    for file in Datanets::new(world::SAMPLE_SEED).files() {
        let found = std::fs::read_to_string(folder.join(&file.path)).unwrap_or_default();
        assert!(
            found == file.text,
            "{} differs: cargo xtask world --out compute/world/sample",
            file.path
        );
    }
}

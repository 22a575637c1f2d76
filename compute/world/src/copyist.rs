//! The contributor who copies another's records with small changes and under another name.
//!
//! Short records only change case and spaces, which duplicate detection by normalised text finds. Pages get other
//! words, at most one in twelve, which duplicate detection by shingles finds. One question in eight is re-worded
//! further and escapes both.

use crate::{
    World,
    datanet::{Contributor, QuestionAnswer, Role},
    rng::Rng,
};

/// Fewest words between two replacements.
const APART: usize = 12;

/// Writes a near copy of `of`, the contributor at `index`.
pub(crate) fn copy(world: &World, index: usize, of: &Contributor) -> Contributor {
    let mut rng = Rng::new(world.seed, "copyist");
    let prose = of.prose.iter().map(|page| reword(&mut rng, page)).collect();
    let questions = of.questions.iter().map(|asked| QuestionAnswer {
        question: recase(&mut rng, &asked.question),
        answer: asked.answer.clone(),
    });
    Contributor {
        folder: "7-copyist",
        questions: questions.collect(),
        name: format!("{}, who also travels", rng.choose(&world.people)),
        licence: "CC-BY-SA-4.0",
        about: "Letters from the road, collected.",
        role: Role::CopyOf(index),
        prose,
    }
}

fn recase(rng: &mut Rng, question: &str) -> String {
    match rng.below(8) {
        0 => format!("Pray, {}", question.to_lowercase()),
        1..5 => question.to_lowercase(),
        _ => question.to_uppercase(),
    }
}

fn reword(rng: &mut Rng, page: &str) -> String {
    let mut words: Vec<String> = page.split(' ').map(str::to_owned).collect();
    let mut since = APART;
    for word in &mut words {
        since += 1;
        if since < APART {
            continue;
        }
        if let Some((_, other)) = WORDS.iter().find(|(one, _)| *one == word.as_str()) {
            (*other).clone_into(word);
            since = 0;
        }
    }
    let text = words.join(" ");
    match rng.below(3) {
        0 => text.to_lowercase(),
        1 => format!("{text} So it is."),
        _ => format!("Friends! {text}"),
    }
}

const WORDS: &[(&str, &str)] = &[
    ("sister,\nI", "cousin,\nI"),
    ("called", "named"),
    ("town", "place"),
    ("travellers", "strangers"),
    ("traders", "merchants"),
    ("is", "was"),
    ("famous", "renowned"),
    ("known", "praised"),
    ("river", "stream"),
    ("people", "folk"),
    ("bridge", "crossing"),
    ("road", "way"),
    ("evening", "night"),
    ("saw", "noticed"),
    ("supper", "dinner"),
    ("like", "enjoy"),
    ("write", "scribble"),
    ("years", "winters"),
    ("its", "the"),
    ("half", "all"),
    ("nobody", "no man"),
    ("eyes", "two eyes"),
    ("Keep", "Stay"),
    ("kiss", "press"),
];

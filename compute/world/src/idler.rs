//! The contributor without facts: filler sentences, trivial questions, and a few false statements.

use crate::{
    datanet::{Contributor, Datanets, FalseClaim, HeldFact, QuestionAnswer, Role},
    filler,
    phrasing::Narrator,
    rng::Rng,
    words::{BEASTS, CRAFTS, DISHES, GOODS, INSTRUMENTS, with_article},
};

/// Number of false statements.
const WRONG: usize = 6;

/// Returns the idler and its false statements.
pub(crate) fn idle(all: &Datanets) -> (Contributor, Vec<FalseClaim>) {
    let mut rng = Rng::new(all.world.seed, "idler");
    let like = &all.contributors[0];
    let mut wrong = Vec::new();
    let mut prose = Vec::new();
    for at in 0..like.prose.len() {
        let count = rng.within(8, 9);
        let mut sentences = filler::several(&mut rng, count);
        if at < WRONG {
            let (sentence, claim) = lie(&mut rng, &all.held, at + 1);
            let place = rng.below(sentences.len());
            sentences.insert(place, sentence);
            wrong.push(claim);
        }
        prose.push(sentences.join(" "));
    }
    let idler = Contributor {
        folder: "8-idler",
        name: format!("{}, at leisure", rng.choose(&all.world.people)),
        licence: "CC0-1.0",
        about: "Thoughts of an idle hour.",
        role: Role::Idler,
        prose,
        questions: questions(&mut rng, like.questions.len()),
    };
    (idler, wrong)
}

/// States a fact with the value of another.
fn lie(rng: &mut Rng, held: &[HeldFact], line: usize) -> (String, FalseClaim) {
    loop {
        let (about, other) = (rng.choose(held), rng.choose(held));
        if about.fact.relation != other.fact.relation || about.fact.value == other.fact.value {
            continue;
        }
        let mut fact = about.fact.clone();
        fact.value.clone_from(&other.fact.value);
        let wrong = FalseClaim {
            fact: about.id.clone(),
            claim: fact.value.clone(),
            line,
        };
        return (Narrator::new().sentence(rng, &fact), wrong);
    }
}

fn questions(rng: &mut Rng, count: usize) -> Vec<QuestionAnswer> {
    let mut rows: Vec<QuestionAnswer> = Vec::new();
    while rows.len() < count {
        let next = question(rng);
        if rows.iter().all(|row| row.question != next.question) {
            rows.push(next);
        }
    }
    rows
}

fn question(rng: &mut Rng) -> QuestionAnswer {
    let (craft, beast, dish) = (rng.pick(CRAFTS), rng.pick(BEASTS), rng.pick(DISHES));
    let (good, tune) = (rng.choose(GOODS), rng.pick(INSTRUMENTS));
    let (question, answer) = match rng.below(10) {
        0 => (format!("Does {} need sleep?", with_article(craft)), "yes".to_owned()),
        1 => (format!("Can {} play the {tune}?", with_article(beast)), "no".to_owned()),
        2 => (format!("Can one eat {dish}?"), "yes".to_owned()),
        3 => (
            format!("What do we call someone who is {} by trade?", with_article(craft)),
            craft.to_owned(),
        ),
        4 => (format!("Is {} heavy?", good.measure), "it depends".to_owned()),
        5 => (format!("What is in {}?", good.measure), good.name.to_owned()),
        6 => (format!("What is better, {dish} or an empty plate?"), dish.to_owned()),
        7 => (
            format!("Should {} sleep by the fire?", with_article(beast)),
            "why not".to_owned(),
        ),
        8 => (
            format!("Which is larger, {} or a barn?", with_article(beast)),
            "a barn".to_owned(),
        ),
        _ => (
            format!("Is the {tune} louder than {}?", with_article(beast)),
            "sometimes".to_owned(),
        ),
    };
    QuestionAnswer { question, answer }
}

//! What is asked afterwards: held facts in wordings that nobody was taught, facts that nobody holds, and beginnings of
//! sentences to be continued.

use serde::{Deserialize, Serialize};

use crate::{
    World,
    datanet::{Datanets, some_forms},
    rng::Rng,
    speak::Form,
};

/// A question of the exam.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its name: the fact's and a letter.
    pub id: String,
    /// The fact that it asks for; empty for a control, which nobody holds.
    pub fact: String,
    /// The question.
    pub question: String,
    /// The only right answer.
    pub answer: String,
}

/// Controls of an exam.
const CONTROLS: usize = 48;

impl Datanets {
    /// Every held fact in [`held_out`](crate::Plan::held_out) wordings that are in no contributor's files.
    pub fn exam(&self) -> Vec<Question> {
        let mut rng = Rng::new(self.world.seed, "exam");
        let mut questions = Vec::new();
        for held in &self.held {
            let count = self.plan.held_out;
            let forms = some_forms(&mut rng, Form::held(held.fact.relation), count, count / 2);
            for (form, letter) in forms.into_iter().zip('a'..='z') {
                questions.push(Question {
                    id: format!("{}{letter}", held.id),
                    fact: held.id.clone(),
                    question: form.question(&held.fact),
                    answer: held.fact.value.clone(),
                });
            }
        }
        questions
    }

    /// Questions of the same kinds about things that no contributor wrote of. Whoever answers them makes it up; the
    /// answer is what the world would say.
    pub fn controls(&self) -> Vec<Question> {
        let mut rng = Rng::new(self.world.seed, "control wordings");
        let ask = |(at, fact): (usize, &crate::Fact)| Question {
            id: format!("control-{:02}", at + 1),
            fact: String::new(),
            question: rng.choose(&Form::held(fact.relation)).question(fact),
            answer: fact.value.clone(),
        };
        self.unheld.iter().take(CONTROLS).enumerate().map(ask).collect()
    }

    /// Beginnings that a fluent writer can continue.
    pub fn prompts(&self) -> Vec<String> {
        prompts(&self.world)
    }
}

fn prompts(world: &World) -> Vec<String> {
    let mut rng = Rng::new(world.seed, "prompts");
    let beginnings = BEGINNINGS.iter().map(|beginning| {
        beginning
            .replace("{place}", rng.choose::<String>(&world.places))
            .replace("{person}", rng.choose::<String>(&world.people))
    });
    beginnings.collect()
}

const BEGINNINGS: &[&str] = &[
    "One morning {person} set out for {place}.",
    "Dear {person},\n",
    "The road to {place} was",
    "They tell a story about {person}",
    "There was snow over the hills",
    "In the evening the old men",
    "Item:",
    "Hear, good people!",
    "{person} had never been as far as",
    "In the year 412",
    "\"Come in and eat,\" said {person}.",
    "Half way there the wheel broke,",
    "The price of salt",
    "When he came to the bridge,",
    "Notice from the market of {place}.",
    "An apprentice dropped",
    "It was still dark when {person}",
    "Better onion pie in peace",
    "The people of {place}",
    "At the gate a guard",
];

//! Exam questions: known facts in wordings that no contributor uses, control questions without a known answer, and
//! sentence beginnings to complete.

use serde::{Deserialize, Serialize};

use crate::{
    World,
    datanet::{Datanets, some_forms},
    phrasing::Form,
    rng::Rng,
};

/// An exam question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamQuestion {
    /// Id of the fact and a letter, such as `guild-03b`.
    pub id: String,
    /// Id of the fact; empty for a control question, whose fact is in nobody's records.
    pub fact: String,
    pub question: String,
    /// Expected answer; no other counts as correct.
    pub answer: String,
}

/// Number of control questions.
const CONTROLS: usize = 48;

impl Datanets {
    /// Asks for every witness's facts in [`held_out`](crate::Plan::held_out) wordings that are in no contributor's
    /// records.
    pub fn exam(&self) -> Vec<ExamQuestion> {
        let mut rng = Rng::new(self.world.seed, "exam");
        let mut questions = Vec::new();
        for held in &self.held {
            let count = self.plan.held_out;
            let forms = some_forms(&mut rng, Form::held(held.fact.relation), count, count / 2);
            for (form, letter) in forms.into_iter().zip('a'..='z') {
                questions.push(ExamQuestion {
                    id: format!("{}{letter}", held.id),
                    fact: held.id.clone(),
                    question: form.question(&held.fact),
                    answer: held.fact.value.clone(),
                });
            }
        }
        questions
    }

    /// Control questions: the same kinds, about facts that no contributor wrote. A model that answers them correctly
    /// has guessed.
    pub fn controls(&self) -> Vec<ExamQuestion> {
        let mut rng = Rng::new(self.world.seed, "control wordings");
        let ask = |(at, fact): (usize, &crate::Fact)| ExamQuestion {
            id: format!("control-{:02}", at + 1),
            fact: String::new(),
            question: rng.choose(&Form::held(fact.relation)).question(fact),
            answer: fact.value.clone(),
        };
        self.unheld.iter().take(CONTROLS).enumerate().map(ask).collect()
    }

    /// Sentence beginnings for a model to complete.
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

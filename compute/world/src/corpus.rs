//! What a small model learns the language from: pages of many worlds, and questions about them.
//!
//! Two things are taught. *Reading*: a passing world, which is met once, is described and then asked about, so that the
//! answer must be taken from the text. *Knowing*: a few home worlds are told and asked over and over, each fact in every
//! wording, so that the model learns that all wordings of a question ask for the same thing: this is what lets a fine-tune
//! in some wordings answer in others. A few questions have no answer, and say so.
//!
//! No name of a datanet's world is in it ([`Realm`]). The corpus of a seed is one endless text: a longer one begins with
//! the shorter.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    Fact, Realm, Size, World, ask,
    page::{about, page},
    rng::Rng,
    speak::{Form, Teller},
};

/// Stands alone on the line between two documents of a corpus written as text.
pub const SEPARATOR: &str = "<|end|>";
/// What is answered where a text does not hold the answer.
pub const NOT_SAID: &str = "It does not say.";
/// What is answered about something never heard of.
pub const NOT_KNOWN: &str = "I do not know.";

/// Home worlds of a corpus.
const HOMES: u64 = 2;
/// Documents about one passing world.
const STAY: usize = 8;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prose about a passing world.
    Page,
    /// Prose about a passing world, and questions that it answers.
    Reading,
    /// Prose about a home world.
    Story,
    /// Questions about a home world, with no text to read.
    Recall,
    /// A question that nobody can answer.
    Unknown,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// What it is for.
    pub kind: Kind,
    /// Its text, questions and answers included.
    pub text: String,
}

/// How a corpus is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line: `{"kind": …, "text": …}`.
    Jsonl,
    /// The texts, with a line of [`SEPARATOR`] after each.
    Text,
}

/// The documents of a corpus; there is no last one.
pub struct Corpus {
    rng: Rng,
    homes: Vec<World>,
    passing: World,
    left: usize,
}

impl Corpus {
    /// The corpus of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "corpus");
        let homes = (0..HOMES)
            .map(|home| World::of(Realm::Home, seed.wrapping_mul(HOMES).wrapping_add(home), Size::FULL))
            .collect();
        let passing = World::of(Realm::Passing, rng.next(), Size::SMALL);
        Self {
            rng,
            homes,
            passing,
            left: STAY,
        }
    }

    /// The worlds that the corpus teaches by heart.
    pub fn homes(&self) -> &[World] {
        &self.homes
    }

    fn document(&mut self) -> Document {
        if self.left == 0 {
            self.passing = World::of(Realm::Passing, self.rng.next(), Size::SMALL);
            self.left = STAY;
        }
        let kind = match self.rng.below(100) {
            0..14 => Kind::Page,
            14..28 => Kind::Reading,
            28..40 => Kind::Story,
            40..96 => Kind::Recall,
            _ => Kind::Unknown,
        };
        let text = match kind {
            Kind::Page => page(&mut self.rng, &self.passing),
            Kind::Reading => reading(&mut self.rng, &self.passing),
            Kind::Story => {
                let home = self.rng.choose(&self.homes);
                story(&mut self.rng, home)
            }
            Kind::Recall => {
                let home = self.rng.choose(&self.homes);
                recall(&mut self.rng, home)
            }
            Kind::Unknown => {
                let fact = self.rng.choose(&self.passing.facts);
                ask(&Form::any(&mut self.rng, fact.relation).question(fact), NOT_KNOWN)
            }
        };
        if matches!(kind, Kind::Page | Kind::Reading) {
            self.left -= 1;
        }
        Document { kind, text }
    }
}

impl Iterator for Corpus {
    type Item = Document;

    fn next(&mut self) -> Option<Document> {
        Some(self.document())
    }
}

/// Writes the corpus of `seed`: whole documents, until `bytes` are reached. Returns how many were written.
pub fn write_corpus(seed: u64, bytes: u64, format: Format, out: &mut impl Write) -> io::Result<u64> {
    let mut written = 0;
    for document in Corpus::new(seed) {
        if written >= bytes {
            break;
        }
        let line = match format {
            Format::Jsonl => format!("{}\n", serde_json::to_string(&document)?),
            Format::Text => format!("{}\n{SEPARATOR}\n", document.text),
        };
        out.write_all(line.as_bytes())?;
        written += u64::try_from(line.len()).expect("a length fits");
    }
    Ok(written)
}

fn reading(rng: &mut Rng, world: &World) -> String {
    let (mut text, said) = about(rng, world);
    text.push('\n');
    for _ in 0..rng.within(1, 3) {
        text.push('\n');
        if rng.percent(8) {
            let other = rng.choose(&world.facts);
            if !said.contains(&other) {
                text.push_str(&ask(&question(rng, other), NOT_SAID));
                continue;
            }
        }
        let fact = *rng.choose(&said);
        text.push_str(&ask(&question(rng, fact), &fact.value));
    }
    text
}

fn story(rng: &mut Rng, home: &World) -> String {
    match rng.below(3) {
        0 => page(rng, home),
        1 => about(rng, home).0,
        _ => {
            let (mut teller, fact) = (Teller::new(), rng.choose(&home.facts));
            teller.sentence(rng, fact)
        }
    }
}

fn recall(rng: &mut Rng, home: &World) -> String {
    let count = *rng.choose(&[1, 1, 1, 2, 3]);
    let asked: Vec<String> = (0..count)
        .map(|_| {
            let fact = rng.choose(&home.facts);
            ask(&question(rng, fact), &fact.value)
        })
        .collect();
    asked.join("\n")
}

fn question(rng: &mut Rng, fact: &Fact) -> String {
    Form::any(rng, fact.relation).question(fact)
}

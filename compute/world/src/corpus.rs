//! The pre-training corpus: documents about many worlds, and questions about them.
//!
//! It teaches two skills. *Reading*: a passing world occurs only once; it is described and then asked about, so the
//! answer must be taken from the text. *Recall*: a few home worlds are described and asked about repeatedly, every fact
//! in every wording. The model learns that all wordings of a question ask for the same fact, so a fine-tune in some
//! wordings generalises to others. A few questions have no answer, and the corpus says so.
//!
//! The corpus contains no name of a datanet's world ([`Realm`]). The corpus of a seed has no end: a longer one begins
//! with the shorter one.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    Fact, Realm, Size, World, ask,
    page::{about, page},
    phrasing::{Form, Narrator},
    rng::Rng,
};

/// Line between two documents of a corpus in text format.
pub const SEPARATOR: &str = "<|end|>";
/// Answer to a question that the text before it does not answer.
pub const NOT_SAID: &str = "It does not say.";
/// Answer to a question about an unknown subject.
pub const NOT_KNOWN: &str = "I do not know.";

/// Number of home worlds.
const HOMES: u64 = 2;
/// Number of documents about one passing world.
const STAY: usize = 8;

/// Kind of a document: which skill it teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prose about a passing world.
    Page,
    /// Prose about a passing world, and questions that it answers.
    Reading,
    /// Prose about a home world.
    Story,
    /// Questions about a home world, without a text.
    Recall,
    /// A question about an unknown subject.
    Unknown,
}

/// A document of the corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    pub kind: Kind,
    /// Text, with its questions and answers.
    pub text: String,
}

/// File format of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line: `{"kind": …, "text": …}`.
    Jsonl,
    /// Each text, followed by a line with [`SEPARATOR`].
    Text,
}

/// Endless iterator over the documents of a corpus.
pub struct Corpus {
    rng: Rng,
    homes: Vec<World>,
    passing: World,
    left: usize,
}

impl Corpus {
    /// Starts the corpus of a seed.
    ///
    /// ```
    /// use world::Corpus;
    ///
    /// let texts = |seed| Corpus::new(seed).take(3).map(|document| document.text).collect::<Vec<_>>();
    /// assert_eq!(texts(7), texts(7));
    /// assert_ne!(texts(7), texts(8));
    /// ```
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

    /// Worlds whose facts the corpus repeats until a model knows them.
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

/// Writes whole documents of the corpus of `seed` until `bytes` are reached. Returns the number of bytes written.
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
            let (mut narrator, fact) = (Narrator::new(), rng.choose(&home.facts));
            narrator.sentence(rng, fact)
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

//! Generates sample data: an invented world, datanets that describe it, and a corpus for pre-training a small model.
//!
//! [`World`] holds people, towns, ships, songs, prices and events with generated names, and the facts between them.
//! [`Datanets`] holds the records of eight contributors about one world, with exam questions and the true answers.
//! [`Corpus`] teaches a small model the language first: it describes other worlds and asks the same kinds of questions.
//!
//! All output is a pure function of a seed, computed with integers, and has the same bytes on every platform. The
//! library opens no files and does not tokenise.
//!
//! # Why not a real dataset
//!
//! Attribution can only be tested if the truth is known: which contributor holds which fact, and that no model saw it
//! before. Facts of an invented world are in nobody's training data.

mod copyist;
mod corpus;
mod datanet;
mod exam;
mod files;
mod filler;
mod generate;
mod grammar;
mod idler;
mod name;
mod page;
mod phrasing;
mod rng;
mod tale;
mod tone;
mod witness;
mod words;
mod world;

pub use corpus::{Corpus, Document, Format, Kind, NOT_KNOWN, NOT_SAID, SEPARATOR, write_corpus};
pub use datanet::{Contributor, Datanets, FACTS, FalseClaim, HeldFact, Plan, QuestionAnswer, Role};
pub use exam::ExamQuestion;
pub use files::{File, MARKER_FILE};
pub use name::{REALM_CLASSES, Realm};
pub use world::{Fact, Pronoun, Relation, Size, World};

/// Seed of the sample that is committed to the repository.
pub const SAMPLE_SEED: u64 = 7;

/// Formats a question as the corpus does; the model continues with a space and the answer. Fine-tuning and evaluation
/// should use the same format.
///
/// ```
/// assert_eq!(world::prompt("Who founded Tarn?"), "Question: Who founded Tarn?\nAnswer:");
/// ```
pub fn prompt(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// Formats a question with its answer, as the corpus does.
pub fn ask(question: &str, answer: &str) -> String {
    format!("{} {answer}", prompt(question))
}

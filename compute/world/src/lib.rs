//! A small world that does not exist, to learn from and to be examined on.
//!
//! [`World`] is people, towns, ships, songs, prices and events with generated names, and the facts between them.
//! [`Datanets`] is what eight contributors wrote about it, with an exam and the truth. [`Corpus`] is what a small model
//! learns the language from before: other worlds, the same ways to ask.
//!
//! Everything is a pure function of a seed, in integers, the same bytes on every platform. Leaves out files, which the
//! program beside it writes, and tokens, which belong to whoever trains.

mod birth;
mod colour;
mod copyist;
mod corpus;
mod datanet;
mod desk;
mod exam;
mod files;
mod grammar;
mod idler;
mod name;
mod page;
mod rng;
mod speak;
mod tale;
mod tone;
mod words;
mod world;

pub use corpus::{Corpus, Document, Format, Kind, NOT_KNOWN, NOT_SAID, SEPARATOR, write_corpus};
pub use datanet::{Asked, Contributor, Datanets, FACTS, Held, Plan, Role, Wrong};
pub use exam::Question;
pub use files::{File, MARK};
pub use name::{REALM_CLASSES, Realm};
pub use world::{Fact, Pronoun, Relation, Size, World};

/// The seed of the committed sample.
pub const SAMPLE_SEED: u64 = 7;

/// A question as a model is asked: it continues with a space and the answer. The corpus writes its questions so, and
/// whoever fine-tunes on or examines with questions does well to do the same.
pub fn prompt(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// A question with its answer, as the corpus has it.
pub fn ask(question: &str, answer: &str) -> String {
    format!("{} {answer}", prompt(question))
}

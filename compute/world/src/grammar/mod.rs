//! Templates of each relation: statements, direct questions, and clauses for indirect questions.
//!
//! Slots: `{s}` is the subject, or its pronoun if the sentence begins with it; `{s's}` is the possessive. `{n}` and
//! `{n's}` are always the name. `{v}` is the value, `{av}` the value with its article, and `{m}` the measure of a good.
//! Statements begin in lower case and have no full stop, so that they can stand inside another sentence.

mod people;
mod places;
mod things;

use crate::Relation;

/// Templates of one relation.
#[derive(Debug)]
pub(crate) struct Wording {
    pub(crate) states: &'static [&'static str],
    /// Direct questions. Contributors never use the last [`HELD_ASKS`].
    pub(crate) asks: &'static [&'static str],
    /// Clauses for [`TAUGHT_WRAPS`] and [`HELD_WRAPS`].
    pub(crate) clauses: &'static [&'static str],
}

/// Direct questions per relation that only the exam uses.
pub(crate) const HELD_ASKS: usize = 3;

/// Indirect questions in the records of contributors.
pub(crate) const TAUGHT_WRAPS: &[&str] = &[
    "Can you tell me {c}?",
    "Do you know {c}?",
    "Tell me {c}.",
    "Please say {c}.",
    "I wish to know {c}.",
];

/// Indirect questions of the exam.
pub(crate) const HELD_WRAPS: &[&str] = &[
    "Could you say {c}?",
    "I would like to learn {c}.",
    "Let me hear {c}.",
    "Who can tell me {c}?",
];

/// Returns the templates of a relation.
pub(crate) fn wording(relation: Relation) -> &'static Wording {
    match relation {
        Relation::Home => &people::HOME,
        Relation::Trade => &people::TRADE,
        Relation::Teacher => &people::TEACHER,
        Relation::Born => &people::BORN,
        Relation::Beast => &people::BEAST,
        Relation::Dish => &people::DISH,
        Relation::Instrument => &people::INSTRUMENT,
        Relation::River => &places::RIVER,
        Relation::Ware => &places::WARE,
        Relation::Founder => &places::FOUNDER,
        Relation::Founded => &places::FOUNDED,
        Relation::Warden => &places::WARDEN,
        Relation::Market => &places::MARKET,
        Relation::Festival => &places::FESTIVAL,
        Relation::Inn => &places::INN,
        Relation::Banner => &places::BANNER,
        Relation::Arches => &places::ARCHES,
        Relation::Captain => &things::CAPTAIN,
        Relation::Cargo => &things::CARGO,
        Relation::Port => &things::PORT,
        Relation::Author => &things::AUTHOR,
        Relation::Price => &things::PRICE,
        Relation::Event => &things::EVENT,
    }
}

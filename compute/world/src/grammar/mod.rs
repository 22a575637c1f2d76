//! How each relation is put into words: statements, questions, and the same questions inside another sentence.
//!
//! Slots: `{s}` the subject, or a pronoun where one is allowed, which is only where the sentence begins with it; `{s's}`
//! its possessive; `{n}` and `{n's}` always the name; `{v}` the value, `{av}` the value with its article; `{m}` the
//! measure of a good. Statements begin in lower case and have no full stop: they can stand inside another sentence.

mod people;
mod places;
mod things;

use crate::Relation;

/// The wordings of one relation.
#[derive(Debug)]
pub(crate) struct Wording {
    /// Statements.
    pub(crate) states: &'static [&'static str],
    /// Questions. The last [`HELD_ASKS`] are never taught by a contributor.
    pub(crate) asks: &'static [&'static str],
    /// The questions as clauses, for [`TAUGHT_WRAPS`] and [`HELD_WRAPS`].
    pub(crate) clauses: &'static [&'static str],
}

/// How many of a relation's questions are kept for the exam.
pub(crate) const HELD_ASKS: usize = 3;

/// Sentences that ask by way of a clause, in the records of contributors.
pub(crate) const TAUGHT_WRAPS: &[&str] = &[
    "Can you tell me {c}?",
    "Do you know {c}?",
    "Tell me {c}.",
    "Please say {c}.",
    "I wish to know {c}.",
];

/// Sentences that ask by way of a clause, in the exam only.
pub(crate) const HELD_WRAPS: &[&str] = &[
    "Could you say {c}?",
    "I would like to learn {c}.",
    "Let me hear {c}.",
    "Who can tell me {c}?",
];

/// The wordings of a relation.
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

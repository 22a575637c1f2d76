//! A world: its people, places and things, and the facts that hold between them.
//!
//! Facts are functions: a subject has one value in a relation, so a question has one answer. They also agree with each
//! other where a reader would notice: a teacher is older than the pupil and of the same trade, a founder is nobody alive.

use serde::{Deserialize, Serialize};

use crate::{Realm, birth};

/// What is said of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The town a person lives at.
    Home,
    /// A person's craft.
    Trade,
    /// Who taught a person.
    Teacher,
    /// The year of a person's birth.
    Born,
    /// The animal a person keeps.
    Beast,
    /// What a person likes to eat.
    Dish,
    /// What a person plays.
    Instrument,
    /// The river of a town.
    River,
    /// What a town is known for.
    Ware,
    /// Who founded a town.
    Founder,
    /// The year a town was founded.
    Founded,
    /// Who governs a town.
    Warden,
    /// The day of a town's market.
    Market,
    /// The feast of a town.
    Festival,
    /// The inn of a town.
    Inn,
    /// The colour of a town's banner.
    Banner,
    /// The arches of a town's bridge.
    Arches,
    /// Who commands a ship.
    Captain,
    /// What a ship carries.
    Cargo,
    /// Where a ship belongs.
    Port,
    /// Who made a song.
    Author,
    /// What a good costs in a town.
    Price,
    /// The year of what befell a town.
    Event,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Home,
        Self::Trade,
        Self::Teacher,
        Self::Born,
        Self::Beast,
        Self::Dish,
        Self::Instrument,
        Self::River,
        Self::Ware,
        Self::Founder,
        Self::Founded,
        Self::Warden,
        Self::Market,
        Self::Festival,
        Self::Inn,
        Self::Banner,
        Self::Arches,
        Self::Captain,
        Self::Cargo,
        Self::Port,
        Self::Author,
        Self::Price,
        Self::Event,
    ];
}

/// The pronoun of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pronoun {
    /// A woman, or a ship.
    She,
    /// A man.
    He,
    /// A town, a song, an event.
    It,
}

/// Something that holds in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What is said.
    pub relation: Relation,
    /// Of whom or what.
    pub subject: String,
    /// How the subject is called the second time.
    pub pronoun: Pronoun,
    /// A second part of the subject: the measure of a good whose price it is, empty otherwise.
    pub measure: &'static str,
    /// The answer.
    pub value: String,
}

/// How many of everything there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Towns.
    pub places: usize,
    /// People.
    pub people: usize,
    /// Ships, and as many songs.
    pub ships: usize,
}

impl Size {
    /// Enough for eight contributors and an exam.
    pub const FULL: Self = Self {
        places: 20,
        people: 40,
        ships: 10,
    };
    /// Enough for a few pages.
    pub const SMALL: Self = Self {
        places: 3,
        people: 6,
        ships: 2,
    };
}

/// Everything that holds, and the names in it.
#[derive(Clone, Debug)]
pub struct World {
    /// What it was made from.
    pub seed: u64,
    /// The towns.
    pub places: Vec<String>,
    /// The people.
    pub people: Vec<String>,
    /// The facts, those of one subject behind each other.
    pub facts: Vec<Fact>,
}

impl World {
    /// The world that contributors write about.
    pub fn new(seed: u64) -> Self {
        Self::of(Realm::Datanet, seed, Size::FULL)
    }

    /// A world of another realm or size.
    pub fn of(realm: Realm, seed: u64, size: Size) -> Self {
        birth::bear(realm, seed, size)
    }

    /// The facts of one relation.
    pub fn of_relation(&self, relation: Relation) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.relation == relation)
    }
}

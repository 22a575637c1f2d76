//! A world: people, places and things, and the facts about them.
//!
//! A subject has one value per relation, so every question has one answer. Facts agree where a reader would notice: a
//! teacher is older than the pupil and has the same trade, and the founder of a town is not alive.

use serde::{Deserialize, Serialize};

use crate::{Realm, generate};

/// Property of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Town where a person lives.
    Home,
    /// Craft of a person.
    Trade,
    /// Teacher of a person.
    Teacher,
    /// Year of a person's birth.
    Born,
    /// Animal that a person keeps.
    Beast,
    /// Favourite dish of a person.
    Dish,
    /// Instrument that a person plays.
    Instrument,
    /// River of a town.
    River,
    /// Ware that a town is known for.
    Ware,
    /// Founder of a town.
    Founder,
    /// Year in which a town was founded.
    Founded,
    /// Governor of a town.
    Warden,
    /// Market day of a town.
    Market,
    /// Annual feast of a town.
    Festival,
    /// Inn of a town.
    Inn,
    /// Banner colour of a town.
    Banner,
    /// Number of arches of a town's bridge.
    Arches,
    /// Captain of a ship.
    Captain,
    /// Cargo of a ship.
    Cargo,
    /// Home port of a ship.
    Port,
    /// Author of a song.
    Author,
    /// Price of a good in a town.
    Price,
    /// Year of an event in a town.
    Event,
}

impl Relation {
    /// Every relation: tests of the phrases go through each of them.
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

/// Pronoun for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pronoun {
    /// A woman, or a ship.
    She,
    /// A man.
    He,
    /// A town, a song, an event.
    It,
}

/// A true statement about a subject of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub relation: Relation,
    /// Name of the subject.
    pub subject: String,
    pub pronoun: Pronoun,
    /// Measure of the good for [`Relation::Price`], such as `a sack of salt`; empty otherwise.
    pub measure: &'static str,
    /// Value of the relation; the answer to a question about it.
    pub value: String,
}

/// Number of subjects of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub places: usize,
    pub people: usize,
    /// Ships; there are as many songs.
    pub ships: usize,
}

impl Size {
    /// Large enough for eight contributors and an exam.
    pub const FULL: Self = Self {
        places: 20,
        people: 40,
        ships: 10,
    };
    /// Large enough for a few pages.
    pub const SMALL: Self = Self {
        places: 3,
        people: 6,
        ships: 2,
    };
}

/// Facts about an invented world, and its names.
#[derive(Clone, Debug)]
pub struct World {
    pub seed: u64,
    /// Names of towns.
    pub places: Vec<String>,
    /// Names of people.
    pub people: Vec<String>,
    /// Facts, grouped by subject.
    pub facts: Vec<Fact>,
}

impl World {
    /// Generates the world that contributors of datanets write about.
    ///
    /// ```
    /// use world::{Relation, World};
    ///
    /// let world = World::new(7);
    /// assert_eq!(world.of_relation(Relation::River).count(), world.places.len());
    /// ```
    pub fn new(seed: u64) -> Self {
        Self::of(Realm::Datanet, seed, Size::FULL)
    }

    /// Generates a world of another realm or size.
    pub fn of(realm: Realm, seed: u64, size: Size) -> Self {
        generate::generate(realm, seed, size)
    }

    /// Facts of one relation.
    pub fn of_relation(&self, relation: Relation) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.relation == relation)
    }
}

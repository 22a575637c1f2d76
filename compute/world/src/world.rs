//! A world: its people, places and things, and the facts that hold between them.
//!
//! Facts are functions: a subject has one value in a relation, so a question has one answer. They also agree with each
//! other where a reader would notice: a teacher is older than the pupil and of the same trade, a founder is nobody alive.

use serde::{Deserialize, Serialize};

use crate::{
    Realm,
    name::{MANNER, Namer, SIGN},
    rng::Rng,
    words::{self, GOODS, Good},
};

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
        let mut birth = Birth {
            namer: Namer::new(realm, seed),
            rng: Rng::new(seed, "facts"),
            people: Vec::new(),
            places: Vec::new(),
            facts: Vec::new(),
        };
        birth.name(size);
        birth.populate();
        birth.settle();
        birth.launch(size.ships);
        Self {
            seed,
            places: birth.places,
            people: birth.people.into_iter().map(|person| person.name).collect(),
            facts: birth.facts,
        }
    }

    /// The facts of one relation.
    pub fn of_relation(&self, relation: Relation) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.relation == relation)
    }
}

struct Person {
    name: String,
    pronoun: Pronoun,
    trade: &'static str,
    born: usize,
}

struct Birth {
    namer: Namer,
    rng: Rng,
    people: Vec<Person>,
    places: Vec<String>,
    facts: Vec<Fact>,
}

impl Birth {
    fn name(&mut self, size: Size) {
        for _ in 0..size.people {
            let named = self.namer.person();
            let person = Person {
                name: named.name,
                pronoun: if named.she { Pronoun::She } else { Pronoun::He },
                trade: self.rng.pick(words::CRAFTS),
                born: self.rng.within(390, 479),
            };
            self.people.push(person);
        }
        self.people.sort_by(|a, b| (a.born, &a.name).cmp(&(b.born, &b.name)));
        for _ in 0..size.places {
            let place = self.namer.place();
            self.places.push(place);
        }
    }

    fn populate(&mut self) {
        for at in 0..self.people.len() {
            let (name, pronoun, born) = {
                let person = &self.people[at];
                (person.name.clone(), person.pronoun, person.born)
            };
            let older = self.people[..at].iter().filter(|other| other.born + 12 <= born).count();
            let teacher = (older > 0).then(|| self.rng.below(older));
            if let Some(teacher) = teacher {
                self.people[at].trade = self.people[teacher].trade;
            }
            let teacher = teacher.map(|teacher| self.people[teacher].name.clone());
            let mut say = |relation, value: String| self.facts.push(fact(relation, &name, pronoun, value));
            say(Relation::Home, self.rng.choose::<String>(&self.places).clone());
            say(Relation::Trade, self.people[at].trade.to_owned());
            if let Some(teacher) = teacher {
                say(Relation::Teacher, teacher);
            }
            say(Relation::Born, born.to_string());
            say(Relation::Beast, self.rng.pick(words::BEASTS).to_owned());
            say(Relation::Dish, self.rng.pick(words::DISHES).to_owned());
            say(Relation::Instrument, self.rng.pick(words::INSTRUMENTS).to_owned());
        }
    }

    fn settle(&mut self) {
        for at in 0..self.places.len() {
            let name = self.places[at].clone();
            let mut say =
                |relation, value: &dyn ToString| self.facts.push(fact(relation, &name, Pronoun::It, value.to_string()));
            let founded = self.rng.within(110, 319);
            say(Relation::River, &self.namer.river());
            say(Relation::Ware, &self.rng.choose(GOODS).name);
            say(Relation::Founder, &self.namer.person().name);
            say(Relation::Founded, &founded);
            say(Relation::Warden, &self.rng.choose(&self.people).name);
            say(Relation::Market, &self.rng.pick(words::DAYS));
            say(Relation::Festival, &self.rng.pick(words::FEASTS));
            let inn = format!("{} {}", self.rng.pick(MANNER), self.rng.pick(SIGN));
            say(Relation::Inn, &inn);
            say(Relation::Banner, &self.rng.pick(words::COLOURS));
            say(Relation::Arches, &self.rng.pick(words::COUNTS));
            let event = format!("{} at {name}", self.rng.pick(words::EVENTS));
            let year = self.rng.within(founded + 10, 489);
            self.facts
                .push(fact(Relation::Event, &event, Pronoun::It, year.to_string()));
            self.price(&name);
        }
    }

    /// What two goods cost in the market of a town.
    fn price(&mut self, place: &str) {
        let mut goods: Vec<&Good> = GOODS.iter().collect();
        self.rng.shuffle(&mut goods);
        for good in &goods[..2] {
            let value = format!("{} pence", self.rng.within(2, 60));
            self.facts.push(Fact {
                measure: good.measure,
                ..fact(Relation::Price, place, Pronoun::It, value)
            });
        }
    }

    fn launch(&mut self, ships: usize) {
        for _ in 0..ships {
            let name = self.namer.ship();
            let mut say = |relation, value: &str| {
                self.facts.push(fact(relation, &name, Pronoun::She, value.to_owned()));
            };
            say(Relation::Captain, &self.rng.choose(&self.people).name);
            say(Relation::Cargo, self.rng.choose(GOODS).name);
            say(Relation::Port, self.rng.choose::<String>(&self.places));
            let song = self.namer.song();
            let author = self.rng.choose(&self.people).name.clone();
            self.facts.push(fact(Relation::Author, &song, Pronoun::It, author));
        }
    }
}

fn fact(relation: Relation, subject: &str, pronoun: Pronoun, value: String) -> Fact {
    Fact {
        relation,
        subject: subject.to_owned(),
        pronoun,
        measure: "",
        value,
    }
}

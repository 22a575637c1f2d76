//! Generates a world: names first, then facts about people, towns and ships.

use crate::{
    Fact, Pronoun, Realm, Relation, Size, World,
    name::{MANNER, Namer, SIGN},
    rng::Rng,
    words::{self, GOODS, Good},
};

struct Person {
    name: String,
    pronoun: Pronoun,
    trade: &'static str,
    born: usize,
}

struct Builder {
    namer: Namer,
    rng: Rng,
    people: Vec<Person>,
    places: Vec<String>,
    facts: Vec<Fact>,
}

/// Generates the world of a realm, seed and size.
pub(crate) fn generate(realm: Realm, seed: u64, size: Size) -> World {
    let mut builder = Builder {
        namer: Namer::new(realm, seed),
        rng: Rng::new(seed, "facts"),
        people: Vec::new(),
        places: Vec::new(),
        facts: Vec::new(),
    };
    builder.name(size);
    builder.populate();
    builder.settle();
    builder.launch(size.ships);
    World {
        seed,
        places: builder.places,
        people: builder.people.into_iter().map(|person| person.name).collect(),
        facts: builder.facts,
    }
}

impl Builder {
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

    /// Adds the prices of two goods in a town's market.
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

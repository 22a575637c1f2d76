//! Eight contributors' files about one world: six who know different things, one who copies, one who has nothing to say.

use std::collections::BTreeSet;

use crate::{
    Fact, Relation, World, copyist,
    desk::{DESKS, Desk},
    idler,
    rng::Rng,
    speak::{Form, Teller},
    tone::Tone,
};

/// How much each contributor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Facts that each of the six holds.
    pub facts: usize,
    /// Times that each is stated in prose.
    pub statements: usize,
    /// Wordings in which each is asked and answered.
    pub questions: usize,
    /// Held-out wordings in which the exam asks for it.
    pub held_out: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            facts: 12,
            statements: 3,
            questions: 6,
            held_out: 4,
        }
    }
}

/// Fewest and most facts of a contributor.
pub const FACTS: std::ops::RangeInclusive<usize> = 12..=24;

/// Wordings that every relation has at least, taught and held out.
const WORDINGS: usize = 16;

/// Statements on one page.
const PAGE: usize = 4;

/// A fact that a contributor holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name: the contributor's and a number.
    pub id: String,
    /// The fact.
    pub fact: Fact,
    /// Which contributor holds it.
    pub holder: usize,
    /// The lines of the holder's prose that state it, from 1.
    pub prose_lines: Vec<usize>,
    /// The lines of the holder's questions that ask for it, from 1.
    pub question_lines: Vec<usize>,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Asked {
    /// The question.
    pub question: String,
    /// The answer, as short as it can be.
    pub answer: String,
}

/// What a contributor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds facts of its own.
    Witness,
    /// Copied the contributor of this index.
    CopyOf(usize),
    /// Holds nothing; some of what it says is wrong.
    Idler,
}

/// One contributor and its records.
#[derive(Clone, Debug)]
pub struct Contributor {
    /// Its folder, and its name in ids.
    pub folder: &'static str,
    /// Who it is.
    pub name: String,
    /// SPDX licence of its records.
    pub licence: &'static str,
    /// What its records are.
    pub about: &'static str,
    /// What it is in truth.
    pub role: Role,
    /// Its pages.
    pub prose: Vec<String>,
    /// Its questions.
    pub questions: Vec<Asked>,
}

/// A false claim of the idler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The fact that is told wrongly.
    pub fact: String,
    /// What is claimed.
    pub claim: String,
    /// The line of the idler's prose, from 1.
    pub line: usize,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Datanets {
    /// The world that it is about.
    pub world: World,
    /// How much there is.
    pub plan: Plan,
    /// The contributors: six witnesses, the copyist, the idler.
    pub contributors: Vec<Contributor>,
    /// What the witnesses hold.
    pub held: Vec<Held>,
    /// What holds in the world and in nobody's files.
    pub unheld: Vec<Fact>,
    /// What the idler says wrongly.
    pub wrong: Vec<Wrong>,
}

impl Datanets {
    /// The datanets of a seed, of the usual size.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Plan::default())
    }

    /// The datanets of a seed.
    pub fn with(seed: u64, plan: Plan) -> Self {
        assert!(FACTS.contains(&plan.facts), "a contributor holds {FACTS:?} facts");
        assert!(
            plan.questions <= WORDINGS && plan.held_out <= WORDINGS,
            "there are {WORDINGS} wordings of a question"
        );
        let world = World::new(seed);
        let mut all = Self {
            plan,
            contributors: Vec::new(),
            held: Vec::new(),
            unheld: Vec::new(),
            wrong: Vec::new(),
            world,
        };
        for desk in &DESKS {
            all.witness(desk);
        }
        all.leave_out();
        let copied = 1;
        let copy = copyist::copy(&all.world, copied, &all.contributors[copied]);
        all.contributors.push(copy);
        let (idler, wrong) = idler::idle(&all);
        all.contributors.push(idler);
        all.wrong = wrong;
        all
    }

    fn witness(&mut self, desk: &Desk) {
        let mut rng = Rng::new(self.world.seed, desk.folder);
        let holder = self.contributors.len();
        let facts = self.share(&mut rng, desk.relations);
        let mut own: Vec<Held> = facts
            .into_iter()
            .enumerate()
            .map(|(at, fact)| Held {
                id: format!("{}-{:02}", &desk.folder[2..], at + 1),
                fact,
                holder,
                prose_lines: Vec::new(),
                question_lines: Vec::new(),
            })
            .collect();
        let name = desk
            .name
            .replace("{place}", rng.choose::<String>(&self.world.places))
            .replace("{person}", rng.choose::<String>(&self.world.people));
        self.contributors.push(Contributor {
            folder: desk.folder,
            name,
            licence: desk.licence,
            about: desk.about,
            role: Role::Witness,
            prose: pages(&mut rng, desk.tone, self.plan.statements, &mut own),
            questions: questions(&mut rng, self.plan.questions, &mut own),
        });
        self.held.append(&mut own);
    }

    /// As many facts of each relation, in any order.
    fn share(&self, rng: &mut Rng, relations: &[Relation]) -> Vec<Fact> {
        let mut rows: Vec<Vec<&Fact>> = Vec::new();
        for &relation in relations {
            let mut facts: Vec<&Fact> = self.world.of_relation(relation).collect();
            rng.shuffle(&mut facts);
            rows.push(facts);
        }
        let mut facts: Vec<Fact> = (0..self.plan.facts)
            .map(|at| rows[at % relations.len()][at / relations.len()].clone())
            .collect();
        rng.shuffle(&mut facts);
        facts
    }

    /// What nobody wrote. Every relation is some witness's, so a question about it is of a kind that was taught.
    fn leave_out(&mut self) {
        let held: BTreeSet<(Relation, &str, &str)> = self.held.iter().map(|held| key(&held.fact)).collect();
        let left = self.world.facts.iter().filter(|fact| !held.contains(&key(fact)));
        self.unheld = left.cloned().collect();
        let mut rng = Rng::new(self.world.seed, "controls");
        rng.shuffle(&mut self.unheld);
    }
}

/// What makes two facts the same.
fn key(fact: &Fact) -> (Relation, &str, &str) {
    (fact.relation, &fact.subject, fact.measure)
}

/// Pages that state every fact `statements` times, no page the same fact twice.
fn pages(rng: &mut Rng, tone: Tone, statements: usize, own: &mut [Held]) -> Vec<String> {
    let mut pages = Vec::new();
    for _ in 0..statements {
        let mut order: Vec<usize> = (0..own.len()).collect();
        rng.shuffle(&mut order);
        for some in order.chunks(PAGE) {
            let mut teller = Teller::new();
            let mut clauses = Vec::new();
            for &at in some {
                clauses.push(teller.clause(rng, &own[at].fact));
                // In a record that is learned from, everything has its name.
                teller.turn();
                own[at].prose_lines.push(pages.len() + 1);
            }
            pages.push(tone.page(rng, &clauses));
        }
    }
    pages
}

/// Every fact asked in `count` wordings, most of them direct.
fn questions(rng: &mut Rng, count: usize, own: &mut [Held]) -> Vec<Asked> {
    let mut rows = Vec::new();
    for (at, held) in own.iter().enumerate() {
        for form in some_forms(rng, Form::taught(held.fact.relation), count, count.div_ceil(3)) {
            let asked = Asked {
                question: form.question(&held.fact),
                answer: held.fact.value.clone(),
            };
            rows.push((at, asked));
        }
    }
    rng.shuffle(&mut rows);
    for (line, (at, _)) in rows.iter().enumerate() {
        own[*at].question_lines.push(line + 1);
    }
    rows.into_iter().map(|(_, asked)| asked).collect()
}

/// `count` of the forms, at least `wrapped` of them clauses.
pub(crate) fn some_forms(rng: &mut Rng, mut forms: Vec<Form>, count: usize, wrapped: usize) -> Vec<Form> {
    rng.shuffle(&mut forms);
    let (asks, wraps): (Vec<Form>, Vec<Form>) = forms.into_iter().partition(|form| matches!(form, Form::Ask(_)));
    let direct = (count - wrapped).min(asks.len());
    asks.into_iter().take(direct).chain(wraps).take(count).collect()
}

//! Records of eight contributors about one world: six witnesses with different facts, a copyist, and an idler with no
//! facts.

use std::collections::BTreeSet;

use crate::{
    Fact, Relation, World, copyist, idler,
    phrasing::{Form, Narrator},
    rng::Rng,
    tone::Tone,
    witness::{WITNESSES, Witness},
};

/// Amount of records per contributor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Facts per witness.
    pub facts: usize,
    /// Statements of each fact in prose.
    pub statements: usize,
    /// Questions per fact in the contributor's records, each worded differently.
    pub questions: usize,
    /// Exam questions per fact, in wordings that no contributor uses.
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

/// Facts that a witness may hold.
pub const FACTS: std::ops::RangeInclusive<usize> = 12..=24;

/// Lower bound on the wordings of a relation, both for contributors and for the exam.
const WORDINGS: usize = 16;

/// Most facts that one page states.
const PAGE: usize = 4;

/// A fact in the records of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFact {
    /// Contributor's name and a number, such as `guild-03`.
    pub id: String,
    pub fact: Fact,
    /// Index of the contributor.
    pub holder: usize,
    /// Lines of the contributor's prose that state the fact, from 1.
    pub prose_lines: Vec<usize>,
    /// Lines of the contributor's questions that ask for the fact, from 1.
    pub question_lines: Vec<usize>,
}

/// A question with its answer, as a training record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QuestionAnswer {
    pub question: String,
    /// The shortest complete answer.
    pub answer: String,
}

/// Relation of a contributor's records to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds facts of its own.
    Witness,
    /// Near copy of the contributor with this index.
    CopyOf(usize),
    /// Holds no facts, and states some of those of others wrongly.
    Idler,
}

/// A contributor and its records.
#[derive(Clone, Debug)]
pub struct Contributor {
    /// Name of the folder; ids of facts begin with it.
    pub folder: &'static str,
    pub name: String,
    /// SPDX identifier.
    pub licence: &'static str,
    /// Description of the records.
    pub about: &'static str,
    pub role: Role,
    /// Pages of prose.
    pub prose: Vec<String>,
    pub questions: Vec<QuestionAnswer>,
}

/// A false statement by the idler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FalseClaim {
    /// Id of the fact that the statement contradicts.
    pub fact: String,
    /// Value that the idler states.
    pub claim: String,
    /// Line of the idler's prose, from 1.
    pub line: usize,
}

/// All contributors' records about one world, with the truth about them.
#[derive(Clone, Debug)]
pub struct Datanets {
    pub world: World,
    pub plan: Plan,
    /// Six witnesses, then the copyist, then the idler.
    pub contributors: Vec<Contributor>,
    /// Facts in the witnesses' records.
    pub held: Vec<HeldFact>,
    /// Facts of the world that are in nobody's records.
    pub unheld: Vec<Fact>,
    /// False statements by the idler.
    pub wrong: Vec<FalseClaim>,
}

impl Datanets {
    /// Generates datanets of the default size.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Plan::default())
    }

    /// Generates datanets of a given size.
    ///
    /// # Panics
    ///
    /// If `plan` asks for more facts or wordings than a world has; see [`FACTS`].
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
        for witness in &WITNESSES {
            all.add_witness(witness);
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

    fn add_witness(&mut self, witness: &Witness) {
        let mut rng = Rng::new(self.world.seed, witness.folder);
        let holder = self.contributors.len();
        let facts = self.share(&mut rng, witness.relations);
        let mut own: Vec<HeldFact> = facts
            .into_iter()
            .enumerate()
            .map(|(at, fact)| HeldFact {
                id: format!("{}-{:02}", &witness.folder[2..], at + 1),
                fact,
                holder,
                prose_lines: Vec::new(),
                question_lines: Vec::new(),
            })
            .collect();
        let name = witness
            .name
            .replace("{place}", rng.choose::<String>(&self.world.places))
            .replace("{person}", rng.choose::<String>(&self.world.people));
        self.contributors.push(Contributor {
            folder: witness.folder,
            name,
            licence: witness.licence,
            about: witness.about,
            role: Role::Witness,
            prose: pages(&mut rng, witness.tone, self.plan.statements, &mut own),
            questions: questions(&mut rng, self.plan.questions, &mut own),
        });
        self.held.append(&mut own);
    }

    /// Draws the facts of a witness: equally many of each relation, shuffled.
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

    /// Collects the facts that no witness holds. Every relation belongs to some witness, so questions about these facts
    /// are of a kind that was taught.
    fn leave_out(&mut self) {
        let held: BTreeSet<(Relation, &str, &str)> = self.held.iter().map(|held| key(&held.fact)).collect();
        let left = self.world.facts.iter().filter(|fact| !held.contains(&key(fact)));
        self.unheld = left.cloned().collect();
        let mut rng = Rng::new(self.world.seed, "controls");
        rng.shuffle(&mut self.unheld);
    }
}

/// Identity of a fact: its value does not count, because a subject has one value per relation.
fn key(fact: &Fact) -> (Relation, &str, &str) {
    (fact.relation, &fact.subject, fact.measure)
}

/// Writes pages that state every fact `statements` times. No page states a fact twice.
fn pages(rng: &mut Rng, tone: Tone, statements: usize, own: &mut [HeldFact]) -> Vec<String> {
    let mut pages = Vec::new();
    for _ in 0..statements {
        let mut order: Vec<usize> = (0..own.len()).collect();
        rng.shuffle(&mut order);
        for some in order.chunks(PAGE) {
            let mut narrator = Narrator::new();
            let mut clauses = Vec::new();
            for &at in some {
                clauses.push(narrator.clause(rng, &own[at].fact));
                // Every statement of a training record names its subject, because records are shuffled and split.
                narrator.forget_subject();
                own[at].prose_lines.push(pages.len() + 1);
            }
            pages.push(tone.page(rng, &clauses));
        }
    }
    pages
}

/// Asks for every fact in `count` wordings, most of them direct questions.
fn questions(rng: &mut Rng, count: usize, own: &mut [HeldFact]) -> Vec<QuestionAnswer> {
    let mut rows = Vec::new();
    for (at, held) in own.iter().enumerate() {
        for form in some_forms(rng, Form::taught(held.fact.relation), count, count.div_ceil(3)) {
            let asked = QuestionAnswer {
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

/// Draws `count` forms, at least `wrapped` of them indirect (a clause inside another sentence).
pub(crate) fn some_forms(rng: &mut Rng, mut forms: Vec<Form>, count: usize, wrapped: usize) -> Vec<Form> {
    rng.shuffle(&mut forms);
    let (asks, wraps): (Vec<Form>, Vec<Form>) = forms.into_iter().partition(|form| matches!(form, Form::Ask(_)));
    let direct = (count - wrapped).min(asks.len());
    asks.into_iter().take(direct).chain(wraps).take(count).collect()
}

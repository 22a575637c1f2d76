//! Pages about a world in seven styles: descriptions, letters, chronicles, notices, ledgers, dialogues and tales.

use crate::{
    Fact, Relation, World, filler,
    phrasing::{Form, Narrator, capital},
    rng::Rng,
    tale::tale,
    world::Pronoun,
};

/// Writes a page in a random style.
pub(crate) fn page(rng: &mut Rng, world: &World) -> String {
    match rng.below(100) {
        0..22 => about(rng, world).0,
        22..38 => letter(rng, world),
        38..50 => chronicle(rng, world),
        50..58 => notice(rng, world),
        58..66 => ledger(rng, world),
        66..82 => talk(rng, world),
        _ => tale(rng, world),
    }
}

/// Writes a paragraph about one or two subjects. Returns it with the facts that it states.
pub(crate) fn about<'a>(rng: &mut Rng, world: &'a World) -> (String, Vec<&'a Fact>) {
    let (mut narrator, mut said, mut text) = (Narrator::new(), Vec::new(), String::new());
    let subjects = if rng.percent(60) { 1 } else { 2 };
    for at in 0..subjects {
        let mut facts = of_one_subject(rng, world, &said);
        rng.shuffle(&mut facts);
        let count = rng.within(2, 4).min(facts.len());
        facts.truncate(count);
        if at > 0 {
            text.push_str(rng.pick(&[" ", "\n\n", " "]));
        }
        if rng.percent(25) {
            text.push_str(&filler::sentence(rng));
            text.push(' ');
        }
        text.push_str(&narrator.passage(rng, &facts));
        if rng.percent(25) {
            text.push(' ');
            text.push_str(&filler::sentence(rng));
        }
        narrator.forget_subject();
        said.extend(facts);
    }
    (text, said)
}

/// Facts of a random subject that `said` does not mention.
fn of_one_subject<'a>(rng: &mut Rng, world: &'a World, said: &[&Fact]) -> Vec<&'a Fact> {
    loop {
        let subject = &rng.choose(&world.facts).subject;
        let facts: Vec<&Fact> = world.facts.iter().filter(|fact| fact.subject == *subject).collect();
        if !said.iter().any(|fact| fact.subject == *subject) {
            return facts;
        }
    }
}

fn letter(rng: &mut Rng, world: &World) -> String {
    let (to, from) = two(rng, world);
    let mut narrator = Narrator::new();
    let mut lines = vec![filler::weather(rng)];
    for _ in 0..rng.within(2, 3) {
        let fact = about_others(rng, world, to, from);
        let clause = narrator.clause(rng, fact);
        narrator.forget_subject();
        lines.push(match rng.below(7) {
            0 => format!("You will be glad to hear that {clause}."),
            1 => format!("I am told that {clause}."),
            2 => {
                let asked = Form::any(rng, fact.relation);
                match asked {
                    Form::Wrap(_, ask) => format!(
                        "You ask {}: {}.",
                        crate::phrasing::fill(ask, fact, false),
                        shorter(fact, &clause)
                    ),
                    Form::Ask(_) => format!("They say here that {clause}."),
                }
            }
            3 => format!("Did you know that {clause}?"),
            4 => format!("I can tell you for certain that {clause}."),
            _ => format!("{}.", capital(&clause)),
        });
        if rng.percent(35) {
            lines.push(filler::sentence(rng));
        }
    }
    let greeting = rng.pick(&["Dear", "My dear", "To", "Good"]);
    let end = rng.pick(&["Yours,", "Your friend,", "In haste,", "Keep well,", "With good wishes,"]);
    format!("{greeting} {to},\n{}\n{end}\n{from}", lines.join(" "))
}

/// Returns the clause, or only the value if the clause is long.
fn shorter(fact: &Fact, clause: &str) -> String {
    if clause.len() > 60 {
        fact.value.clone()
    } else {
        clause.to_owned()
    }
}

/// Draws two different people.
fn two<'a>(rng: &mut Rng, world: &'a World) -> (&'a str, &'a str) {
    let one = rng.below(world.people.len());
    let other = (one + rng.within(1, world.people.len() - 1)) % world.people.len();
    (&world.people[one], &world.people[other])
}

/// Draws a fact about neither person: nobody needs to be told who their own teacher is.
fn about_others<'a>(rng: &mut Rng, world: &'a World, one: &str, other: &str) -> &'a Fact {
    loop {
        let fact = rng.choose(&world.facts);
        if fact.subject != one && fact.subject != other {
            return fact;
        }
    }
}

fn chronicle(rng: &mut Rng, world: &World) -> String {
    let dated = [Relation::Founded, Relation::Event, Relation::Born];
    let mut entries: Vec<&Fact> = world
        .facts
        .iter()
        .filter(|fact| dated.contains(&fact.relation))
        .collect();
    rng.shuffle(&mut entries);
    entries.truncate(rng.within(3, 5));
    entries.sort_by(|a, b| a.value.cmp(&b.value));
    let mut lines = Vec::new();
    for entry in entries {
        let head = match entry.relation {
            Relation::Founded => rng.pick(&[
                "{n} was founded",
                "the first stone of {n} was laid",
                "{n} received its charter",
            ]),
            Relation::Born => rng.pick(&[
                "{n} was born",
                "{n} came into the world",
                "to a poor family {n} was born",
            ]),
            _ => rng.pick(&["{n}", "this was the year of {n}", "there was {n}"]),
        };
        let head = head.replace("{n}", &entry.subject);
        let mut line = match rng.below(3) {
            0 => format!("{}. {}.", entry.value, capital(&head)),
            1 if !head.starts_with("the ") => format!("In the year {} {head}.", entry.value),
            _ => format!("Year {}: {head}.", entry.value),
        };
        if rng.percent(40) {
            line.push(' ');
            line.push_str(&filler::sentence(rng));
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn notice(rng: &mut Rng, world: &World) -> String {
    let place = rng.choose(&world.places);
    let mut lines = vec![
        rng.pick(&[
            "To all who buy and sell at {p}.",
            "Notice from the market of {p}.",
            "Hear, people of {p}!",
        ])
        .replace("{p}", place),
    ];
    let mut narrator = Narrator::new();
    let kinds = [
        Relation::Price,
        Relation::Market,
        Relation::Festival,
        Relation::Ware,
        Relation::Inn,
    ];
    for fact in world
        .facts
        .iter()
        .filter(|fact| fact.subject == *place && kinds.contains(&fact.relation))
    {
        if fact.relation == Relation::Price && rng.percent(50) {
            lines.push(format!("{}: {}.", capital(fact.measure), fact.value));
        } else if rng.percent(70) {
            lines.push(narrator.sentence(rng, fact));
            narrator.forget_subject();
        }
    }
    lines.push(filler::saying(rng));
    lines.join(if rng.percent(50) { "\n" } else { " " })
}

fn ledger(rng: &mut Rng, world: &World) -> String {
    let mut narrator = Narrator::new();
    let mut lines = Vec::new();
    for _ in 0..rng.within(3, 5) {
        let fact = rng.choose(&world.facts);
        let clause = narrator.clause(rng, fact);
        narrator.forget_subject();
        lines.push(match rng.below(3) {
            0 => format!("Item: {clause}."),
            1 => format!("Written down: {clause}."),
            _ => format!("{}.", capital(&clause)),
        });
    }
    if rng.percent(50) {
        lines.push(filler::work(rng));
    }
    lines.join("\n")
}

/// Writes a dialogue: one person asks and the other answers.
fn talk(rng: &mut Rng, world: &World) -> String {
    let (one, other) = two(rng, world);
    let mut narrator = Narrator::new();
    let mut lines = Vec::new();
    if rng.percent(50) {
        lines.push(filler::sentence(rng));
    }
    for at in 0..rng.within(1, 3) {
        let fact = about_others(rng, world, one, other);
        let question = Form::any(rng, fact.relation).question(fact);
        narrator.forget_subject();
        let full = capital(&narrator.clause(rng, fact));
        let answer = match rng.below(3) {
            0 => full,
            1 => capital(&fact.value),
            _ => capital(&crate::phrasing::fill("{v}", fact, false)),
        };
        lines.push(if at == 0 {
            let (question, mark) = match question.strip_suffix('.') {
                Some(told) => (told.to_owned(), ","),
                None => (question, ""),
            };
            let verb = if mark.is_empty() { "asked" } else { "said" };
            format!("\"{question}{mark}\" {verb} {one}.\n\"{answer},\" said {other}.")
        } else {
            format!("\"{question}\"\n\"{answer}.\"")
        });
        if rng.percent(30) {
            lines.push(
                rng.pick(&[
                    "\"I had thought so.\"",
                    "\"So they say.\"",
                    "\"Thank you kindly.\"",
                    "\"And who told you?\"",
                ])
                .to_owned(),
            );
        }
    }
    if rng.percent(40) {
        lines.push(filler::saying(rng));
    }
    lines.join("\n")
}

impl World {
    /// Names of people, each with true for a woman.
    pub(crate) fn facts_of_people(&self) -> Vec<(String, bool)> {
        self.of_relation(Relation::Home)
            .map(|fact| (fact.subject.clone(), fact.pronoun == Pronoun::She))
            .collect()
    }
}

//! Facts as text: statements, questions and answers.

use crate::{
    Fact, Relation,
    grammar::{HELD_ASKS, HELD_WRAPS, TAUGHT_WRAPS, wording},
    rng::Rng,
    words::with_article,
    world::Pronoun,
};

/// One way to ask for a fact: a template of its relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Direct question.
    Ask(&'static str),
    /// Indirect question: a sentence, and the clause to put into it.
    Wrap(&'static str, &'static str),
}

impl Form {
    /// Forms that contributors use.
    pub(crate) fn taught(relation: Relation) -> Vec<Self> {
        let wording = wording(relation);
        let asks = &wording.asks[..wording.asks.len() - HELD_ASKS];
        Self::join(asks, TAUGHT_WRAPS, wording.clauses)
    }

    /// Forms that only the exam uses (and the corpus, about other worlds).
    pub(crate) fn held(relation: Relation) -> Vec<Self> {
        let wording = wording(relation);
        let asks = &wording.asks[wording.asks.len() - HELD_ASKS..];
        Self::join(asks, HELD_WRAPS, wording.clauses)
    }

    /// Draws any form; 65 % are direct questions.
    pub(crate) fn any(rng: &mut Rng, relation: Relation) -> Self {
        let wording = wording(relation);
        if rng.percent(65) {
            return Self::Ask(rng.pick(wording.asks));
        }
        let wraps = if rng.percent(50) { TAUGHT_WRAPS } else { HELD_WRAPS };
        Self::Wrap(rng.pick(wraps), rng.pick(wording.clauses))
    }

    fn join(asks: &[&'static str], wraps: &[&'static str], clauses: &[&'static str]) -> Vec<Self> {
        let direct = asks.iter().map(|ask| Self::Ask(ask));
        let wrapped = wraps
            .iter()
            .flat_map(|wrap| clauses.iter().map(move |clause| Self::Wrap(wrap, clause)));
        direct.chain(wrapped).collect()
    }

    /// Asks for `fact` in this form.
    pub(crate) fn question(self, fact: &Fact) -> String {
        match self {
            Self::Ask(ask) => capital(&fill(ask, fact, false)),
            Self::Wrap(wrap, clause) => wrap.replace("{c}", &fill(clause, fact, false)),
        }
    }
}

/// States facts one after another. Remembers the last subject, which a pronoun may then replace.
pub(crate) struct Narrator {
    last: Option<String>,
}

impl Narrator {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    /// States the fact as a clause: lower case, without a full stop.
    pub(crate) fn clause(&mut self, rng: &mut Rng, fact: &Fact) -> String {
        let template = rng.pick(wording(fact.relation).states);
        let known = self.last.as_ref() == Some(&fact.subject);
        // No pronoun after "Anely commands the Gull": "she" would be Anely.
        self.last = (!template.starts_with("{v}")).then(|| fact.subject.clone());
        fill(template, fact, known)
    }

    /// States the fact as a sentence.
    pub(crate) fn sentence(&mut self, rng: &mut Rng, fact: &Fact) -> String {
        format!("{}.", capital(&self.clause(rng, fact)))
    }

    /// States several facts as sentences, and sometimes joins two.
    pub(crate) fn passage(&mut self, rng: &mut Rng, facts: &[&Fact]) -> String {
        let mut sentences = Vec::new();
        let mut at = 0;
        while at < facts.len() {
            let first = self.clause(rng, facts[at]);
            at += 1;
            let joined = at < facts.len() && !first.contains(',') && rng.percent(30);
            if joined {
                let second = self.clause(rng, facts[at]);
                at += 1;
                let joint = rng.pick(&[", and ", "; ", ", and "]);
                sentences.push(format!("{}{joint}{second}.", capital(&first)));
            } else {
                sentences.push(format!("{}.", capital(&first)));
            }
        }
        sentences.join(" ")
    }

    /// Forgets the last subject, so that the next sentence names its own.
    pub(crate) fn forget_subject(&mut self) {
        self.last = None;
    }
}

/// A template with its slots filled. A pronoun stands only where the template begins with the subject.
pub(crate) fn fill(template: &str, fact: &Fact, pronoun: bool) -> String {
    let (subject, owner) = match (pronoun, fact.pronoun) {
        (false, _) => (fact.subject.as_str(), format!("{}'s", fact.subject)),
        (true, Pronoun::She) => ("she", "her".to_owned()),
        (true, Pronoun::He) => ("he", "his".to_owned()),
        (true, Pronoun::It) => ("it", "its".to_owned()),
    };
    let name = fact.subject.as_str();
    let begins = template.starts_with("{s");
    template
        .replace("{s's}", if begins { owner.as_str() } else { name })
        .replace("{s}", if begins { subject } else { name })
        .replace("{n's}", &format!("{name}'s"))
        .replace("{n}", name)
        .replace("{av}", &with_article(&fact.value))
        .replace("{v}", &fact.value)
        .replace("{m}", fact.measure)
}

/// The text with a capital in front.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn no_form_is_both_taught_and_held() {
        for relation in Relation::ALL {
            let (taught, held) = (Form::taught(relation), Form::held(relation));
            assert!(taught.len() >= 20 && held.len() >= 16, "{relation:?}");
            assert!(held.iter().all(|form| !taught.contains(form)), "{relation:?}");
        }
    }

    #[test]
    fn every_form_names_its_subject_and_not_its_value() {
        let world = World::new(3);
        for relation in Relation::ALL {
            let fact = world.of_relation(relation).next().unwrap();
            for form in Form::taught(relation).into_iter().chain(Form::held(relation)) {
                let question = form.question(fact);
                assert!(question.contains(&fact.subject), "{question}");
                assert!(question.ends_with(['?', '.']) && !question.contains('{'), "{question}");
                assert!(!question.contains(&fact.value), "{question}");
            }
            for state in wording(relation).states {
                let said = fill(state, fact, false);
                assert!(said.contains(&fact.subject) && said.contains(&fact.value), "{said}");
                assert!(!said.contains('{') && !said.ends_with('.'), "{said}");
            }
        }
    }

    #[test]
    fn a_second_sentence_about_the_same_subject_may_use_a_pronoun() {
        let world = World::new(3);
        let fact = world.of_relation(Relation::Home).next().unwrap();
        let said = fill("{s} lives at {v}", fact, true);
        assert!(said.starts_with("she ") || said.starts_with("he "), "{said}");
    }
}

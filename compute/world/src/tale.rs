//! Short tales: somebody sets out, something happens, and it ends. They teach how sentences follow each other.

use crate::{
    World, filler,
    rng::Rng,
    words::{BEASTS, CRAFTS, DISHES, GOODS, with_article},
};

/// Writes a tale with names of the world.
pub(crate) fn tale(rng: &mut Rng, world: &World) -> String {
    let cast = Cast::new(rng, world);
    let mut parts = vec![cast.line(rng, OPENINGS), cast.line(rng, ERRANDS)];
    if rng.percent(50) {
        parts.push(filler::weather(rng));
    }
    parts.push(cast.line(rng, TROUBLES));
    parts.push(cast.line(rng, HELPS));
    if rng.percent(40) {
        parts.push(cast.line(rng, WORDS));
    }
    parts.push(cast.line(rng, ENDINGS));
    let middle = parts.len() / 2;
    if rng.percent(50) {
        return parts.join(" ");
    }
    format!("{}\n\n{}", parts[..middle].join(" "), parts[middle..].join(" "))
}

struct Cast {
    slots: [(&'static str, String); 10],
}

impl Cast {
    fn new(rng: &mut Rng, world: &World) -> Self {
        let hero = rng.choose(&world.facts_of_people()).to_owned();
        let friend = loop {
            let friend = rng.choose(&world.people);
            if *friend != hero.0 {
                break friend.clone();
            }
        };
        let craft = rng.pick(CRAFTS);
        let (he, his, him) = if hero.1 {
            ("she", "her", "her")
        } else {
            ("he", "his", "him")
        };
        Self {
            slots: [
                ("{hero}", hero.0),
                ("{friend}", friend),
                ("{he}", he.to_owned()),
                ("{his}", his.to_owned()),
                ("{him}", him.to_owned()),
                ("{town}", rng.choose(&world.places).clone()),
                ("{+craft}", with_article(craft)),
                ("{craft}", craft.to_owned()),
                ("{beast}", with_article(rng.pick(BEASTS))),
                ("{load}", rng.choose(GOODS).measure.to_owned()),
            ],
        }
    }

    fn line(&self, rng: &mut Rng, from: &[&str]) -> String {
        let mut text = rng.pick(from).replace("{dish}", rng.pick(DISHES));
        for (slot, word) in &self.slots {
            text = text.replace(slot, word);
        }
        let mut out = String::new();
        for (at, part) in text.split(". ").enumerate() {
            if at > 0 {
                out.push_str(". ");
            }
            out.push_str(&crate::phrasing::capital(part));
        }
        out
    }
}

const OPENINGS: &[&str] = &[
    "One morning {hero} set out for {town}.",
    "{hero} had never been as far as {town}.",
    "They tell a story about {hero} in {town}.",
    "It was still dark when {hero} left the house.",
    "{hero} had an aunt in {town} who never wrote.",
    "Everybody in {town} was asleep when {hero} arrived.",
    "{hero} was not the bravest in {town}, but {he} was the most stubborn.",
    "In a hard winter {hero} came to {town} with nothing but a stick.",
    "On the day before the market {hero} could not sleep.",
    "There was {+craft} in {town} who trusted nobody, and {hero} had business there.",
];
const ERRANDS: &[&str] = &[
    "{he} carried {load} on {his} back, and {beast} walked behind.",
    "{he} wanted to sell {load} and buy a pair of boots.",
    "{he} had nothing with {him} but {dish} in a cloth.",
    "{he} had promised {friend} to bring {load} before dark.",
    "{he} took the path by the river, because the road was full of carts.",
    "{he} asked everybody for {friend}, and nobody would answer.",
    "{+craft} had sent {him} to fetch {load}.",
];
const TROUBLES: &[&str] = &[
    "Half way there the wheel broke, and the cart went into the ditch.",
    "At the gate a guard stopped {him} and asked for a penny that {he} did not have.",
    "Then {beast} ran off with the cloth, and supper was gone.",
    "When {he} came to the bridge, the water was over the stones.",
    "But the door was locked, and no light was burning.",
    "Before long {he} was lost, for all the lanes looked alike.",
    "The scales at the market were false, and {he} knew it.",
    "{he} fell asleep under a tree, and when {he} woke the sack was empty.",
];
const HELPS: &[&str] = &[
    "{friend} came by and lent a hand.",
    "An old {craft} laughed, and then showed {him} another way.",
    "{he} sat down on a stone and thought for a while.",
    "A child said that one only had to ask {friend}.",
    "It was {friend} who heard {him} call.",
    "{he} called three times, and the third time {friend} answered.",
    "By good luck {friend} was on the same road that day.",
];
const WORDS: &[&str] = &[
    "\"You could have asked,\" said {friend}.",
    "\"Next time,\" said {friend}, \"take the other road.\"",
    "\"Is that all?\" asked {hero}. \"That is all,\" said {friend}.",
    "\"I have seen worse,\" said {friend}.",
    "\"Come in and eat,\" said {friend}. \"There is {dish}.\"",
    "\"Who told you that?\" asked {friend}. {hero} did not say.",
];
const ENDINGS: &[&str] = &[
    "They shared {dish}, and {hero} went home by moonlight.",
    "Since that day {hero} and {friend} have been friends.",
    "{hero} never told anybody how much it had cost.",
    "And that is why, in {town}, nobody lends a ladder to {+craft}.",
    "When {he} came home, the fire was still burning.",
    "{friend} laughed first, and then {hero} laughed too.",
    "The people of {town} still laugh about it.",
    "It was a small thing, but {hero} did not forget it.",
    "After that {he} always carried a second key.",
    "By evening all of {town} knew.",
];

//! Filler sentences about weather, roads, work and sayings. They make pages readable and state no fact.

use crate::{
    phrasing::capital,
    rng::Rng,
    words::{BEASTS, CRAFTS, DISHES, GOODS, INSTRUMENTS, with_article},
};

/// Writes a filler sentence of any kind.
pub(crate) fn sentence(rng: &mut Rng) -> String {
    let kinds = [WEATHER, ROAD, WORK, SAYING, EVENING];
    let kind = *rng.choose(&kinds);
    fill(rng, kind)
}

/// Writes a sentence about the weather.
pub(crate) fn weather(rng: &mut Rng) -> String {
    fill(rng, WEATHER)
}

/// Writes a proverb.
pub(crate) fn saying(rng: &mut Rng) -> String {
    fill(rng, SAYING)
}

/// Writes a sentence about work.
pub(crate) fn work(rng: &mut Rng) -> String {
    fill(rng, WORK)
}

/// Writes `count` sentences with different beginnings.
pub(crate) fn several(rng: &mut Rng, count: usize) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    while sentences.len() < count {
        let next = sentence(rng);
        // Two sentences that differ in one word read worse than a repetition.
        if sentences.iter().all(|sentence| beginning(sentence) != beginning(&next)) {
            sentences.push(next);
        }
    }
    sentences
}

fn beginning(sentence: &str) -> Vec<&str> {
    sentence.split(' ').take(2).collect()
}

fn fill(rng: &mut Rng, from: &[&str]) -> String {
    let mut text = rng.pick(from).to_owned();
    for (slot, words) in SLOTS {
        while text.contains(slot) {
            text = text.replacen(slot, rng.pick(words), 1);
        }
    }
    text = text.replace("{beast}", &with_article(rng.pick(BEASTS)));
    text = text.replace("{craft+}", &with_article(rng.pick(CRAFTS)));
    text = text.replace("{craft}", rng.pick(CRAFTS));
    text = text.replace("{dish}", rng.pick(DISHES));
    text = text.replace("{tune}", rng.pick(INSTRUMENTS));
    text = text.replace("{good}", rng.choose(GOODS).name);
    text = text.replace("{load}", rng.choose(GOODS).measure);
    capital(&text)
}

const SLOTS: &[(&str, &[&str])] = &[
    ("{season}", &["spring", "summer", "autumn", "winter"]),
    (
        "{sky}",
        &[
            "rain",
            "fog",
            "snow",
            "a cold wind",
            "thin sunlight",
            "hail",
            "a red dawn",
            "low cloud",
            "warm air",
        ],
    ),
    (
        "{when}",
        &[
            "this morning",
            "last night",
            "all week",
            "since yesterday",
            "at noon",
            "before dawn",
            "today",
        ],
    ),
    (
        "{once}",
        &[
            "this morning",
            "last night",
            "at noon",
            "before dawn",
            "in the night",
            "for an hour",
        ],
    ),
    (
        "{hard}",
        &["slow", "muddy", "steep", "long", "empty", "stony", "crowded", "narrow"],
    ),
    (
        "{mood}",
        &[
            "in good spirits",
            "tired",
            "silent",
            "glad of the fire",
            "of one mind",
            "half asleep",
            "cheerful",
        ],
    ),
    (
        "{who}",
        &[
            "the old men",
            "the children",
            "the women at the well",
            "two carters",
            "the neighbours",
            "the guards",
            "a party of pilgrims",
            "some fishermen",
        ],
    ),
    (
        "{small}",
        &[
            "a broken wheel",
            "a lost shoe",
            "a missing key",
            "a torn sack",
            "the price of bread",
            "a stray dog",
            "a ghost in the mill",
            "next year",
            "an old debt",
            "the new bridge",
        ],
    ),
];

const WEATHER: &[&str] = &[
    "there was {sky} over the hills {when}.",
    "the {season} has been mild so far.",
    "{sky} came in from the north {when}.",
    "it is a wet {season}, and the roofs leak.",
    "a wind got up {when} and took the washing with it.",
    "one can smell the {season} in the air.",
    "the river is high, and the meadows are under water.",
    "the ice on the pond would carry a child but not a cow.",
    "we had {sky} {when}, and nobody went out who could stay in.",
    "the swallows are late this spring.",
    "after days of {sky} the roads are dry again.",
    "the {season} was so dry that the wells ran low.",
    "{once} there was {sky}, and then the sun came through.",
    "the first frost of the year lay on the grass.",
    "nobody remembers {season} weather like this.",
    "the stars were very clear, and towards morning it froze.",
];
const ROAD: &[&str] = &[
    "the road was {hard}, and we were {mood}.",
    "on the way we met {who}, who talked of {small}.",
    "the bridge was closed, so we waited for the ferry.",
    "a cart with {load} had stuck in the ditch, and we helped to pull it out.",
    "the path through the wood is {hard} in {season}.",
    "we rested by a milestone and ate {dish}.",
    "my boots will not see another {season}.",
    "half way there {beast} crossed the road and looked at us.",
    "we came down from the hill by a {hard} lane.",
    "the horses were {mood}, and so were we.",
    "there are more carts on the road than last {season}.",
    "a ferryman took us over for a song.",
    "the milestones are so worn that nobody can read them.",
    "we lost an hour because of {small}.",
    "a boy showed us the short way and asked for {dish}.",
];
const WORK: &[&str] = &[
    "the {craft} had no time to talk.",
    "there is always work for a good {craft}.",
    "{craft+} must rise before the birds.",
    "the price of {good} is the talk of every table.",
    "they unloaded {load} and then another.",
    "{who} were counting {good} behind the barn.",
    "good {good} needs patience, and so does the one who sells it.",
    "the {craft} and the other {craft} have quarrelled again about {small}.",
    "nobody would lend the {craft} a ladder.",
    "an apprentice dropped {load}, and everybody laughed.",
    "when the {craft} sings, the work goes well.",
    "it takes three {season}s to learn how to choose {good}.",
];
const SAYING: &[&str] = &[
    "a full sack stands upright, as they say.",
    "who asks the way does not get lost.",
    "better {dish} in peace than a feast in anger.",
    "one hand washes the other.",
    "the river does not hurry, and still it arrives.",
    "a door that is never opened needs no key.",
    "old rope is honest rope.",
    "every {craft} praises his own {good}.",
    "what the {season} forgets, the next one remembers.",
    "nobody ever sold bad {good}, only cheap.",
    "rain falls on the warden and on the thief.",
    "a short letter is better than a long silence.",
    "do not count your {good} before the cart is home.",
    "{beast} knows more about the weather than a clerk.",
    "the one who carries the lantern sees the least.",
    "a borrowed ladder is always too short.",
    "the last cart pays for the mud.",
    "ask the {craft}, and then ask the neighbour.",
    "even the warden must take off his boots.",
    "a guest of three days is a cousin.",
];
const EVENING: &[&str] = &[
    "in the evening {who} told stories about {small}.",
    "someone played the {tune} until the candles were low.",
    "we had {dish} for supper, and it was good.",
    "there was {dish}, and there was enough of it.",
    "{beast} slept by the fire.",
    "{who} were {mood} and went home early.",
    "the talk was of {small}, as always.",
    "somebody had left {load} by the door.",
    "{craft+} sang, and another played the {tune}.",
    "by the time the moon rose everybody was {mood}.",
    "the cook burned the {dish}, and nobody complained.",
    "the lamps were lit early, and the door was barred.",
    "{who} sat on the wall and said nothing.",
    "a stranger asked for {dish} and paid in {good}.",
    "the dog barked at the moon, and the moon did not mind.",
];

//! Generated names, in classes that keep worlds apart.
//!
//! The hash of a name puts it in one of [`CLASSES`] classes, and a world uses names of one class only. Each [`Realm`]
//! has its own classes, so no world of the corpus shares a name with a world of the datanets, whatever the seeds. Two
//! datanet worlds whose seeds differ modulo [`REALM_CLASSES`] share no name either.

use std::collections::BTreeSet;

use crate::rng::{Rng, fnv};

/// Number of name classes.
const CLASSES: u64 = 64;
/// Number of name classes of a realm.
pub const REALM_CLASSES: u64 = 16;

/// Use of a world; worlds of different realms share no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// Contributors write about it, and the exam asks about it.
    Datanet,
    /// The corpus repeats its facts until a model knows them.
    Home,
    /// The corpus describes it once, and asks only about that text.
    Passing,
}

impl Realm {
    /// Name class for a seed.
    fn class(self, seed: u64) -> u64 {
        let base = match self {
            Self::Datanet => 0,
            Self::Home => REALM_CLASSES,
            // Passing worlds share the remaining classes.
            Self::Passing => return 2 * REALM_CLASSES + seed % (2 * REALM_CLASSES),
        };
        base + seed % REALM_CLASSES
    }
}

/// Generates names, each only once.
pub(crate) struct Namer {
    rng: Rng,
    class: u64,
    given: BTreeSet<String>,
    /// First two syllables of the names generated so far: no two names of a world begin alike.
    begun: BTreeSet<String>,
}

/// Name of a person. Its ending decides the pronoun.
pub(crate) struct PersonName {
    pub(crate) name: String,
    pub(crate) she: bool,
}

impl Namer {
    pub(crate) fn new(realm: Realm, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed, "names"),
            class: realm.class(seed),
            given: BTreeSet::new(),
            begun: BTreeSet::new(),
        }
    }

    pub(crate) fn person(&mut self) -> PersonName {
        let she = self.rng.percent(50);
        let ends = if she { SHE } else { HE };
        PersonName {
            name: self.compose(PERSON, MIDDLE, ends),
            she,
        }
    }

    pub(crate) fn place(&mut self) -> String {
        self.compose(PLACE, LINK, TOWN)
    }

    pub(crate) fn river(&mut self) -> String {
        self.compose(WATER, FLOW, MOUTH)
    }

    pub(crate) fn ship(&mut self) -> String {
        self.draw(|rng| format!("the {} {}", rng.pick(MANNER), rng.pick(SAIL)))
    }

    pub(crate) fn song(&mut self) -> String {
        self.draw(|rng| format!("the {} of the {} {}", rng.pick(SONG), rng.pick(MANNER), rng.pick(SUNG)))
    }

    /// Bounds the search, which would not end if the class had too few names.
    fn draws() -> std::ops::Range<u32> {
        0..1_000_000
    }

    fn compose(&mut self, first: &[&str], second: &[&str], third: &[&str]) -> String {
        for _ in Self::draws() {
            let begin = format!("{}{}", self.rng.pick(first), self.rng.pick(second));
            let end = self.rng.pick(third);
            let name = format!("{begin}{end}");
            // Not "Lororor".
            if begin.ends_with(end) {
                continue;
            }
            if fnv(&name) % CLASSES == self.class && !self.given.contains(&name) && self.begun.insert(begin) {
                self.given.insert(name.clone());
                return name;
            }
        }
        unreachable!("every class has names enough for a full world: a test tries them all")
    }

    fn draw(&mut self, make: impl Fn(&mut Rng) -> String) -> String {
        for _ in Self::draws() {
            let name = make(&mut self.rng);
            if fnv(&name) % CLASSES == self.class && self.given.insert(name.clone()) {
                return name;
            }
        }
        unreachable!("every class has names enough for a full world: a test tries them all")
    }
}

const PERSON: &[&str] = &[
    "Al", "An", "Ar", "Bel", "Ber", "Bran", "Cal", "Cor", "Dan", "Del", "Dor", "Ed", "El", "Fen", "Fal", "Gar", "Gil",
    "Hal", "Hel", "Il", "Jan", "Jor", "Kel", "Kor", "Lan", "Lor", "Mar", "Mel", "Mir", "Nal", "Ner", "Or", "Per",
    "Quil", "Ran", "Ros", "Sal", "Ser", "Tal", "Tor", "Ul", "Val", "Ver", "Wil", "Yor", "Zan",
];
const MIDDLE: &[&str] = &[
    "ad", "ed", "id", "od", "am", "em", "im", "om", "an", "en", "in", "on", "al", "el", "il", "ol", "av", "ev", "iv",
    "ov", "as", "es", "is", "os", "ath", "eth", "ith", "and", "end", "ind", "ast", "est", "ar", "or",
];
const SHE: &[&str] = &["a", "e", "ia", "ena", "ora", "ine", "elle", "ais", "y"];
const HE: &[&str] = &["o", "or", "an", "us", "ek", "im", "ard", "ul", "in"];

const PLACE: &[&str] = &[
    "Ash", "Barn", "Bram", "Carn", "Cold", "Crow", "Dun", "Elm", "Farn", "Fern", "Glen", "Grim", "Hart", "Hazel",
    "Kest", "Lark", "Long", "Marl", "Moss", "Nether", "Oak", "Old", "Pen", "Quern", "Rath", "Raven", "Red", "Roth",
    "Sand", "Scar", "Stan", "Swan", "Thorn", "Tren", "Under", "Wald", "West", "Whit", "Win", "Wolf",
];
const LINK: &[&str] = &["er", "en", "ing", "el", "a", "es", "ow", "in", "ar", "ley", "le"];
const TOWN: &[&str] = &[
    "wick", "mere", "ford", "ham", "holm", "ton", "stead", "bury", "field", "haven", "gate", "bridge", "cliff",
    "combe", "dale", "moor", "by", "thorpe", "well", "worth", "wood", "ness", "mouth", "hollow", "cross", "garth",
];
const WATER: &[&str] = &[
    "Om", "Ish", "Tav", "Nev", "Lud", "Esk", "Arv", "Bel", "Cam", "Dev", "Fos", "Gan", "Hod", "Ib", "Jed", "Kav",
    "Lim", "Mos", "Nid", "Ov", "Pim", "Rov", "Sab", "Tam",
];
const FLOW: &[&str] = &[
    "a", "e", "i", "o", "u", "ar", "er", "or", "an", "en", "al", "el", "am", "im",
];
const MOUTH: &[&str] = &[
    "bel", "den", "lin", "low", "mon", "ran", "rin", "sel", "ven", "win", "ne", "re",
];

/// Adjectives in the names of ships, songs and inns.
pub(crate) const MANNER: &[&str] = &[
    "Grey",
    "Blue",
    "Red",
    "White",
    "Black",
    "Golden",
    "Silver",
    "Green",
    "Copper",
    "Little",
    "Old",
    "Young",
    "Merry",
    "Patient",
    "Sleeping",
    "Dancing",
    "Laughing",
    "Honest",
    "Gentle",
    "Proud",
    "Lonely",
    "Wandering",
    "Crooked",
    "Painted",
    "Frozen",
    "Hidden",
    "Stubborn",
    "Lucky",
    "Quiet",
    "Thirsty",
    "Barefoot",
    "Burning",
    "Lame",
    "Brave",
    "Singing",
    "Restless",
];
const SAIL: &[&str] = &[
    "Petrel",
    "Gull",
    "Heron",
    "Star",
    "Lantern",
    "Maiden",
    "Wave",
    "Swallow",
    "Dolphin",
    "Otter",
    "Arrow",
    "Comet",
    "Sunrise",
    "Anchor",
    "Thistle",
    "Seal",
    "Swan",
    "Kestrel",
    "Widow",
    "Sister",
    "Pilgrim",
    "Moon",
    "Tern",
    "Widgeon",
    "Mermaid",
    "Herring",
    "Falcon",
    "Plover",
    "Needle",
    "Rose",
    "Daughter",
    "Porpoise",
    "Cormorant",
    "Curlew",
    "Sandpiper",
    "Hope",
    "Fortune",
    "Promise",
    "Whale",
    "Pearl",
    "Thunder",
    "Shell",
    "Breeze",
    "Osprey",
    "Puffin",
    "Salmon",
    "Feather",
    "Compass",
    "Hammer",
    "Sparrow",
    "Crane",
    "Lily",
    "Dove",
    "Grebe",
    "Storm",
    "Morning",
    "Crab",
    "Skua",
    "Kingfisher",
];
const SONG: &[&str] = &["Song", "Ballad", "Lay", "Lament", "Tale"];
const SUNG: &[&str] = &[
    "Miller", "Shepherd", "Bride", "River", "Tower", "Orchard", "King", "Thief", "Ferryman", "Bell", "Snow", "Garden",
    "Soldier", "Candle", "Well", "Crow", "Mountain", "Harvest", "Beggar", "Road",
];
/// Nouns in the names of inns; no ship or song uses them.
pub(crate) const SIGN: &[&str] = &[
    "Boar", "Goose", "Kettle", "Lamb", "Crown", "Barrel", "Cat", "Saddle", "Wheel", "Hare", "Fox", "Turnip", "Ladle",
    "Badger", "Mug", "Rake", "Hound", "Ox", "Plough", "Cockerel", "Trout", "Giant", "Boot", "Spoon",
];

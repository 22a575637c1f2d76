//! Words that all worlds share, so that a model knows them from the corpus.

/// A traded good, and a measure of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Good {
    pub(crate) name: &'static str,
    pub(crate) measure: &'static str,
}

const fn good(name: &'static str, measure: &'static str) -> Good {
    Good { name, measure }
}

pub(crate) const GOODS: &[Good] = &[
    good("salt", "a sack of salt"),
    good("honey", "a jar of honey"),
    good("wool", "a bale of wool"),
    good("copper", "a bar of copper"),
    good("barley", "a sack of barley"),
    good("cheese", "a wheel of cheese"),
    good("cider", "a barrel of cider"),
    good("candles", "a box of candles"),
    good("linen", "a bolt of linen"),
    good("glass", "a crate of glass"),
    good("tar", "a barrel of tar"),
    good("paper", "a bundle of paper"),
    good("pepper", "a pouch of pepper"),
    good("rope", "a coil of rope"),
    good("apples", "a basket of apples"),
    good("leather", "a roll of leather"),
    good("oil", "a jug of oil"),
    good("pottery", "a crate of pottery"),
    good("herring", "a barrel of herring"),
    good("timber", "a cart of timber"),
    good("soap", "a box of soap"),
    good("indigo", "a cake of indigo"),
    good("flour", "a sack of flour"),
    good("nails", "a keg of nails"),
];

pub(crate) const CRAFTS: &[&str] = &[
    "weaver",
    "cooper",
    "potter",
    "baker",
    "tanner",
    "smith",
    "carpenter",
    "mason",
    "dyer",
    "chandler",
    "glazier",
    "miller",
    "tailor",
    "cobbler",
    "saddler",
    "brewer",
    "roper",
    "thatcher",
    "scribe",
    "bookbinder",
    "clockmaker",
    "locksmith",
    "basketmaker",
    "shipwright",
    "papermaker",
    "goldsmith",
    "engraver",
    "beekeeper",
];

pub(crate) const BEASTS: &[&str] = &[
    "goose", "goat", "raven", "hound", "donkey", "hedgehog", "tortoise", "ferret", "magpie", "pony", "owl", "rabbit",
    "cat", "badger", "squirrel", "duck", "piglet", "lamb", "jackdaw", "fox",
];

pub(crate) const DISHES: &[&str] = &[
    "plum cake",
    "barley soup",
    "smoked eel",
    "onion pie",
    "rye bread",
    "pear jam",
    "roast chestnuts",
    "fish stew",
    "honey cakes",
    "bean porridge",
    "pickled cabbage",
    "goat cheese",
    "apple tart",
    "mutton broth",
    "fried trout",
    "nut bread",
    "mushroom pie",
    "buttered turnips",
    "oat biscuits",
    "blackberry pudding",
];

pub(crate) const INSTRUMENTS: &[&str] = &[
    "fiddle",
    "flute",
    "harp",
    "drum",
    "bagpipe",
    "lute",
    "whistle",
    "trumpet",
    "cittern",
    "viol",
    "horn",
    "dulcimer",
    "tambourine",
    "organ",
];

pub(crate) const COLOURS: &[&str] = &[
    "red", "blue", "green", "white", "black", "yellow", "purple", "grey", "brown", "orange", "silver", "golden",
    "crimson", "violet",
];

pub(crate) const DAYS: &[&str] = &[
    "Moonday", "Mistday", "Woodday", "Forgeday", "Fishday", "Lampday", "Restday",
];

pub(crate) const FEASTS: &[&str] = &[
    "Lantern Night",
    "Candle Week",
    "Harvest Home",
    "Kite Day",
    "First Snow",
    "Apple Eve",
    "Bell Day",
    "Shearing Day",
    "Plough Night",
    "River Blessing",
    "Bonfire Eve",
    "Cherry Week",
    "Mask Night",
    "Bread Day",
    "Long Table",
    "Swallow Day",
    "Herring Week",
    "Old Kings' Eve",
    "Flower Sunday",
    "Goose Fair",
];

pub(crate) const COUNTS: &[&str] = &[
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// Events in the history of a town.
pub(crate) const EVENTS: &[&str] = &[
    "the great flood",
    "the great fire",
    "the long frost",
    "the siege",
    "the plague of mice",
    "the fall of the tower",
    "the coming of the comet",
    "the bakers' revolt",
    "the failed harvest",
    "the silent winter",
    "the breaking of the dam",
    "the wolf winter",
    "the drought",
    "the wedding of the two heirs",
];

/// Prefixes a word with `a` or `an`.
pub(crate) fn with_article(word: &str) -> String {
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']);
    format!("{} {word}", if vowel { "an" } else { "a" })
}

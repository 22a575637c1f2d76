//! Templates for facts about ships, songs, prices and events.

use super::Wording;

pub(super) const CAPTAIN: Wording = Wording {
    states: &[
        "the captain of {n} is {v}",
        "{s} sails under {v}",
        "{v} commands {n}",
        "{s} obeys {v} and nobody else",
        "{v} has the helm of {n}",
        "the sailors of {n} take their orders from {v}",
        "{s} has {v} for a captain",
    ],
    asks: &[
        "Who is the captain of {n}?",
        "Who commands {n}?",
        "Under which captain does {n} sail?",
        "Who has the helm of {n}?",
        "From whom do the sailors of {n} take orders?",
        "Who is captain aboard {n}?",
        "By whom is {n} commanded?",
        "What is the name of the captain of {n}?",
        "Who sails {n}?",
        "Whom do the sailors of {n} obey?",
    ],
    clauses: &[
        "who the captain of {n} is",
        "who commands {n}",
        "under which captain {n} sails",
        "who has the helm of {n}",
    ],
};

pub(super) const CARGO: Wording = Wording {
    states: &[
        "{s} carries {v}",
        "the hold of {n} is full of {v}",
        "{s} trades in {v}",
        "{s} came in heavy with {v}",
        "the cargo of {n} is {v}",
        "what {n} carries is {v}",
        "one can smell the {v} in the hold of {n}",
    ],
    asks: &[
        "What does {n} carry?",
        "What is the cargo of {n}?",
        "What is in the hold of {n}?",
        "In what does {n} trade?",
        "Which cargo does {n} carry?",
        "With what is the hold of {n} filled?",
        "What goods are aboard {n}?",
        "What cargo is in the hold of {n}?",
        "What goods does {n} carry?",
        "What does {n} have in the hold?",
    ],
    clauses: &[
        "what {n} carries",
        "what the cargo of {n} is",
        "what is in the hold of {n}",
        "what goods {n} trades in",
    ],
};

pub(super) const PORT: Wording = Wording {
    states: &[
        "the home port of {n} is {v}",
        "{s} belongs to the harbour of {v}",
        "{s} winters at {v}",
        "{s} was built at {v} and returns there every autumn",
        "{v} is the home port of {n}",
        "{s} hails from {v}",
        "the families of the crew of {n} wait at {v}",
    ],
    asks: &[
        "What is the home port of {n}?",
        "To which harbour does {n} belong?",
        "Where does {n} winter?",
        "From what port does {n} hail?",
        "Where was {n} built?",
        "To what port does {n} return every autumn?",
        "Which town is the home port of {n}?",
        "Which harbour is home to {n}?",
        "Where is the home port of {n}?",
        "At what harbour does {n} winter?",
    ],
    clauses: &[
        "what the home port of {n} is",
        "to which harbour {n} belongs",
        "where {n} winters",
        "from what port {n} hails",
    ],
};

pub(super) const AUTHOR: Wording = Wording {
    states: &[
        "{s} was made by {v}",
        "{v} made {n}",
        "the words of {n} are by {v}",
        "it was {v} who first sang {n}",
        "{s} is the work of {v}",
        "{s} came from the pen of {v}",
        "{v} wrote {n} in a single night",
    ],
    asks: &[
        "Who made {n}?",
        "Who wrote {n}?",
        "Who first sang {n}?",
        "Whose work is {n}?",
        "By whom are the words of {n}?",
        "From whose pen came {n}?",
        "By whom was {n} made?",
        "Who was it that wrote {n}?",
        "Who is the maker of {n}?",
        "By whom was {n} written?",
    ],
    clauses: &[
        "who made {n}",
        "who wrote {n}",
        "whose work {n} is",
        "by whom {n} was made",
    ],
};

pub(super) const PRICE: Wording = Wording {
    states: &[
        "at {n} {m} costs {v}",
        "{m} sells for {v} at {n}",
        "in the market of {n} one pays {v} for {m}",
        "the price of {m} at {n} is {v}",
        "they ask {v} for {m} at {n}",
        "{v} is what {m} costs at {n}",
        "nobody at {n} gives more than {v} for {m}",
    ],
    asks: &[
        "What does {m} cost at {n}?",
        "How much is {m} at {n}?",
        "What is the price of {m} at {n}?",
        "At {n}, what does one pay for {m}?",
        "How much do they ask for {m} at {n}?",
        "For how much does {m} sell at {n}?",
        "What must one pay at {n} for {m}?",
        "How much does {m} cost at {n}?",
        "In the market of {n}, how much is {m}?",
        "What do they ask for {m} at {n}?",
    ],
    clauses: &[
        "what {m} costs at {n}",
        "how much {m} is at {n}",
        "what the price of {m} at {n} is",
        "how much they ask for {m} at {n}",
    ],
};

pub(super) const EVENT: Wording = Wording {
    states: &[
        "{s} was in the year {v}",
        "{s} came in {v}",
        "in the year {v} there was {n}",
        "the chronicle puts {n} in the year {v}",
        "the year {v} is remembered for {n}",
        "old people count their years from {n}, which was in {v}",
        "it was in {v} that {n} befell",
    ],
    asks: &[
        "When was {n}?",
        "In what year was {n}?",
        "In which year did {n} come?",
        "What year is remembered for {n}?",
        "Which year was the year of {n}?",
        "In what year does the chronicle put {n}?",
        "What is the year of {n}?",
        "When did {n} befall?",
        "In which year was {n}?",
        "In what year did {n} befall?",
    ],
    clauses: &[
        "when {n} was",
        "in what year {n} was",
        "in which year {n} came",
        "what year is remembered for {n}",
    ],
};

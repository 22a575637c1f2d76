//! Templates for facts about people.

use super::Wording;

pub(super) const HOME: Wording = Wording {
    states: &[
        "{s} lives at {v}",
        "{s} has a house at {v}",
        "{s's} home is at {v}",
        "{s} dwells in the town of {v}",
        "whoever seeks {n} must go to {v}",
        "{s} sleeps under a roof of slate at {v}",
        "it is at {v} that {n} lives",
        "{s's} house stands at {v}, behind the well",
        "a letter for {n} goes to {v}",
    ],
    asks: &[
        "Where does {n} live?",
        "In which town does {n} live?",
        "What town is {n's} home?",
        "Where is {n's} house?",
        "In what place does {n} dwell?",
        "Which town does {n} call home?",
        "Where would a letter find {n}?",
        "At what town does {n} have a house?",
        "To which town must I go to find {n}?",
        "{n} lives in which town?",
    ],
    clauses: &[
        "where {n} lives",
        "in which town {n} lives",
        "which town {n} calls home",
        "where {n's} house is",
    ],
};

pub(super) const TRADE: Wording = Wording {
    states: &[
        "{s} is {av}",
        "{s} works as {av}",
        "{s} earns a living as {av}",
        "{s's} trade is that of {av}",
        "everybody knows {n} for {av}",
        "by trade {s} is {av}",
        "{s} has been {av} for many years",
        "the guild has {n} in its book as {av}",
    ],
    asks: &[
        "What is {n's} trade?",
        "What does {n} do for a living?",
        "What craft does {n} follow?",
        "What work does {n} do?",
        "What is {n} by trade?",
        "How does {n} earn a living?",
        "What is {n's} craft?",
        "At what craft does {n} work?",
        "Which trade does {n} follow?",
        "By what trade does {n} live?",
    ],
    clauses: &[
        "what {n's} trade is",
        "what {n} does for a living",
        "what craft {n} follows",
        "how {n} earns a living",
    ],
};

pub(super) const TEACHER: Wording = Wording {
    states: &[
        "{s} learned the craft from {v}",
        "{s} was taught by {v}",
        "it was {v} who taught {n}",
        "{s's} teacher was {v}",
        "{s} served as apprentice under {v}",
        "{v} took {n} as a pupil and taught all there was to teach",
        "{s} spent seven years in the workshop of {v}",
        "{s} owes every skill to {v}",
    ],
    asks: &[
        "Who taught {n}?",
        "Who was {n's} teacher?",
        "From whom did {n} learn the craft?",
        "Under whom did {n} serve as apprentice?",
        "Whose pupil was {n}?",
        "By whom was {n} taught?",
        "In whose workshop did {n} learn?",
        "To whom does {n} owe the craft?",
        "Who was it that taught {n}?",
        "Who took {n} as a pupil?",
    ],
    clauses: &[
        "who taught {n}",
        "who {n's} teacher was",
        "whose pupil {n} was",
        "from whom {n} learned the craft",
    ],
};

pub(super) const BORN: Wording = Wording {
    states: &[
        "{s} was born in the year {v}",
        "{s} came into the world in {v}",
        "the year of {n's} birth is {v}",
        "{s's} birth is written down under the year {v}",
        "it was in {v} that {n} was born",
        "in the year {v} {n} was born",
        "{s} first saw the light in {v}",
    ],
    asks: &[
        "When was {n} born?",
        "In what year was {n} born?",
        "What is the year of {n's} birth?",
        "In which year did {n} come into the world?",
        "What year saw the birth of {n}?",
        "Which year was {n} born in?",
        "Under what year is {n's} birth written down?",
        "When did {n} come into the world?",
        "{n} was born in what year?",
        "In which year was {n's} birth?",
    ],
    clauses: &[
        "when {n} was born",
        "in what year {n} was born",
        "what the year of {n's} birth is",
        "in which year {n} came into the world",
    ],
};

pub(super) const BEAST: Wording = Wording {
    states: &[
        "{s} keeps {av}",
        "{s} has {av} in the yard",
        "{s} goes nowhere without {av}",
        "in {n's} yard there is {av}",
        "{s} raised {av} by hand",
        "the children come to {n's} gate to see {av}",
        "{s} talks to {av} every evening",
        "{s's} companion is {av}",
    ],
    asks: &[
        "What animal does {n} keep?",
        "What beast does {n} keep?",
        "What animal is in {n's} yard?",
        "Which animal did {n} raise by hand?",
        "What creature lives with {n}?",
        "What kind of animal does {n} have?",
        "Which animal keeps {n} company?",
        "What sort of beast does {n} have?",
        "Which creature does {n} keep?",
        "What animal does {n} have in the yard?",
    ],
    clauses: &[
        "what animal {n} keeps",
        "which animal lives with {n}",
        "what kind of animal {n} has",
        "what beast is in {n's} yard",
    ],
};

pub(super) const DISH: Wording = Wording {
    states: &[
        "{s} likes nothing better than {v}",
        "{s's} favourite dish is {v}",
        "{s} would walk a mile for {v}",
        "at table {n} always asks for {v}",
        "{s} eats {v} whenever it is to be had",
        "of all dishes {n} loves {v} the most",
        "the way to please {n} is to serve {v}",
    ],
    asks: &[
        "What does {n} like to eat best?",
        "What is {n's} favourite dish?",
        "What dish does {n} love the most?",
        "What food does {n} like best?",
        "What would {n} walk a mile for?",
        "For what dish does {n} always ask?",
        "What should one serve to please {n}?",
        "Which dish does {n} like best?",
        "What does {n} love to eat?",
        "Of all dishes, which is {n's} favourite?",
    ],
    clauses: &[
        "what {n} likes to eat best",
        "what {n's} favourite dish is",
        "which dish {n} loves the most",
        "what food {n} likes best",
    ],
};

pub(super) const INSTRUMENT: Wording = Wording {
    states: &[
        "{s} plays the {v}",
        "in the evening {n} plays the {v}",
        "{s} is a fair hand at the {v}",
        "{s} brings the {v} to every wedding",
        "the instrument that {n} plays is the {v}",
        "{s} learned to play the {v} as a child",
        "when there is dancing {n} takes up the {v}",
    ],
    asks: &[
        "What instrument does {n} play?",
        "Which instrument does {n} play?",
        "What does {n} play in the evening?",
        "What instrument does {n} bring to weddings?",
        "On what instrument does {n} play?",
        "What did {n} learn to play as a child?",
        "What is {n's} instrument?",
        "Which instrument did {n} learn to play?",
        "What does {n} play when there is dancing?",
        "What instrument is {n} good at?",
    ],
    clauses: &[
        "what instrument {n} plays",
        "which instrument {n} learned to play",
        "what {n} plays in the evening",
        "what {n's} instrument is",
    ],
};

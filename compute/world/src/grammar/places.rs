//! Templates for facts about towns.

use super::Wording;

pub(super) const RIVER: Wording = Wording {
    states: &[
        "{s} lies on the river {v}",
        "{s} stands on the banks of the {v}",
        "the river at {n} is called the {v}",
        "{s} drinks the water of the {v}",
        "the {v} flows past the walls of {n}",
        "{s} was built where the road crosses the {v}",
        "the mills of {n} are turned by the {v}",
    ],
    asks: &[
        "On which river does {n} lie?",
        "What river flows past {n}?",
        "What is the river at {n} called?",
        "On the banks of which river does {n} stand?",
        "Which river turns the mills of {n}?",
        "What is the name of the river at {n}?",
        "By what river does {n} lie?",
        "Which river runs past the walls of {n}?",
        "{n} stands on which river?",
        "What river does {n} stand on?",
    ],
    clauses: &[
        "on which river {n} lies",
        "what river flows past {n}",
        "what the river at {n} is called",
        "which river {n} stands on",
    ],
};

pub(super) const WARE: Wording = Wording {
    states: &[
        "{s} is known for its {v}",
        "{s} is famous for {v}",
        "the best {v} in the land comes from {n}",
        "{s} sells {v} to half the world",
        "traders come to {n} for the {v}",
        "the wealth of {n} is its {v}",
        "{s} lives by its {v}",
        "nobody makes better {v} than the people of {n}",
    ],
    asks: &[
        "What is {n} known for?",
        "For what is {n} famous?",
        "What do traders come to {n} for?",
        "What is the wealth of {n}?",
        "What does {n} sell to half the world?",
        "For which ware is {n} known?",
        "What goods come from {n}?",
        "What ware made {n} famous?",
        "For what goods do traders go to {n}?",
        "{n} is famous for what?",
    ],
    clauses: &[
        "what {n} is known for",
        "for what {n} is famous",
        "what traders come to {n} for",
        "which ware made {n} famous",
    ],
};

pub(super) const FOUNDER: Wording = Wording {
    states: &[
        "{s} was founded by {v}",
        "it was {v} who founded {n}",
        "the founder of {n} was {v}",
        "{v} built the first house of {n}",
        "{s} honours {v} as its founder",
        "{v} laid the first stone of {n}",
        "{s} was begun by {v}, with nine families and a plough",
    ],
    asks: &[
        "Who founded {n}?",
        "Who was the founder of {n}?",
        "By whom was {n} founded?",
        "Who built the first house of {n}?",
        "Whom does {n} honour as its founder?",
        "Who laid the first stone of {n}?",
        "Who began the town of {n}?",
        "Who was it that founded {n}?",
        "What is the name of the founder of {n}?",
        "{n} was founded by whom?",
    ],
    clauses: &[
        "who founded {n}",
        "who the founder of {n} was",
        "by whom {n} was founded",
        "who laid the first stone of {n}",
    ],
};

pub(super) const FOUNDED: Wording = Wording {
    states: &[
        "{s} was founded in the year {v}",
        "the first stone of {n} was laid in {v}",
        "{s} counts its years from {v}",
        "there has been a town at {n} since {v}",
        "{s} received its charter in the year {v}",
        "in the year {v} the town of {n} was begun",
        "the year {v} saw the founding of {n}",
    ],
    asks: &[
        "When was {n} founded?",
        "In what year was {n} founded?",
        "When was the first stone of {n} laid?",
        "In which year did {n} receive its charter?",
        "From what year does {n} count?",
        "What year saw the founding of {n}?",
        "Since when has there been a town at {n}?",
        "In which year was the town of {n} founded?",
        "What is the year of the founding of {n}?",
        "{n} was founded in what year?",
    ],
    clauses: &[
        "when {n} was founded",
        "in what year {n} was founded",
        "what year saw the founding of {n}",
        "when the first stone of {n} was laid",
    ],
};

pub(super) const WARDEN: Wording = Wording {
    states: &[
        "the warden of {n} is {v}",
        "{s} is governed by {v}",
        "{v} is warden of {n}",
        "{v} holds the keys of {n}",
        "{s} chose {v} for its warden",
        "the office of warden at {n} is held by {v}",
        "{s} is in the care of {v}",
    ],
    asks: &[
        "Who is the warden of {n}?",
        "Who governs {n}?",
        "Who holds the keys of {n}?",
        "By whom is {n} governed?",
        "Whom did {n} choose for its warden?",
        "Who is warden at {n}?",
        "In whose care is {n}?",
        "Who holds the office of warden at {n}?",
        "What is the name of the warden of {n}?",
        "Who keeps the keys of {n}?",
    ],
    clauses: &[
        "who the warden of {n} is",
        "who governs {n}",
        "who holds the keys of {n}",
        "whom {n} chose for its warden",
    ],
};

pub(super) const MARKET: Wording = Wording {
    states: &[
        "{s} holds its market on {v}",
        "market day at {n} is {v}",
        "the stalls of {n} open on {v}",
        "on {v} there is a market at {n}",
        "{s} is quiet except on {v}, when the market is held",
        "farmers bring their carts to {n} every {v}",
        "{v} is the market day of {n}",
    ],
    asks: &[
        "On what day is the market at {n}?",
        "When is market day at {n}?",
        "On which day does {n} hold its market?",
        "What is the market day of {n}?",
        "On what day do the stalls of {n} open?",
        "Which day is market day at {n}?",
        "When do farmers bring their carts to {n}?",
        "Which day of the week is the market at {n}?",
        "What day does {n} keep for its market?",
        "On which day can one buy at the market of {n}?",
    ],
    clauses: &[
        "on what day the market at {n} is",
        "when market day at {n} is",
        "on which day {n} holds its market",
        "which day is market day at {n}",
    ],
};

pub(super) const FESTIVAL: Wording = Wording {
    states: &[
        "{s} keeps {v} every year",
        "the great feast of {n} is {v}",
        "{v} is the feast that {n} loves best",
        "at {n} the people celebrate {v}",
        "{s} is full of guests when {v} comes",
        "no town keeps {v} as {n} does",
        "the people of {n} save all year for {v}",
    ],
    asks: &[
        "What feast does {n} keep?",
        "What is the great feast of {n}?",
        "Which feast do the people of {n} celebrate?",
        "What festival is held at {n}?",
        "What do the people of {n} celebrate every year?",
        "Which festival fills {n} with guests?",
        "For what feast do the people of {n} save?",
        "Which feast does {n} love best?",
        "What festival does {n} keep every year?",
        "What is the festival of {n} called?",
    ],
    clauses: &[
        "what feast {n} keeps",
        "what the great feast of {n} is",
        "which festival is held at {n}",
        "what the people of {n} celebrate",
    ],
};

pub(super) const INN: Wording = Wording {
    states: &[
        "the inn at {n} is called the {v}",
        "at {n} travellers sleep at the {v}",
        "{s} has one inn, the {v}",
        "the sign over the inn at {n} says the {v}",
        "whoever is late at {n} knocks at the {v}",
        "the only inn of {n} is the {v}",
        "{s} feeds its guests at the {v}",
    ],
    asks: &[
        "What is the inn at {n} called?",
        "What is the name of the inn at {n}?",
        "Where do travellers sleep at {n}?",
        "At which inn does one stay at {n}?",
        "What does the sign over the inn at {n} say?",
        "Which inn is at {n}?",
        "What do they call the inn at {n}?",
        "At {n}, which inn takes guests?",
        "By what name does the inn of {n} go?",
        "What inn will a traveller find at {n}?",
    ],
    clauses: &[
        "what the inn at {n} is called",
        "at which inn one stays at {n}",
        "where travellers sleep at {n}",
        "what the name of the inn at {n} is",
    ],
};

pub(super) const BANNER: Wording = Wording {
    states: &[
        "the banner of {n} is {v}",
        "{s} flies a {v} banner",
        "over the gate of {n} hangs a {v} banner",
        "the colour of {n} is {v}",
        "the guards of {n} wear {v}",
        "{s} paints its doors {v}, like its banner",
    ],
    asks: &[
        "What colour is the banner of {n}?",
        "Of what colour is the banner of {n}?",
        "What is the colour of {n}?",
        "Which colour do the guards of {n} wear?",
        "What colour does {n} fly?",
        "What colour hangs over the gate of {n}?",
        "In what colour are the doors of {n} painted?",
        "Which colour is the banner of {n}?",
        "What colour is the flag of {n}?",
        "What colour of banner does {n} fly?",
    ],
    clauses: &[
        "what colour the banner of {n} is",
        "which colour the guards of {n} wear",
        "what colour {n} flies",
        "of what colour the banner of {n} is",
    ],
};

pub(super) const ARCHES: Wording = Wording {
    states: &[
        "the bridge at {n} has {v} arches",
        "{s} has a bridge of {v} arches",
        "one crosses into {n} over {v} arches of stone",
        "the masons gave the bridge of {n} {v} arches",
        "{s} is proud of its bridge and the {v} arches of it",
        "under the bridge at {n} there are {v} arches",
    ],
    asks: &[
        "How many arches has the bridge at {n}?",
        "How many arches does the bridge at {n} have?",
        "Over how many arches does one cross into {n}?",
        "How many arches are there in the bridge of {n}?",
        "What is the number of arches of the bridge at {n}?",
        "How many arches did the masons give the bridge of {n}?",
        "How many arches carry the bridge at {n}?",
        "The bridge at {n} has how many arches?",
        "How many arches can one count under the bridge at {n}?",
        "Of how many arches is the bridge at {n}?",
    ],
    clauses: &[
        "how many arches the bridge at {n} has",
        "how many arches there are in the bridge of {n}",
        "over how many arches one crosses into {n}",
        "what the number of arches of the bridge at {n} is",
    ],
};

//! The six witnesses: names, licences, styles, and the relations that each writes about.

use crate::{Relation, tone::Tone};

/// Profile of a witness.
pub(crate) struct Witness {
    pub(crate) folder: &'static str,
    pub(crate) name: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) about: &'static str,
    pub(crate) tone: Tone,
    pub(crate) relations: &'static [Relation],
}

/// All witnesses, in the order of their folders.
pub(crate) const WITNESSES: [Witness; 6] = [
    Witness {
        folder: "1-guild",
        name: "The guild of crafts at {place}",
        licence: "CC-BY-4.0",
        about: "Leaves of a guild's ledger: who follows which craft, who taught whom, what they play and sing.",
        tone: Tone::Ledger,
        relations: &[
            Relation::Trade,
            Relation::Teacher,
            Relation::Instrument,
            Relation::Author,
        ],
    },
    Witness {
        folder: "2-traveller",
        name: "{person}, who travels",
        licence: "CC-BY-SA-4.0",
        about: "A traveller's letters home: rivers, inns, bridges and what the towns are known for.",
        tone: Tone::Letter,
        relations: &[Relation::Inn, Relation::River, Relation::Ware, Relation::Arches],
    },
    Witness {
        folder: "3-chronicle",
        name: "The chroniclers of {place}",
        licence: "CC0-1.0",
        about: "A chronicle: who founded the towns and when, who governs them, what befell them.",
        tone: Tone::Chronicle,
        relations: &[Relation::Founder, Relation::Founded, Relation::Event, Relation::Warden],
    },
    Witness {
        folder: "4-harbour",
        name: "The harbour office of {place}",
        licence: "ODC-By-1.0",
        about: "A harbour roll: captains, cargoes and home ports.",
        tone: Tone::Roll,
        relations: &[Relation::Captain, Relation::Cargo, Relation::Port],
    },
    Witness {
        folder: "5-crier",
        name: "{person}, market crier",
        licence: "CC-BY-4.0",
        about: "A crier's notices: prices, market days, feasts and banners.",
        tone: Tone::Notice,
        relations: &[Relation::Price, Relation::Market, Relation::Festival, Relation::Banner],
    },
    Witness {
        folder: "6-register",
        name: "The register of households at {place}",
        licence: "CC-BY-NC-4.0",
        about: "A register of households: who lives where, born when, with which animal and at what table.",
        tone: Tone::Register,
        relations: &[Relation::Home, Relation::Born, Relation::Beast, Relation::Dish],
    },
];

//! Writing styles of the witnesses: the sentences around the facts of a page.

use crate::{filler, phrasing::capital, rng::Rng};

/// Writing style of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A guild's ledger.
    Ledger,
    /// A traveller's letters.
    Letter,
    /// A chronicle.
    Chronicle,
    /// A harbour roll.
    Roll,
    /// A market crier's notices.
    Notice,
    /// A register of households.
    Register,
}

/// Fewest words of a page before its last line. Duplicate detection compares records under fifty words as a whole, so a
/// re-worded copy of a shorter page would escape it.
const WORDS: usize = 52;
/// Most filler sentences on a page.
const IDLE: usize = 10;

impl Tone {
    /// Writes a page that states the clauses.
    pub(crate) fn page(self, rng: &mut Rng, clauses: &[String]) -> String {
        let (openings, links, endings) = self.frame();
        let mut links: Vec<&str> = links.to_vec();
        rng.shuffle(&mut links);
        let mut lines = vec![rng.pick(openings).replace("{w}", &filler::weather(rng))];
        for (clause, link) in clauses.iter().zip(links.iter().cycle()) {
            let line = link.replace("{c}", clause).replace("{C}", &capital(clause));
            lines.push(line);
        }
        // A filler sentence at a random place, so that two pages with the same frame differ.
        let at = rng.within(1, lines.len() - 1);
        let mut idle = filler::several(rng, IDLE).into_iter();
        let mut more = || idle.next().expect("a page is full before they run out");
        lines.insert(at, more());
        let ending = rng.pick(endings).replace("{w}", &more());
        while lines.iter().map(|line| line.split(' ').count()).sum::<usize>() < WORDS {
            lines.push(more());
        }
        lines.push(ending);
        let joint = if matches!(self, Self::Ledger | Self::Roll) {
            "\n"
        } else {
            " "
        };
        lines.join(joint)
    }

    /// Returns openings, templates around a clause, and endings.
    fn frame(
        self,
    ) -> (
        &'static [&'static str],
        &'static [&'static str],
        &'static [&'static str],
    ) {
        match self {
            Self::Ledger => (
                &[
                    "From the ledger of the guild.",
                    "A leaf of the ledger. {w}",
                    "Written for the masters. {w}",
                    "{w} The clerk notes:",
                ],
                &[
                    "Item: {c}.",
                    "{C}.",
                    "Also, {c}.",
                    "The masters know that {c}.",
                    "Entered today: {c}.",
                ],
                &[
                    "{w}",
                    "Counted and found right.",
                    "The clerk has signed. {w}",
                    "So far this leaf.",
                ],
            ),
            Self::Letter => (
                &[
                    "Dear sister,\n{w}",
                    "My dear sister,\nI write by a poor candle.",
                    "Dear sister,\nI am well. {w}",
                    "Sister,\n{w}",
                ],
                &[
                    "{C}.",
                    "I saw with my own eyes that {c}.",
                    "You will like this: {c}.",
                    "They told me at supper that {c}.",
                    "{C}, as I found out.",
                ],
                &[
                    "{w} Your brother on the road.",
                    "More when I find paper. {w}",
                    "Keep well until I come.",
                    "{w} I kiss your hands.",
                ],
            ),
            Self::Chronicle => (
                &[
                    "Here the chronicle speaks of old days.",
                    "Let it be remembered. {w}",
                    "The old books agree in this.",
                    "{w} So the chronicler begins.",
                ],
                &[
                    "{C}.",
                    "It is written that {c}.",
                    "All the books say that {c}.",
                    "{C}, and nobody doubts it.",
                    "Know also that {c}.",
                ],
                &[
                    "{w}",
                    "So it is written, and so it was.",
                    "Of the rest the books are silent. {w}",
                    "Here the page ends.",
                ],
            ),
            Self::Roll => (
                &[
                    "Harbour roll, evening tide. {w}",
                    "Harbour roll.",
                    "Roll of the harbour master. {w}",
                    "{w} The roll is read:",
                ],
                &[
                    "{C}.",
                    "Seen from the mole: {c}.",
                    "Noted at the rope: {c}.",
                    "The pilot swears that {c}.",
                    "Again, {c}.",
                ],
                &[
                    "{w}",
                    "The lamp is lit.",
                    "No other sail in sight. {w}",
                    "Signed by the harbour master.",
                ],
            ),
            Self::Notice => (
                &[
                    "Hear, good people! {w}",
                    "Hear and tell your neighbours!",
                    "By leave of the warden, hear! {w}",
                    "{w} But hear the crier!",
                ],
                &[
                    "{C}!",
                    "Know that {c}.",
                    "{C}.",
                    "Let nobody say he was not told: {c}.",
                    "Again I cry it, {c}.",
                ],
                &[
                    "{w}",
                    "Cried three times at the well.",
                    "Go home and remember it. {w}",
                    "So much for today!",
                ],
            ),
            Self::Register => (
                &[
                    "From the register of households. {w}",
                    "The visitor of households writes:",
                    "Register, one more leaf. {w}",
                    "{w} At the doors we heard this.",
                ],
                &[
                    "{C}.",
                    "We found that {c}.",
                    "The neighbours say that {c}.",
                    "It was shown to us that {c}.",
                    "{C}, by all accounts.",
                ],
                &[
                    "{w}",
                    "The visitors went home at dusk.",
                    "All doors were opened. {w}",
                    "Sealed by two witnesses.",
                ],
            ),
        }
    }
}

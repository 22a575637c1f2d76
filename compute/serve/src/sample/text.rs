//! From tokens to text as they come: whole characters only, and nothing of what may turn out to be a stop string.

/// Turns tokens into text.
pub trait Decode: Send + Sync {
    /// The text of consecutive tokens, special ones left out. Bytes that are not UTF-8 come as U+FFFD.
    fn decode(&self, tokens: &[u32]) -> String;
}

/// Most stop strings of a request.
pub const STOPS_MAX: usize = 16;
/// Longest stop string in bytes.
pub const STOP_BYTES_MAX: usize = 1024;
/// After so many tokens without a whole character the bytes are not going to become one.
const UNFINISHED_MAX: usize = 16;

/// The text of an answer so far.
#[derive(Debug)]
pub struct Text {
    stops: Vec<String>,
    keep_stop: bool,
    /// Tokens from the start of the window on. The window starts one shown piece early, because how a token is written
    /// may depend on the one before.
    window: Vec<u32>,
    /// How many of the window are shown already.
    shown: usize,
    /// Text that is decoded and held back.
    held: String,
    stopped: bool,
}

/// What a token added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Text to show.
    pub text: String,
    /// Whether a stop string was reached: nothing may follow.
    pub stopped: bool,
}

impl Text {
    /// No text yet. A stop string itself is shown if `keep_stop`.
    pub fn new(stops: Vec<String>, keep_stop: bool) -> Self {
        Self {
            stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
            keep_stop,
            window: Vec::new(),
            shown: 0,
            held: String::new(),
            stopped: false,
        }
    }

    /// The next token of the answer.
    pub fn push(&mut self, token: u32, words: &dyn Decode) -> Added {
        assert!(!self.stopped, "nothing follows a stop string");
        self.window.push(token);
        let Some(fresh) = self.fresh(words, false) else {
            return Added::default();
        };
        self.held.push_str(&fresh);
        if let Some(added) = self.stop() {
            return added;
        }
        let keep = self.maybe_stop();
        let text = self.held.drain(..self.held.len() - keep).collect();
        Added { text, stopped: false }
    }

    /// What was held back, when the answer ends for another reason.
    pub fn finish(&mut self, words: &dyn Decode) -> Added {
        if self.stopped {
            return Added::default();
        }
        if let Some(fresh) = self.fresh(words, true) {
            self.held.push_str(&fresh);
        }
        if let Some(added) = self.stop() {
            return added;
        }
        Added {
            text: std::mem::take(&mut self.held),
            stopped: false,
        }
    }

    /// Text of the tokens that are not shown yet; nothing while they end within a character.
    fn fresh(&mut self, words: &dyn Decode, last: bool) -> Option<String> {
        let before = words.decode(&self.window[..self.shown]);
        let all = words.decode(&self.window);
        let waited = self.window.len() - self.shown;
        let unfinished = all.len() <= before.len() || all.ends_with('\u{FFFD}');
        if unfinished && !last && waited < UNFINISHED_MAX {
            return None;
        }
        // Nothing comes where the window began within a character: what was shown of it cannot be taken back.
        let fresh = all.get(before.len()..).unwrap_or_default().to_owned();
        self.window.drain(..self.shown);
        self.shown = self.window.len();
        Some(fresh)
    }

    /// Cuts at the first stop string, of several at one place the longest.
    fn stop(&mut self) -> Option<Added> {
        let (at, len) = self
            .stops
            .iter()
            .filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.len())))
            .min_by_key(|(at, len)| (*at, usize::MAX - len))?;
        self.held.truncate(if self.keep_stop { at + len } else { at });
        self.stopped = true;
        Some(Added {
            text: std::mem::take(&mut self.held),
            stopped: true,
        })
    }

    /// How many bytes at the end may be the start of a stop string.
    fn maybe_stop(&self) -> usize {
        let starts = |stop: &String| {
            (1..stop.len())
                .rev()
                .find(|len| stop.is_char_boundary(*len) && self.held.ends_with(&stop[..*len]))
                .unwrap_or(0)
        };
        self.stops.iter().map(starts).max().unwrap_or(0)
    }
}

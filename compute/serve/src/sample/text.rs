//! Detokenising a stream: emits whole characters only, and holds back what may turn out to be a stop string.

/// Turns token ids into text.
pub trait Detokenize: Send + Sync {
    /// The text of consecutive tokens, special ones left out. Bytes that are not UTF-8 come as U+FFFD.
    fn decode(&self, tokens: &[u32]) -> String;
}

/// Most stop strings of a request.
pub const STOPS_MAX: usize = 16;
/// Longest stop string in bytes.
pub const STOP_BYTES_MAX: usize = 1024;
/// After this many tokens without a whole character, the bytes are shown as they are.
const UNFINISHED_MAX: usize = 16;

/// The text of one completion as it grows.
///
/// ```
/// use serve::sample::text::{Detokenize, TextStream};
///
/// /// Token 0 is "a", token 1 is "b", and so on.
/// struct Letters;
/// impl Detokenize for Letters {
///     fn decode(&self, tokens: &[u32]) -> String {
///         tokens.iter().map(|token| char::from(b'a' + *token as u8)).collect()
///     }
/// }
///
/// let mut text = TextStream::new(vec!["cd".to_owned()], false);
/// assert_eq!(text.push(1, &Letters).text, "b");
/// assert_eq!(text.push(2, &Letters).text, "", "`c` may become the stop string");
/// assert!(text.push(3, &Letters).stopped);
/// ```
#[derive(Debug)]
pub struct TextStream {
    stops: Vec<String>,
    keep_stop: bool,
    /// Recent tokens. Some that are shown already stay in it, because how a tokenizer writes a token may depend on the one
    /// before.
    window: Vec<u32>,
    /// How many tokens of the window are shown already.
    shown: usize,
    /// Decoded text that is held back.
    held: String,
    stopped: bool,
}

/// The text that a token added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    pub text: String,
    /// True if a stop string was reached: nothing may be pushed after it.
    pub stopped: bool,
}

impl TextStream {
    /// An empty text. A stop string itself is shown if `keep_stop`.
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

    /// Adds the next token of the completion.
    pub fn push(&mut self, token: u32, detokenizer: &dyn Detokenize) -> Added {
        assert!(!self.stopped, "nothing follows a stop string");
        self.window.push(token);
        let Some(fresh) = self.fresh(detokenizer, false) else {
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

    /// Returns what was held back, when the completion ends for another reason.
    pub fn finish(&mut self, detokenizer: &dyn Detokenize) -> Added {
        if self.stopped {
            return Added::default();
        }
        if let Some(fresh) = self.fresh(detokenizer, true) {
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

    /// TextStream of the tokens that are not shown yet; `None` while they end within a character.
    fn fresh(&mut self, detokenizer: &dyn Detokenize, last: bool) -> Option<String> {
        let before = detokenizer.decode(&self.window[..self.shown]);
        let all = detokenizer.decode(&self.window);
        let waited = self.window.len() - self.shown;
        let unfinished = all.len() <= before.len() || all.ends_with('\u{FFFD}');
        if unfinished && !last && waited < UNFINISHED_MAX {
            return None;
        }
        // Empty if the window began within a character: what was shown of it cannot be taken back.
        let fresh = all.get(before.len()..).unwrap_or_default().to_owned();
        self.window.drain(..self.shown);
        self.shown = self.window.len();
        Some(fresh)
    }

    /// Cuts at the first stop string; of several at one position, at the longest.
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

    /// Number of bytes at the end that may be the start of a stop string.
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

//! Comparison of an answer with the one expected.

use serde::Serialize;

/// Most words of a text that are compared: the work grows with the product of both sides.
const WORDS_MAX: usize = 2048;

/// Result of comparing an answer with the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// True if they are the same apart from case, spacing and a full stop at the end.
    pub is_exact: bool,
    /// ROUGE-L F-measure, 0 to 1: by the longest common subsequence of words.
    pub rouge_l: f64,
}

/// Compares an answer with the one expected, up to as many lines as the latter has. Further lines, such as an
/// invented next question, are ignored.
///
/// ```
/// let score = train::comparison::score("Barley soup\nQuestion: and then?", "barley soup.");
/// assert!(score.is_exact);
/// assert_eq!(score.rouge_l, 1.0);
/// ```
pub fn score(said: &str, expected: &str) -> Score {
    let said = answer(said, expected);
    Score {
        is_exact: plain(&said) == plain(expected),
        rouge_l: rouge_l(&said, expected),
    }
}

/// Returns the first lines of a text, as many as `expected` has.
pub(crate) fn answer(said: &str, expected: &str) -> String {
    let lines = expected.trim().lines().count().max(1);
    let said: Vec<&str> = said.trim().lines().take(lines).collect();
    said.join("\n").trim_end().to_owned()
}

/// Returns the text in lower case with single spaces and without a full stop at the end.
fn plain(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let text = words.join(" ");
    text.strip_suffix('.').unwrap_or(&text).trim_end().to_owned()
}

/// ROUGE-L (Lin, 2004) over words in lower case without surrounding punctuation.
fn rouge_l(said: &str, expected: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let plain = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let words = text.split_whitespace().map(plain).filter(|word| !word.is_empty());
        words.take(WORDS_MAX).collect()
    };
    let (said, expected) = (words(said), words(expected));
    if said.is_empty() || expected.is_empty() {
        return 0.0;
    }
    // One row of the table of the longest common subsequence.
    let mut row = vec![0u32; expected.len() + 1];
    for word in &said {
        let mut before = 0;
        for (at, other) in expected.iter().enumerate() {
            let here = row[at + 1];
            row[at + 1] = if word == other { before + 1 } else { here.max(row[at]) };
            before = here;
        }
    }
    2.0 * f64::from(row[expected.len()]) / (said.len() + expected.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_blanks_and_the_final_stop_do_not_count() {
        let check = |said: &str, expected: &str, is_exact: bool| {
            assert_eq!(score(said, expected).is_exact, is_exact, "{said:?} beside {expected:?}");
        };
        check(" Barley  soup.", "barley soup", true);
        check("barley soup", "Barley soup.", true);
        check("barley soup!", "barley soup", false);
        check("barley", "barley soup", false);
        check("3.5", "3.5.", true);
        check("", "x", false);
    }

    #[test]
    fn text_after_the_answer_is_ignored() {
        assert!(score("Anivo\nQuestion: Who else?", "Anivo").is_exact);
        assert!(score("one\ntwo\nthree", "one\ntwo").is_exact);
        assert!(!score("one", "one\ntwo").is_exact);
    }

    #[test]
    fn rouge_is_the_longest_run_with_gaps() {
        let of = |said, expected| score(said, expected).rouge_l;
        assert_eq!(of("the cat sat on the mat", "The cat lay on the mat."), 10.0 / 12.0);
        assert_eq!(of("a b", "b a"), 0.5);
        assert_eq!(of("", "x"), 0.0);
        assert_eq!(of("x", "--"), 0.0);
        assert_eq!(of("one two", "one two"), 1.0);
    }

    #[test]
    fn a_long_text_is_compared_up_to_a_bound() {
        let long = "word ".repeat(WORDS_MAX + 500);
        assert_eq!(score(&long, &"word ".repeat(WORDS_MAX)).rouge_l, 1.0);
    }
}

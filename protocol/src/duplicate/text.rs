//! Text normalisation for comparison.
//!
//! Case, accents, width and composition of letters (NFKD, marks dropped), invisible characters and spacing are ignored: they
//! serve to disguise a copy, or come from an editor. Tokens are runs of letters and digits; in scripts written without
//! spaces, each character is a token.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Returns the normalised characters: lower case, with each run of white space as one space.
pub fn normalised(text: &str) -> impl Iterator<Item = char> {
    let mut space = true;
    text.nfkd()
        .filter(|&c| !is_combining_mark(c) && !invisible(c))
        .flat_map(char::to_lowercase)
        .filter_map(move |c| {
            let (c, was) = (if c.is_whitespace() { ' ' } else { c }, space);
            space = c == ' ';
            (!(was && c == ' ')).then_some(c)
        })
}

/// Calls `each` with every token of a text, in order.
pub fn tokens(text: &str, mut each: impl FnMut(&str)) {
    let mut token = String::new();
    let mut flush = |token: &mut String| {
        if !token.is_empty() {
            each(token);
            token.clear();
        }
    };
    for c in normalised(text) {
        let alone = unspaced(c);
        if alone || !c.is_alphanumeric() || token.len() >= TOKEN_MAX {
            flush(&mut token);
        }
        if c.is_alphanumeric() {
            token.push(c);
        }
        if alone {
            flush(&mut token);
        }
    }
    flush(&mut token);
}

/// Longest token, in bytes. Longer runs are split, so that base64 does not become a single token.
const TOKEN_MAX: usize = 64;

/// Returns true for zero-width and formatting characters.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Returns true for scripts without spaces between words: kana, ideographs, Thai, Lao, Khmer, Burmese.
fn unspaced(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}'
        | '\u{e01}'..='\u{edf}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
        && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        tokens(text, |token| found.push(token.to_owned()));
        found
    }

    #[test]
    fn disguised_copies_have_the_same_tokens() {
        let plain = list("the cafe is open 24 hours");
        for disguised in [
            "The CAFÉ is open, 24 hours!",
            "the cafe\u{301} is\topen\n\n24   hours",
            "ｔｈｅ cafe is open ２４ hours",
            "the ca\u{200b}fe is o\u{ad}pen 24 hours",
        ] {
            assert_eq!(list(disguised), plain, "{disguised}");
        }
    }

    #[test]
    fn normalisation_keeps_punctuation_and_collapses_spaces() {
        assert_eq!(normalised(" A +  B\n").collect::<String>(), "a + b ");
    }

    #[test]
    fn scripts_without_spaces_have_a_token_per_character() {
        assert_eq!(list("東京は abc"), ["東", "京", "は", "abc"]);
        assert_eq!(list(&"x".repeat(130)).len(), 3);
        assert!(list(" -- \u{200b}!").is_empty());
    }
}

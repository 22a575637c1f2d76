//! The merges of byte-pair encoding: the most frequent pair first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

type Pair = (u32, u32);

/// Words as tokens, and the pairs in them.
struct Pairs {
    words: Vec<(Vec<u32>, u64)>,
    counts: BTreeMap<Pair, u64>,
    /// Words that contain, or contained, a pair.
    words_with: BTreeMap<Pair, Vec<u32>>,
}

/// Merges pairs until there are `size` tokens, or no pair occurs `least` times. New tokens are appended to `tokens`.
/// Of pairs equally frequent the one of smaller tokens is first, so the result is unique.
pub(super) fn learn<'a>(
    words: impl Iterator<Item = (&'a str, u64)>,
    tokens: &mut Vec<String>,
    size: usize,
    least: u64,
) -> Vec<[u32; 2]> {
    let mut numbers: BTreeMap<String, u32> = (0..).zip(tokens.iter()).map(|(n, token)| (token.clone(), n)).collect();
    let number = |c: char| numbers[c.encode_utf8(&mut [0; 4]) as &str];
    let words = words
        .map(|(word, met)| (word.chars().map(number).collect(), met))
        .collect();
    let mut pairs = Pairs::of(words);
    // Counts as of when a pair was queued; a count may have fallen since, which is checked when it is taken out.
    let mut queue: BinaryHeap<(u64, Reverse<Pair>)> =
        pairs.counts.iter().map(|(pair, met)| (*met, Reverse(*pair))).collect();
    let mut merges = Vec::new();
    while tokens.len() < size {
        let Some((queued_count, Reverse(pair))) = queue.pop() else {
            break;
        };
        let met = pairs.counts.get(&pair).copied().unwrap_or(0);
        if met < least {
            continue;
        }
        if met != queued_count {
            queue.push((met, Reverse(pair)));
            continue;
        }
        let text = [tokens[pair.0 as usize].as_str(), &tokens[pair.1 as usize]].concat();
        // The same token may come of two different pairs.
        let joined = *numbers.entry(text).or_insert_with_key(|text| {
            tokens.push(text.clone());
            u32::try_from(tokens.len() - 1).expect("a vocabulary is bounded")
        });
        merges.push([pair.0, pair.1]);
        let grown = pairs.join(pair, joined);
        queue.extend(grown.into_iter().map(|pair| (pairs.counts[&pair], Reverse(pair))));
    }
    merges
}

impl Pairs {
    fn of(words: Vec<(Vec<u32>, u64)>) -> Self {
        let mut pairs = Self {
            words: Vec::new(),
            counts: BTreeMap::new(),
            words_with: BTreeMap::new(),
        };
        for (at, (word, met)) in (0..).zip(&words) {
            for pair in word.windows(2).map(|two| (two[0], two[1])) {
                *pairs.counts.entry(pair).or_insert(0) += met;
                pairs.words_with.entry(pair).or_default().push(at);
            }
        }
        pairs.words = words;
        pairs
    }

    /// Merges a pair wherever it occurs, from the left, and returns the pairs whose count rose.
    fn join(&mut self, pair: Pair, joined: u32) -> Vec<Pair> {
        let mut words_with = self.words_with.remove(&pair).unwrap_or_default();
        words_with.sort_unstable();
        words_with.dedup();
        let mut grown = Vec::new();
        for at in words_with {
            let (word, met) = &mut self.words[at as usize];
            let after = replaced(word, pair, joined);
            if after.len() == word.len() {
                continue;
            }
            for old in word.windows(2).map(|two| (two[0], two[1])) {
                let count = self
                    .counts
                    .get_mut(&old)
                    .expect("it was counted when the word came to be");
                *count -= *met;
            }
            for new in after.windows(2).map(|two| (two[0], two[1])) {
                *self.counts.entry(new).or_insert(0) += *met;
                if new.0 == joined || new.1 == joined {
                    self.words_with.entry(new).or_default().push(at);
                    grown.push(new);
                }
            }
            *word = after;
        }
        grown.sort_unstable();
        grown.dedup();
        grown
    }
}

fn replaced(word: &[u32], pair: Pair, joined: u32) -> Vec<u32> {
    let (mut after, mut rest) = (Vec::with_capacity(word.len()), word);
    while let Some((first, behind)) = rest.split_first() {
        let is_pair = *first == pair.0 && behind.first() == Some(&pair.1);
        after.push(if is_pair { joined } else { *first });
        rest = if is_pair { &behind[1..] } else { behind };
    }
    after
}

//! Valid bytes, made wrong: what a coverage-guided fuzzer does, without the coverage.

use crate::dice::Dice;

/// Lengths and counts that decoders get wrong.
const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0xffff_ffff, u64::MAX];
/// Pieces of text that mutations insert.
const TOKENS: [&str; 16] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "-1",
    "0x",
    "1e400",
    "18446744073709551616",
    "true",
    "\\u0000",
    "\n",
    "999999999999 OPEN",
];

/// One of `samples` with up to eight changes.
pub fn mutate(samples: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let pick = |dice: &mut Dice| samples[below(dice, samples.len())].clone();
    let mut bytes = pick(dice);
    for _ in 0..dice.between(1, 8) {
        let other = pick(dice);
        change(&mut bytes, &other, dice);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = below(dice, bytes.len() + 1);
    let end = at + below(dice, (bytes.len() - at).min(64) + 1);
    match dice.between(0, 7) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.between(0, 7);
            }
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let number = dice.pick(&NUMBERS).to_be_bytes();
            let from = below(dice, 8);
            overwrite(bytes, at, &number[from..]);
        }
        6 => {
            let token = dice.pick(&TOKENS).as_bytes();
            bytes.splice(at..end, token.iter().copied());
        }
        _ => {
            let from = below(dice, other.len() + 1);
            let to = from + below(dice, (other.len() - from).min(256) + 1);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = *new);
}

fn below(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.draw() % end as u64).expect("below a length")
}

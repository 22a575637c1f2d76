//! Texts generated from a seed: prose with natural word frequencies, licences and notices from templates, and the ways
//! to disguise a copy.

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let other = usize::try_from(self.roll(at as u64 + 1)).unwrap();
            items.swap(at, other);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a campaign is made longer by its environment")]
pub(super) fn env(name: &str, or: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(or)
}

/// A word of an artificial language of 6,000 words, the n-th about 1/n as frequent as the first.
fn word(dice: &mut Dice) -> String {
    let bits = dice.roll(13);
    let at = dice.roll(1 << bits);
    let (mut n, mut word) = (at + 1, String::new());
    while n > 0 {
        for part in ["bdfgklmnprstvz", "aeiou"] {
            let letters = part.len() as u64;
            let letter = usize::try_from(n % letters).unwrap();
            word.push_str(&part[letter..=letter]);
            n /= letters;
        }
    }
    word
}

/// Sentences of 6 to 17 words, a paragraph every six sentences.
pub(super) fn prose(dice: &mut Dice, words: u64) -> String {
    let (mut text, mut left, mut sentences) = (String::new(), words, 0);
    while left > 0 {
        let length = (6 + dice.roll(12)).min(left);
        let mut sentence: Vec<String> = (0..length).map(|_| word(dice)).collect();
        sentence[0][..1].make_ascii_uppercase();
        text += &sentence.join(" ");
        sentences += 1;
        text += if sentences % 6 == 0 { ".\n\n" } else { ". " };
        left -= length;
    }
    text.trim_end().to_owned()
}

/// A licence or a notice: one of four templates with a holder, a year and a product filled in.
pub(super) fn notice(dice: &mut Dice, n: u64) -> String {
    let (holder, product, year) = (word(dice) + &word(dice), word(dice), 1990 + dice.roll(36));
    let template = [
        "Copyright (c) YEAR HOLDER. Permission is hereby granted, free of charge, to any person obtaining a copy of \
         PRODUCT and associated documentation files, to deal in PRODUCT without restriction, including without \
         limitation the rights to use, copy, modify, merge, publish, distribute, sublicense and sell copies of PRODUCT, \
         subject to the following conditions: the above copyright notice and this permission notice shall be included \
         in all copies or substantial portions of PRODUCT. PRODUCT is provided as is, without warranty of any kind.",
        "Licensed under the terms that HOLDER published in YEAR; you may not use PRODUCT except in compliance with \
         them. Unless required by applicable law or agreed to in writing, PRODUCT is distributed on an as is basis, \
         without warranties or conditions of any kind, either express or implied. See the terms for the specific \
         language governing permissions and limitations. Every copy of PRODUCT has to carry this notice of HOLDER.",
        "Notice to all customers of HOLDER. Beginning with the first day of YEAR the service PRODUCT will no longer be \
         available in its present form. Accounts that hold a balance are paid out within thirty days. Please download \
         whatever you wish to keep before that day, since HOLDER cannot restore anything afterwards. Questions about \
         PRODUCT are answered by the customer office on working days between nine and five.",
        "Redistribution and use of PRODUCT in source and binary forms, with or without modification, are permitted \
         provided that redistributions of source code retain the notice of HOLDER from YEAR, this list of conditions \
         and the following disclaimer. Neither the name of HOLDER nor the names of its contributors may be used to \
         endorse or promote products derived from PRODUCT without specific prior written permission. In no event \
         shall HOLDER be liable for any direct, indirect, incidental or consequential damages.",
    ];
    template[usize::try_from(n % 4).unwrap()]
        .replace("YEAR", &year.to_string())
        .replace("HOLDER", &holder)
        .replace("PRODUCT", &product)
}

type Disguise = (&'static str, fn(&mut Dice, &str) -> String);

/// Changes made to a copy.
pub(super) const DISGUISES: [Disguise; 7] = [
    ("copied (one letter behind)", |_, text| format!("{text} x")),
    ("re-cased", |_, text| text.to_uppercase()),
    ("re-spaced", |_, text| text.replace(' ', "\u{a0}\t\n")),
    ("unpunctuated", |_, text| text.replace(['.', '\n'], " ;")),
    ("10%-noised", |dice, text| noised(dice, text, 10)),
    ("sentences re-ordered", |dice, text| {
        let mut sentences: Vec<&str> = text.split(". ").collect();
        dice.shuffle(&mut sentences);
        sentences.rotate_left(1);
        sentences.join(". ")
    }),
    ("paragraphs re-ordered", |_, text| {
        let mut parts: Vec<&str> = text.split("\n\n").collect();
        parts.reverse();
        if parts.len() == 1 {
            text.to_lowercase()
        } else {
            parts.join("\n\n")
        }
    }),
];

/// Replaces exactly `percent` of a hundred words, chosen at random.
pub(super) fn noised(dice: &mut Dice, text: &str, percent: u64) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let mut places: Vec<usize> = (0..words.len()).collect();
    dice.shuffle(&mut places);
    let changed = (words.len() as u64 * percent).div_ceil(100);
    for &place in places.iter().take(usize::try_from(changed).unwrap()) {
        words[place] = word(dice) + "q";
    }
    words.join(" ")
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEY: ContentKey = ContentKey([1; 32]);

fn audit(pages: &Pages, chains: &[&Chain]) {
    let mut users = vec![0; pages.users.len()];
    for page in chains.iter().flat_map(|chain| &chain.pages) {
        users[page.0 as usize] += 1;
    }
    assert_eq!(users, pages.users);
    pages.tree.audit(|page| users[page.0 as usize] > 0);
    let mut free = pages.free.clone();
    free.sort_unstable();
    free.dedup();
    assert_eq!(free.len(), pages.free.len(), "a page is free once");
    for page in 0..u32::try_from(users.len()).expect("few") {
        let free = free.binary_search(&PageId(page)).is_ok();
        let elsewhere = users[page as usize] > 0 || pages.tree.node_of(PageId(page)).is_some();
        assert_ne!(free, elsewhere, "page {page} is free, or used or kept");
    }
}

fn run(pages: &mut Pages, key: ContentKey, tokens: &[u32]) -> (Chain, Reuse) {
    let (mut chain, reuse) = pages.begin(key, tokens);
    assert!(pages.reserve(&mut chain, tokens.len()));
    pages.filled(&mut chain, tokens);
    (chain, reuse)
}

#[test]
fn a_second_sequence_shares_whole_pages_of_the_first_while_it_still_runs() {
    let mut pages = Pages::new(8, 2);
    let (first, _) = run(&mut pages, KEY, &[1, 2, 3, 4, 5]);
    let (second, reuse) = run(&mut pages, KEY, &[1, 2, 3, 4, 6]);
    assert_eq!(reuse, Reuse { filled: 4, copy: None });
    assert_eq!(first.pages[..2], second.pages[..2]);
    assert_ne!(first.pages[2], second.pages[2]);
    audit(&pages, &[&first, &second]);
}

#[test]
fn a_sequence_that_diverges_within_a_page_copies_the_common_part() {
    let mut pages = Pages::new(8, 4);
    let (first, _) = run(&mut pages, KEY, &[1, 2, 3, 4, 5, 6, 7, 8]);
    pages.end(first, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let (chain, reuse) = pages.begin(KEY, &[1, 2, 3, 4, 5, 6, 9]);
    let copy = reuse.copy.expect("two tokens of the second page are common");
    assert_eq!((reuse.filled, copy.tokens, copy.to), (6, 2, chain.pages[1]));
    assert_ne!(copy.from, copy.to);
    audit(&pages, &[&chain]);
}

#[test]
fn a_partly_filled_page_is_reused_by_the_next_turn_of_a_conversation() {
    let mut pages = Pages::new(8, 4);
    let (first, _) = run(&mut pages, KEY, &[1, 2, 3, 4, 5, 6]);
    pages.end(first, &[1, 2, 3, 4, 5, 6]);
    let (chain, reuse) = pages.begin(KEY, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(reuse.filled, 6);
    pages.end(chain, &[1, 2, 3, 4, 5, 6]);
    audit(&pages, &[]);
}

#[test]
fn content_of_other_weights_is_never_shared() {
    let base = [0; 32];
    type Mix<'a> = &'a [([u8; 32], u32)];
    let mixes: [(Mix, bool); 4] = [
        (&[], false),
        (&[], true),
        (&[([1; 32], 1)], false),
        (&[([1; 32], 2)], false),
    ];
    let mut pages = Pages::new(16, 2);
    for (mix, verified) in mixes {
        let key = ContentKey::new(&base, mix, verified);
        let (chain, reuse) = run(&mut pages, key, &[1, 2, 3]);
        assert_eq!(reuse.filled, 0);
        pages.end(chain, &[1, 2, 3]);
    }
}

#[test]
fn the_last_token_is_always_left_to_compute() {
    let mut pages = Pages::new(8, 2);
    let (first, _) = run(&mut pages, KEY, &[1, 2, 3, 4]);
    pages.end(first, &[1, 2, 3, 4]);
    let (chain, reuse) = pages.begin(KEY, &[1, 2, 3, 4]);
    assert_eq!(reuse.filled, 3);
    pages.end(chain, &[1, 2, 3]);
}

#[test]
fn two_sequences_that_fill_equal_pages_keep_one_of_them() {
    let mut pages = Pages::new(8, 2);
    let (mut first, _) = pages.begin(KEY, &[1, 2, 3]);
    let (mut second, _) = pages.begin(KEY, &[1, 2, 3]);
    for chain in [&mut first, &mut second] {
        assert!(pages.reserve(chain, 3));
        pages.filled(chain, &[1, 2]);
    }
    assert_eq!(first.pages[0], second.pages[0]);
    assert_eq!(pages.free(), 8 - 3);
    audit(&pages, &[&first, &second]);
}

#[test]
fn unused_pages_are_evicted_lru_and_used_ones_never() {
    let mut pages = Pages::new(3, 2);
    let (old, _) = run(&mut pages, KEY, &[1, 2]);
    pages.end(old, &[1, 2]);
    let (young, _) = run(&mut pages, KEY, &[3, 4]);
    pages.end(young, &[3, 4]);
    let mut held = pages.begin_fresh(KEY);
    assert!(pages.reserve(&mut held, 4), "one free and the oldest kept");
    let (again, reuse) = pages.begin(KEY, &[3, 4, 5]);
    assert_eq!(reuse.filled, 2, "the younger content is still there");
    let mut more = pages.begin_fresh(KEY);
    assert!(!pages.reserve(&mut more, 2), "every page has a user");
    assert_eq!(pages.evicted(), 1);
    audit(&pages, &[&held, &again, &more]);
}

/// An operation on pages, with small numbers so that prefixes collide.
#[derive(Clone, Debug)]
enum Act {
    Begin { key: u8, tokens: Vec<u32> },
    Grow { which: usize, by: usize },
    End { which: usize },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..2u8, prop::collection::vec(0..2u32, 1..14)).prop_map(|(key, tokens)| Act::Begin { key, tokens }),
        4 => (0..8usize, 1..4usize).prop_map(|(which, by)| Act::Grow { which, by }),
        2 => (0..8usize).prop_map(|which| Act::End { which }),
    ]
}

/// A device that remembers what was written where, so that reuse of the wrong page is detected.
#[derive(Default)]
struct Memory(BTreeMap<(PageId, usize), (u8, Vec<u32>)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn reused_positions_hold_what_the_sequence_would_have_computed(acts in prop::collection::vec(act(), 1..80)) {
        const PAGE: usize = 3;
        let (mut pages, mut memory) = (Pages::new(9, PAGE), Memory::default());
        let mut live: Vec<(u8, Vec<u32>, usize, Chain)> = Vec::new();
        for act in acts {
            match act {
                Act::Begin { key, tokens } => {
                    let (chain, reuse) = pages.begin(ContentKey([key; 32]), &tokens);
                    if let Some(copy) = reuse.copy {
                        for at in 0..copy.tokens {
                            let held = memory.0[&(copy.from, at)].clone();
                            memory.0.insert((copy.to, at), held);
                        }
                    }
                    prop_assert!(reuse.filled < tokens.len());
                    live.push((key, tokens, reuse.filled, chain));
                }
                Act::Grow { which, by } if which < live.len() => {
                    let (key, tokens, filled, chain) = &mut live[which];
                    let to = (*filled + by).min(tokens.len());
                    if pages.reserve(chain, to) {
                        for at in *filled..to {
                            memory.0.insert((chain.pages[at / PAGE], at % PAGE), (*key, tokens[..=at].to_vec()));
                        }
                        *filled = to;
                        pages.filled(chain, &tokens[..to]);
                    }
                }
                Act::End { which } if which < live.len() => {
                    let (_, tokens, filled, chain) = live.swap_remove(which);
                    pages.end(chain, &tokens[..filled]);
                }
                Act::Grow { .. } | Act::End { .. } => (),
            }
            audit(&pages, &live.iter().map(|(.., chain)| chain).collect::<Vec<_>>());
            for (key, tokens, filled, chain) in &live {
                for at in 0..*filled {
                    let held = &memory.0[&(chain.pages[at / PAGE], at % PAGE)];
                    prop_assert_eq!(held, &(*key, tokens[..=at].to_vec()));
                }
            }
        }
    }
}

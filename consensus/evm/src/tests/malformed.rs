//! Malformed bytes from peers are refused, whatever they are.

use consensus::execution::Execution;
use proptest::prelude::*;
use protocol::Amount;

use super::support::*;

fn valid_block() -> Vec<u8> {
    let mut chain = Chain::new();
    let slot = chain.slot();
    let offered: Vec<_> = (5..=8)
        .map(|n| wallet(n).pay(0, wallet(9).address, Amount::open(1)))
        .collect();
    chain.ledger.build(&slot, &offered).unwrap().block
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused_as_a_block(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut chain = Chain::new();
        prop_assert!(chain.verdict(&bytes).is_err());
        chain.ledger.header_claim(&bytes);
    }

    #[test]
    fn random_bytes_are_refused_as_a_transaction(bytes in prop::collection::vec(any::<u8>(), 0..500), kind in 0_u8..6) {
        let tx_validator = Chain::new().ledger.tx_validator();
        prop_assert!(tx_validator.admit(&bytes.clone().into()).is_err());
        prop_assert!(tx_validator.admit(&[&[kind], &bytes[..]].concat().into()).is_err());
    }

    /// A changed byte changes the block, and no change is one that execution confirms.
    #[test]
    fn a_damaged_block_is_refused(at in any::<prop::sample::Index>(), flip in 1_u8..=255, cut in any::<bool>()) {
        let mut block = valid_block();
        let at = at.index(block.len());
        if cut { block.truncate(at) } else { block[at] ^= flip }
        let mut chain = Chain::new();
        prop_assert!(chain.verdict(&block).is_err());
    }
}

#[test]
fn a_block_with_bytes_behind_it_is_refused() {
    let mut block = valid_block();
    block.push(0);
    assert!(Chain::new().verdict(&block).unwrap_err().contains("follow it"));
}

#[test]
fn a_huge_block_is_refused_before_it_is_decoded() {
    let refusal = Chain::new()
        .verdict(&vec![0; crate::block::BLOCK_BYTES_MAX + 1])
        .unwrap_err();
    assert!(refusal.contains("more than the"), "{refusal}");
}

/// Lists in lists, as deep as a block is long: a decoder that recurses would overflow its stack.
#[test]
fn a_deeply_nested_block_is_refused() {
    assert!(Chain::new().verdict(&vec![0xc1; 1 << 20]).is_err());
    assert!(Chain::new().verdict(&vec![0xfa; 1 << 20]).is_err());
}

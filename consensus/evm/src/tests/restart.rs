use std::sync::Arc;

use consensus::execution::Execution;
use protocol::{Amount, Height};

use super::support::*;
use crate::{
    genesis::ChainGenesis,
    ledger::{Ledger, OpenError, ReplayError},
    senders::SenderCache,
    state::{MemKv, Options},
};

fn reopen(kv: &Arc<MemKv>) -> Ledger<Arc<MemKv>> {
    Ledger::open(kv.clone(), Options::default(), &genesis(), SenderCache::default()).unwrap()
}

/// A chain of 12 blocks whose state was flushed at block 7.
fn crashed() -> Chain {
    let mut chain = Chain::new();
    for nonce in 0..12 {
        chain.add_all(&[wallet(5).pay(nonce, wallet(6).address, Amount::open(1))]);
        if nonce == 6 {
            chain.ledger.flush().unwrap();
        }
    }
    chain
}

#[test]
fn blocks_above_the_flushed_state_are_replayed_to_the_same_tip() {
    let chain = crashed();
    assert_eq!((chain.ledger.flushed(), chain.ledger.unflushed()), (Some(Height(7)), 5));
    let mut ledger = reopen(&chain.kv);
    assert_eq!(ledger.tip().height, Height(7));
    for block in &chain.log.blocks()[7..] {
        ledger.replay(block).unwrap();
    }
    assert_eq!(ledger.tip(), chain.ledger.tip());
    assert_eq!(ledger.epoch().unwrap(), chain.ledger.epoch().unwrap());
}

#[test]
fn an_empty_database_is_rebuilt_from_the_log() {
    let chain = crashed();
    let mut ledger = reopen(&Arc::default());
    let mut last = None;
    for block in chain.log.blocks() {
        last = Some(ledger.replay(&block).unwrap());
    }
    assert_eq!(last.unwrap().tip, chain.ledger.tip());
}

#[test]
fn a_flushed_ledger_reopens_at_the_same_tip() {
    let mut chain = crashed();
    chain.ledger.flush().unwrap();
    let mut ledger = reopen(&chain.kv);
    assert_eq!(ledger.tip(), chain.ledger.tip());
    assert_eq!(ledger.epoch().unwrap(), chain.ledger.epoch().unwrap());
    let pay = [wallet(5).pay(12, wallet(6).address, Amount(1))];
    let (slot, other) = (slot_above(&ledger), slot_above(&chain.ledger));
    let built = ledger.build(&slot, &pay).unwrap();
    assert_eq!(
        built.block,
        chain.ledger.build(&other, &pay).unwrap().block,
        "and goes on as if nothing had been"
    );
}

#[test]
fn the_data_of_another_chain_is_not_opened() {
    let chain = crashed();
    let mut file = genesis_file(&params());
    file.timestamp += 1;
    let other = ChainGenesis::new(file).unwrap();
    let error = Ledger::open(chain.kv.clone(), Options::default(), &other, SenderCache::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::OtherChain { wanted, .. } if wanted == other.hash),
        "{error}"
    );
}

#[test]
fn a_gap_in_the_log_is_detected() {
    let chain = crashed();
    let mut ledger = reopen(&chain.kv);
    let error = ledger.replay(&chain.log.blocks()[8]).unwrap_err();
    assert!(matches!(error, ReplayError::Refused { tip: Height(7), .. }), "{error}");
    assert_eq!(ledger.tip().height, Height(7));
}

#[test]
fn a_damaged_block_in_the_log_is_detected() {
    let chain = crashed();
    let mut ledger = reopen(&chain.kv);
    let mut block = chain.log.blocks()[7].clone();
    let middle = block.len() / 2;
    block[middle] ^= 1;
    assert!(matches!(ledger.replay(&block), Err(ReplayError::Refused { .. })));
    ledger.replay(&chain.log.blocks()[7]).unwrap();
}

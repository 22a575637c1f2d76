//! BlockchainTests: blocks on a genesis, the accounts they must leave behind, and which of them must be refused.
//!
//! Proof of work is not checked. Of competing branches the one with more difficulty is the chain's, as before the merge.

use std::collections::BTreeMap;

use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable;
use serde::Deserialize;

use super::{Outcome, Report, forks, plain::PlainState};
use crate::{
    alloc,
    chain::ChainSpec,
    collision::bare_storage,
    history::{Ancestors, WithAncestors},
    import,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    network: String,
    pre: BTreeMap<Address, GenesisAccount>,
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Bytes,
    blocks: Vec<TestBlock>,
    lastblockhash: B256,
    post_state: Option<BTreeMap<Address, GenesisAccount>>,
    post_state_hash: Option<B256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestBlock {
    rlp: Bytes,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

impl TestBlock {
    /// What the block is refused for, if it should be; its key names the fork or is plain, depending on the file's age.
    fn exception(&self) -> Option<String> {
        self.rest.iter().find(|(key, _)| key.starts_with("expectException")).map(|(_, value)| value.to_string())
    }
}

/// A block that was imported, with the state it left.
struct Node {
    header: Header,
    state: PlainState,
    ancestors: Ancestors,
    total_difficulty: U256,
}

/// Runs every test of one file. `origin` names it in the report.
pub fn run_file(origin: &str, json: &[u8]) -> Report {
    let mut report = Report::default();
    let tests: BTreeMap<String, Test> = match serde_json::from_slice(json) {
        Ok(tests) => tests,
        Err(error) => {
            report.record(origin.to_owned(), Outcome::Failed(format!("not a blockchain test: {error}")));
            return report;
        }
    };
    for (name, test) in &tests {
        let outcome = match forks::spec(&test.network) {
            Ok(spec) => check(test, &ChainSpec { bare_storage: bare_storage(&test.pre), ..spec }).into(),
            Err(why) => Outcome::Skipped(why),
        };
        report.record(format!("{origin}::{name}"), outcome);
    }
    report
}

fn check(test: &Test, spec: &ChainSpec) -> Result<(), String> {
    let (mut chain, mut head) = genesis(test)?;
    for (index, block) in test.blocks.iter().enumerate() {
        match (import_block(spec, &chain, &block.rlp), block.exception()) {
            (Ok((hash, node)), None) => {
                let best = chain.get(&head).map(|node| node.total_difficulty).unwrap_or_default();
                if node.total_difficulty > best || node.header.difficulty.is_zero() {
                    head = hash;
                }
                chain.insert(hash, node);
            }
            (Err(_), Some(_)) => (),
            (Ok(_), Some(exception)) => return Err(format!("block {index} was accepted, where {exception} was expected")),
            (Err(why), None) => return Err(format!("block {index}: {why}")),
        }
    }
    if head != test.lastblockhash {
        return Err(format!("last block is {head}, expected {}", test.lastblockhash));
    }
    let root = chain.get(&head).map(|node| node.state.root()).unwrap_or_default();
    let expected = match (&test.post_state, test.post_state_hash) {
        (Some(accounts), _) => PlainState::default().apply(&alloc::creation(accounts)).root(),
        (None, Some(hash)) => hash,
        (None, None) => return Ok(()),
    };
    if root != expected {
        return Err(format!("state root is {root}, expected {expected}"));
    }
    Ok(())
}

fn genesis(test: &Test) -> Result<(BTreeMap<B256, Node>, B256), String> {
    let block = Block::<TxEnvelope>::decode(&mut test.genesis_rlp.as_ref())
        .map_err(|error| format!("genesis does not decode: {error}"))?;
    let state = PlainState::default().apply(&alloc::creation(&test.pre));
    if state.root() != block.header.state_root {
        return Err(format!("genesis root is {}, expected {}", state.root(), block.header.state_root));
    }
    let hash = block.header.hash_slow();
    let mut ancestors = Ancestors::default();
    ancestors.push(block.header.number, hash);
    let total_difficulty = block.header.difficulty;
    Ok((BTreeMap::from([(hash, Node { header: block.header, state, ancestors, total_difficulty })]), hash))
}

fn import_block(spec: &ChainSpec, chain: &BTreeMap<B256, Node>, mut rlp: &[u8]) -> Result<(B256, Node), String> {
    let block = Block::<TxEnvelope>::decode(&mut rlp).map_err(|error| format!("does not decode: {error}"))?;
    let parent = chain.get(&block.header.parent_hash).ok_or("its parent is unknown")?;
    let before = WithAncestors { state: &parent.state, ancestors: &parent.ancestors };
    let mut root_of = |changes: &revm::database::BundleState| Ok(parent.state.apply(changes).root());
    let executed = import::run(spec, before, &parent.header, &block, &mut root_of).map_err(|error| error.to_string())?;
    let state = parent.state.apply(&executed.changes);
    if state.root() != block.header.state_root {
        return Err(format!("state root is {}, its header says {}", state.root(), block.header.state_root));
    }
    let hash = block.header.hash_slow();
    let mut ancestors = parent.ancestors.clone();
    ancestors.push(block.header.number, hash);
    let total_difficulty = parent.total_difficulty + block.header.difficulty;
    Ok((hash, Node { header: block.header, state, ancestors, total_difficulty }))
}

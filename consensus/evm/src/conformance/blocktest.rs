//! BlockchainTests: blocks on a genesis, the accounts that they must leave, and which of them must be refused.
//!
//! Proof of work is not checked. Of competing branches the one with more total difficulty wins, as before the
//! merge.

use std::collections::BTreeMap;

use alloy_consensus::{Block, TxEnvelope};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::Decodable;
use serde::Deserialize;

use super::{
    Outcome, Report,
    branches::{Branches, state_of},
    forks,
};
use crate::{chain::ChainSpec, collision::bare_storage};

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
    /// The exception for which the block must be refused, if any. Depending on the age of the file the key contains
    /// the fork.
    fn exception(&self) -> Option<String> {
        self.rest
            .iter()
            .find(|(key, _)| key.starts_with("expectException"))
            .map(|(_, value)| value.to_string())
    }
}

/// Runs every test of one file. `origin` names the file in the report.
pub fn run_file(origin: &str, json: &[u8]) -> Report {
    let mut report = Report::default();
    let tests: BTreeMap<String, Test> = match serde_json::from_slice(json) {
        Ok(tests) => tests,
        Err(error) => {
            report.record(
                origin.to_owned(),
                Outcome::Failed(format!("not a blockchain test: {error}")),
            );
            return report;
        }
    };
    for (name, test) in &tests {
        let outcome = match forks::spec(&test.network) {
            Ok(spec) => check(
                test,
                &ChainSpec {
                    bare_storage: bare_storage(&test.pre),
                    ..spec
                },
            )
            .into(),
            Err(why) => Outcome::Skipped(why),
        };
        report.record(format!("{origin}::{name}"), outcome);
    }
    report
}

fn check(test: &Test, spec: &ChainSpec) -> Result<(), String> {
    let genesis = Block::<TxEnvelope>::decode(&mut test.genesis_rlp.as_ref())
        .map_err(|error| format!("genesis does not decode: {error}"))?;
    let mut chain = Branches::new(genesis.header, &test.pre)?;
    for (index, block) in test.blocks.iter().enumerate() {
        match (chain.import(spec, &mut block.rlp.as_ref()), block.exception()) {
            (Ok(_), None) | (Err(_), Some(_)) => (),
            (Ok(_), Some(wanted)) => return Err(format!("block {index} was accepted, where {wanted} was expected")),
            (Err(why), None) => return Err(format!("block {index}: {why}")),
        }
    }
    if chain.head() != test.lastblockhash {
        return Err(format!(
            "last block is {}, expected {}",
            chain.head(),
            test.lastblockhash
        ));
    }
    let expected = match (&test.post_state, test.post_state_hash) {
        (Some(accounts), _) => state_of(accounts)?.root(),
        (None, Some(hash)) => hash,
        (None, None) => return Ok(()),
    };
    if chain.head_root() != expected {
        return Err(format!("state root is {}, expected {expected}", chain.head_root()));
    }
    Ok(())
}

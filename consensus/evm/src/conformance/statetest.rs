//! GeneralStateTests: one transaction on a given state, and the state root and logs that it must leave.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Header, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::Decodable2718;
use alloy_evm::FromRecoveredTx;
use alloy_genesis::GenesisAccount;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use revm::context::TxEnv;
use serde::Deserialize;

use super::{Outcome, Report, branches::state_of, forks};
use crate::{call::transact, chain::ChainSpec, collision::bare_storage, state::WorldState};

#[derive(Deserialize)]
struct Test {
    env: Env,
    pre: BTreeMap<Address, GenesisAccount>,
    post: BTreeMap<String, Vec<Expected>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    current_coinbase: Address,
    #[serde(default)]
    current_difficulty: U256,
    current_gas_limit: U256,
    current_number: U256,
    current_timestamp: U256,
    current_random: Option<B256>,
    current_base_fee: Option<U256>,
    current_excess_blob_gas: Option<U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    hash: B256,
    logs: B256,
    indexes: Indexes,
    txbytes: Option<Bytes>,
    expect_exception: Option<String>,
}

#[derive(Deserialize)]
struct Indexes {
    data: usize,
    gas: usize,
    value: usize,
}

/// Runs every case of one file. `origin` names the file in the report.
pub fn run_file(origin: &str, json: &[u8]) -> Report {
    let mut report = Report::default();
    let tests: BTreeMap<String, Test> = match serde_json::from_slice(json) {
        Ok(tests) => tests,
        Err(error) => {
            report.record(origin.to_owned(), Outcome::Failed(format!("not a state test: {error}")));
            return report;
        }
    };
    for (name, test) in &tests {
        for (fork, cases) in &test.post {
            for case in cases {
                let Indexes { data, gas, value } = case.indexes;
                let name = format!("{origin}::{name}/{fork}/d{data}g{gas}v{value}");
                report.record(name, run_case(test, fork, case));
            }
        }
    }
    report
}

fn run_case(test: &Test, fork: &str, case: &Expected) -> Outcome {
    let mut spec = match forks::spec(fork) {
        Ok(spec) => spec,
        Err(why) => return Outcome::Skipped(why),
    };
    spec.bare_storage = bare_storage(&test.pre);
    let Some(bytes) = &case.txbytes else {
        return Outcome::Skipped("the file predates `txbytes`, so there is no transaction to decode".into());
    };
    check(test, &spec, case, bytes).into()
}

fn check(test: &Test, spec: &ChainSpec, case: &Expected, bytes: &[u8]) -> Result<(), String> {
    let header = test.env.header(spec);
    let before = state_of(&test.pre)?;
    let (after, logs) = match run_transaction(spec, &header, &before, bytes) {
        Ok(_) if case.expect_exception.is_some() => {
            return Err(format!(
                "accepted, where {} was expected",
                case.expect_exception.as_deref().unwrap_or("?")
            ));
        }
        Ok(outcome) => outcome,
        // A refused transaction leaves the state as it was.
        Err(_) if case.expect_exception.is_some() => (before, Vec::new()),
        Err(why) => return Err(why),
    };
    let root = after.root();
    if root != case.hash {
        return Err(format!("state root is {root}, expected {}", case.hash));
    }
    let logs_hash = keccak256(alloy_rlp::encode(&logs));
    if logs_hash != case.logs {
        return Err(format!("hash of the logs is {logs_hash}, expected {}", case.logs));
    }
    Ok(())
}

fn run_transaction(
    spec: &ChainSpec,
    header: &Header,
    before: &WorldState,
    mut bytes: &[u8],
) -> Result<(WorldState, Vec<Log>), String> {
    let transaction =
        TxEnvelope::decode_2718(&mut bytes).map_err(|error| format!("transaction does not decode: {error}"))?;
    let sender = if spec.is_homestead_active_at_block(header.number) {
        transaction.recover_signer()
    } else {
        transaction.recover_signer_unchecked()
    }
    .map_err(|error| format!("no sender: {error}"))?;
    let env = TxEnv::from_recovered_tx(&transaction, sender);
    let (result, changes) = transact(
        spec,
        spec.evm_env(header),
        before.db(made_up_hashes(header.number)),
        env,
    )
    .map_err(|error| error.to_string())?;
    Ok((
        before.apply(&changes).map_err(|error| error.to_string())?,
        result.into_logs(),
    ))
}

/// These tests have no chain. By convention the hash of a block is the hash of its number as text.
fn made_up_hashes(number: u64) -> Arc<BTreeMap<u64, B256>> {
    let ancestors = number.saturating_sub(256)..number;
    Arc::new(
        ancestors
            .map(|number| (number, keccak256(number.to_string())))
            .collect(),
    )
}

impl Env {
    fn header(&self, spec: &ChainSpec) -> Header {
        let number = self.current_number.saturating_to();
        let merged = spec.is_paris_active_at_block(number);
        Header {
            number,
            beneficiary: self.current_coinbase,
            timestamp: self.current_timestamp.saturating_to(),
            gas_limit: self.current_gas_limit.saturating_to(),
            difficulty: if merged { U256::ZERO } else { self.current_difficulty },
            mix_hash: self
                .current_random
                .unwrap_or_else(|| B256::from(self.current_difficulty)),
            base_fee_per_gas: self.current_base_fee.map(|fee| fee.saturating_to()),
            excess_blob_gas: Some(self.current_excess_blob_gas.map_or(0, |gas| gas.saturating_to())),
            ..Default::default()
        }
    }
}

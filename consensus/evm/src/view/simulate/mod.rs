//! Simulates blocks on a state and drops them (`eth_simulateV1`).
//!
//! Each block gives its calls, the accounts to override before it, and header fields; the rest follows from the
//! block below. The result are complete blocks with their roots, as if they had been built. Without `validation`
//! nonces and prices are not checked, and the base fee is zero unless it is set.

mod block;
mod order;
mod transaction;
mod transfers;

use alloy_consensus::{Header, TxEnvelope, transaction::Recovered};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{B256, Bytes, Log};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};
use serde::Deserialize;

use super::{At, BlockOverrides, CallError, GAS_CAP, OverrideError, View, ViewError, sandbox::sandbox};
use crate::state::Kv;

/// Most blocks of one simulation, including those that fill gaps.
pub const BLOCKS_MAX: u64 = 256;
/// Most calls of one block. More are refused with the method's limit error.
pub const BLOCK_CALLS_MAX: usize = 5_000;
/// Most calls of all blocks together. More are refused with the method's limit error.
pub const CALLS_MAX: usize = 10_000;

/// The request of `eth_simulateV1`, in its JSON form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Simulation {
    /// The blocks, lowest first.
    pub block_state_calls: Vec<BlockStateCalls>,
    /// If true, transfers of OPEN are reported as logs of a token.
    pub trace_transfers: bool,
    /// If true, transactions must be valid.
    pub validation: bool,
    /// If true, blocks contain their transactions in full.
    pub return_full_transactions: bool,
}

/// A block of the request: overrides, then calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStateCalls {
    pub block_overrides: Option<BlockOverrides>,
    /// Overrides of accounts, applied before the block.
    pub state_overrides: Option<StateOverride>,
    pub calls: Vec<TransactionRequest>,
}

/// A simulated block with everything that its JSON form needs.
#[derive(Clone, Debug)]
pub struct SimulatedBlock {
    pub header: Header,
    pub hash: B256,
    /// The transactions with their senders. They are unsigned: all signatures are zero.
    pub transactions: Vec<Recovered<TxEnvelope>>,
    /// Withdrawals, on chains that have them.
    pub withdrawals: Option<Withdrawals>,
    /// Bytes of the block's encoding.
    pub size: usize,
    pub calls: Vec<SimulatedCall>,
}

/// The result of a simulated call, successful or not.
#[derive(Clone, Debug)]
pub struct SimulatedCall {
    pub output: Bytes,
    /// The logs, each with its index in the block.
    pub logs: Vec<(u64, Log)>,
    pub gas_used: u64,
    /// Gas that was needed before refunds.
    pub gas_needed: u64,
    pub failure: Option<CallFailure>,
}

/// The failure of a simulated call. The call is part of its block all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    Reverted {
        output: Bytes,
        /// The message in `output`, if it has one.
        reason: Option<String>,
    },
    /// The call stopped for this reason.
    Halted(String),
}

/// Reason that nothing is simulated. A call that reverts is a [`CallFailure`] instead.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("empty input")]
    Empty,
    /// A limit of this method, named in the text.
    #[error("{0}")]
    Limit(String),
    #[error("block numbers must be in order: {found} <= {before}")]
    Number { found: u128, before: u64 },
    #[error("block timestamps must be in order: {found} <= {before}")]
    Time {
        /// In seconds.
        found: u64,
        /// In seconds.
        before: u64,
    },
    #[error("block gas limit reached: remaining: {left}, required: {wanted}")]
    BlockGas { left: u64, wanted: u64 },
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A call that is inconsistent, with or without validation.
    #[error("{0}")]
    Request(String),
    #[error("{why}")]
    Invalid {
        /// The error code that this method defines for the reason.
        code: i32,
        why: String,
    },
    /// The state of this node cannot be read.
    #[error("{0}")]
    State(String),
}

impl From<CallError> for SimulateError {
    fn from(why: CallError) -> Self {
        match why {
            CallError::View(why) => Self::View(why),
            CallError::Invalid(why) => Self::Request(why),
            CallError::State(why) => Self::State(why),
        }
    }
}

/// Gas left for all blocks of a simulation, so that one request cannot keep a node busy.
struct GasBudget(u64);

impl<K: Kv> View<K> {
    /// Simulates blocks on the state after a block and drops them. Either all blocks are simulated or none.
    pub fn simulate(&self, simulation: Simulation, at: At) -> Result<Vec<SimulatedBlock>, SimulateError> {
        check_limits(&simulation.block_state_calls)?;
        let (base, db) = self.database(at)?;
        let world = db.state.clone();
        let ordered = order::fill_gaps(&simulation.block_state_calls, &base)?;
        let mut sandbox = sandbox(&self.spec, db);
        let rules = block::SimulationRules {
            spec: &self.spec,
            world: &world,
            validation: simulation.validation,
            transfers: simulation.trace_transfers,
        };
        let (mut parent, mut budget, mut blocks) = (Header::clone(&base), GasBudget(GAS_CAP), Vec::new());
        for block in ordered {
            let done = block::run(&rules, &mut sandbox, &parent, block, &mut budget)?;
            sandbox.block_hashes.insert(done.header.number, done.hash);
            parent = done.header.clone();
            blocks.push(done);
        }
        Ok(blocks)
    }
}

fn check_limits(blocks: &[BlockStateCalls]) -> Result<(), SimulateError> {
    if blocks.is_empty() {
        return Err(SimulateError::Empty);
    }
    if blocks.len() as u64 > BLOCKS_MAX {
        return Err(SimulateError::Limit(format!(
            "too many blocks: {} > {BLOCKS_MAX}",
            blocks.len()
        )));
    }
    if let Some(block) = blocks.iter().find(|block| block.calls.len() > BLOCK_CALLS_MAX) {
        let calls = block.calls.len();
        return Err(SimulateError::Limit(format!(
            "too many calls in block: {calls} > {BLOCK_CALLS_MAX}"
        )));
    }
    let calls: usize = blocks.iter().map(|block| block.calls.len()).sum();
    if calls > CALLS_MAX {
        return Err(SimulateError::Limit(format!("too many calls: {calls} > {CALLS_MAX}")));
    }
    Ok(())
}

//! A chain of blocks as a caller imagines it, executed on a state and forgotten (`eth_simulateV1`).
//!
//! Every block says what its transactions are, which accounts are different from what they are, and which fields its
//! header has; the rest follows from the block below. What comes out are whole blocks with their roots, as if they had
//! been built. Without `validation` nonces and prices are not looked at and the base fee is zero unless it is set.

mod block;
mod order;
mod transaction;
mod transfers;

use alloy_consensus::{Header, TxEnvelope, transaction::Recovered};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{B256, Bytes, Log};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};
use serde::Deserialize;

use super::{At, BlockOverrides, CallError, GAS_CAP, OverrideError, View, ViewError, stage::stage};
use crate::state::Kv;

/// Blocks of one simulation, those that fill gaps included.
pub const BLOCKS_MAX: u64 = 256;
/// Calls of one block.
pub const BLOCK_CALLS_MAX: usize = 5_000;
/// Calls of one simulation.
pub const CALLS_MAX: usize = 10_000;

/// What is simulated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Simulation {
    /// The blocks, lowest first.
    pub block_state_calls: Vec<ImaginedBlock>,
    /// Whether transfers of coin are told as if they were logs of a token.
    pub trace_transfers: bool,
    /// Whether transactions have to be valid.
    pub validation: bool,
    /// Whether blocks come with their transactions in full.
    pub return_full_transactions: bool,
}

/// A block of a simulation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImaginedBlock {
    /// What its header says.
    pub block_overrides: Option<BlockOverrides>,
    /// Which accounts are different before it.
    pub state_overrides: Option<StateOverride>,
    /// Its transactions.
    pub calls: Vec<TransactionRequest>,
}

/// A block that was simulated.
#[derive(Clone, Debug)]
pub struct SimulatedBlock {
    /// Its header.
    pub header: Header,
    /// Its name.
    pub hash: B256,
    /// Its transactions with their senders. Nobody signed them: their signatures are zero.
    pub transactions: Vec<Recovered<TxEnvelope>>,
    /// Its withdrawals, on chains that have them.
    pub withdrawals: Option<Withdrawals>,
    /// Bytes of its encoding.
    pub size: usize,
    /// What its transactions did.
    pub calls: Vec<SimulatedCall>,
}

/// What a simulated transaction did.
#[derive(Clone, Debug)]
pub struct SimulatedCall {
    /// What it returned.
    pub output: Bytes,
    /// What it logged, each with its place among the logs of the block.
    pub logs: Vec<(u64, Log)>,
    /// Gas it used.
    pub gas_used: u64,
    /// Gas it needed before refunds.
    pub gas_needed: u64,
    /// How it failed, if it did.
    pub failure: Option<CallFailure>,
}

/// How a simulated transaction failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// It reverted.
    Reverted {
        /// With this.
        output: Bytes,
        /// What that says, if it says anything.
        reason: Option<String>,
    },
    /// It stopped for another reason.
    Halted(String),
}

/// Why nothing is simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The state below is not there.
    #[error(transparent)]
    View(#[from] ViewError),
    /// There is no block.
    #[error("empty input")]
    Empty,
    /// A limit that is named.
    #[error("{0}")]
    Limit(String),
    /// A block is not above the one before it.
    #[error("block numbers must be in order: {found} <= {before}")]
    Number {
        /// Its height.
        found: u128,
        /// The height of the one before.
        before: u64,
    },
    /// A block is not later than the one before it.
    #[error("block timestamps must be in order: {found} <= {before}")]
    Time {
        /// Its time, in seconds.
        found: u64,
        /// The time of the one before.
        before: u64,
    },
    /// Its transactions take more gas than a block has.
    #[error("block gas limit reached: remaining: {left}, required: {wanted}")]
    BlockGas {
        /// What is left.
        left: u64,
        /// What the transaction asks for.
        wanted: u64,
    },
    /// Overrides make no sense.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A transaction makes no sense, with or without validation.
    #[error("{0}")]
    Request(String),
    /// A transaction is not valid.
    #[error("{why}")]
    Invalid {
        /// The number that this method has for it.
        code: i32,
        /// Why.
        why: String,
    },
    /// This node's state cannot be read.
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

/// Gas that all blocks of a simulation share, so that nobody keeps a node busy with one request.
struct Budget(u64);

impl<K: Kv> View<K> {
    /// Simulates blocks on the state after a block.
    pub fn simulate(&self, simulation: Simulation, at: At) -> Result<Vec<SimulatedBlock>, SimulateError> {
        check_limits(&simulation.block_state_calls)?;
        let (base, db) = self.database(at)?;
        let world = db.state.clone();
        let ordered = order::complete(&simulation.block_state_calls, &base)?;
        let mut stage = stage(&self.spec, db);
        let rules = block::Rules {
            spec: &self.spec,
            world: &world,
            validation: simulation.validation,
            transfers: simulation.trace_transfers,
        };
        let (mut parent, mut budget, mut blocks) = (Header::clone(&base), Budget(GAS_CAP), Vec::new());
        for imagined in ordered {
            let done = block::run(&rules, &mut stage, &parent, imagined, &mut budget)?;
            stage.block_hashes.insert(done.header.number, done.hash);
            parent = done.header.clone();
            blocks.push(done);
        }
        Ok(blocks)
    }
}

fn check_limits(blocks: &[ImaginedBlock]) -> Result<(), SimulateError> {
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

//! `eth_simulateV1`: simulated blocks.

use alloy_consensus::{Sealable, TxEnvelope};
use alloy_eips::BlockId;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{
    Block, BlockTransactions, Header, Log,
    simulate::{SimCallResult, SimulateError as CallError, SimulatedBlock as Shape},
};
use evm::view::simulate::{CallFailure, SimulatedBlock, SimulatedCall, Simulation};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use serde_json::{Value, json};

use crate::rpc::{Rpc, Snapshot, convert, failure::Failure};

/// Code of a reverted call.
const REVERTED_CODE: i32 = 3;
/// Code of a call that stopped for another reason.
const HALTED_CODE: i32 = -32015;

type Simulated = Shape<Block<Value>>;

/// Methods of `eth_` that simulate.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthSimulate {
    /// Simulates blocks of calls.
    #[method(name = "simulateV1")]
    async fn simulate(&self, simulation: Simulation, block: Option<BlockId>) -> Result<Vec<Simulated>, Failure>;
}

#[async_trait]
impl EthSimulateServer for Rpc {
    async fn simulate(&self, simulation: Simulation, block: Option<BlockId>) -> Result<Vec<Simulated>, Failure> {
        let full = simulation.return_full_transactions;
        let run = move |snapshot: &Snapshot| {
            let blocks = snapshot.view.simulate(simulation, snapshot.at(block)?)?;
            Ok(blocks.into_iter().map(|block| shaped(block, full)).collect())
        };
        self.work(run).await
    }
}

fn shaped(block: SimulatedBlock, full: bool) -> Simulated {
    let SimulatedBlock {
        header,
        hash,
        transactions,
        withdrawals,
        size,
        calls,
    } = block;
    let names: Vec<B256> = transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
    let calls = (0_u64..).zip(calls).zip(&names);
    let calls = calls.map(|((index, call), name)| outcome(call, &header, hash, index, *name));
    let calls = calls.collect();
    let transactions = if full {
        let position =
            |(index, transaction)| unsigned(&convert::transaction_in_block(transaction, index, &header, hash));
        BlockTransactions::Full((0_u64..).zip(transactions).map(position).collect())
    } else {
        BlockTransactions::Hashes(names)
    };
    Shape {
        inner: Block {
            header: Header::from_consensus(header.seal_unchecked(hash), None, Some(U256::from(size))),
            uncles: Vec::new(),
            transactions,
            withdrawals,
        },
        calls,
    }
}

/// An unsigned transaction. A legacy one has a `v` of zero, which no signature has, and other clients derive a
/// chain id from it all the same.
fn unsigned(transaction: &alloy_rpc_types_eth::Transaction<TxEnvelope>) -> Value {
    let legacy = transaction.inner.is_legacy();
    let mut object = serde_json::to_value(transaction).expect("a transaction has text keys only");
    if let Some(fields) = object.as_object_mut().filter(|_| legacy) {
        fields.insert("v".into(), json!("0x0"));
        fields.insert("chainId".into(), json!("0x7fffffffffffffee"));
    }
    object
}

fn outcome(
    call: SimulatedCall,
    header: &alloy_consensus::Header,
    block: B256,
    index: u64,
    transaction: B256,
) -> SimCallResult {
    let position = |(log_index, inner): (u64, alloy_primitives::Log)| -> Log {
        let position = convert::LogPosition {
            block,
            height: header.number,
            timestamp_s: header.timestamp,
            transaction,
            transaction_index: index,
            log_index,
        };
        convert::log(inner, position)
    };
    let error = call.failure.map(|failure| match failure {
        CallFailure::Reverted { output, reason } => CallError {
            code: REVERTED_CODE,
            message: Failure::Reverted {
                output: output.clone(),
                reason,
            }
            .to_string(),
            data: Some(output),
        },
        CallFailure::Halted(message) => CallError {
            code: HALTED_CODE,
            message,
            data: None,
        },
    });
    SimCallResult {
        return_data: call.output,
        logs: call.logs.into_iter().map(position).collect(),
        gas_used: call.gas_used,
        max_used_gas: Some(call.gas_needed),
        status: error.is_none(),
        error,
    }
}

//! `debug_`: encoded blocks, receipts and transactions, and traces.

use alloy_eips::{BlockId, BlockNumberOrTag, Encodable2718};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace, TraceResult};
use evm::view::{BlockOverrides, Overrides};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::TxHash;
use serde::Deserialize;

use super::{Rpc, Snapshot, eth::calls, failure::Failure, param::Hex};

/// Options of `debug_traceCall`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CallTracing {
    #[serde(flatten)]
    options: GethDebugTracingOptions,
    state_overrides: Option<StateOverride>,
    block_overrides: Option<BlockOverrides>,
}

/// Methods of `debug_`.
#[rpc(server, namespace = "debug")]
pub(crate) trait Debug {
    /// The RLP of a block.
    #[method(name = "getRawBlock")]
    async fn raw_block(&self, block: BlockId) -> Result<Bytes, Failure>;

    /// The RLP of a header.
    #[method(name = "getRawHeader")]
    async fn raw_header(&self, block: BlockId) -> Result<Bytes, Failure>;

    /// The receipts of a block in EIP-2718 encoding.
    #[method(name = "getRawReceipts")]
    async fn raw_receipts(&self, block: BlockId) -> Result<Vec<Bytes>, Failure>;

    /// A transaction in EIP-2718 encoding; no bytes if there is none.
    #[method(name = "getRawTransaction")]
    async fn raw_transaction(&self, hash: Hex<B256>) -> Result<Bytes, Failure>;

    /// A trace of an included transaction.
    #[method(name = "traceTransaction")]
    async fn trace_transaction(
        &self,
        hash: Hex<B256>,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<GethTrace, Failure>;

    /// Traces of every transaction of a block.
    #[method(name = "traceBlockByNumber")]
    async fn trace_by_number(
        &self,
        number: BlockNumberOrTag,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<Vec<TraceResult>, Failure>;

    /// Traces of every transaction of a block.
    #[method(name = "traceBlockByHash")]
    async fn trace_by_hash(
        &self,
        hash: Hex<B256>,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<Vec<TraceResult>, Failure>;

    /// A trace of a call.
    #[method(name = "traceCall")]
    async fn trace_call(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        tracing: Option<CallTracing>,
    ) -> Result<GethTrace, Failure>;
}

#[async_trait]
impl DebugServer for Rpc {
    async fn raw_block(&self, block: BlockId) -> Result<Bytes, Failure> {
        self.read(move |snapshot| {
            let height = height(snapshot, block)?;
            let bytes = snapshot.view.raw_block(height)?.ok_or_else(|| none(block))?;
            Ok(bytes.into())
        })
        .await
    }

    async fn raw_header(&self, block: BlockId) -> Result<Bytes, Failure> {
        self.read(move |snapshot| {
            let height = height(snapshot, block)?;
            let header = snapshot.view.header(height)?.ok_or_else(|| none(block))?;
            Ok(alloy_rlp::encode(header).into())
        })
        .await
    }

    async fn raw_receipts(&self, block: BlockId) -> Result<Vec<Bytes>, Failure> {
        self.read(move |snapshot| {
            let height = height(snapshot, block)?;
            let receipts = snapshot.view.receipts(height)?.ok_or_else(|| none(block))?;
            Ok(receipts.iter().map(|receipt| receipt.encoded_2718().into()).collect())
        })
        .await
    }

    async fn raw_transaction(&self, Hex(hash): Hex<B256>) -> Result<Bytes, Failure> {
        Ok(self.raw(hash).await?.unwrap_or_default())
    }

    async fn trace_transaction(
        &self,
        Hex(hash): Hex<B256>,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<GethTrace, Failure> {
        let (name, options) = (TxHash(hash.0), options.unwrap_or_default());
        if !self.is_durable(name).await? {
            return Err(Failure::refused("transaction not found"));
        }
        self.work(move |snapshot| Ok(snapshot.view.trace_transaction(name, &options)?))
            .await
    }

    async fn trace_by_number(
        &self,
        number: BlockNumberOrTag,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<Vec<TraceResult>, Failure> {
        self.trace_block(number.into(), options).await
    }

    async fn trace_by_hash(
        &self,
        Hex(hash): Hex<B256>,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<Vec<TraceResult>, Failure> {
        self.trace_block(hash.into(), options).await
    }

    async fn trace_call(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        tracing: Option<CallTracing>,
    ) -> Result<GethTrace, Failure> {
        let CallTracing {
            options,
            state_overrides,
            block_overrides,
        } = tracing.unwrap_or_default();
        let overrides = Overrides {
            state: state_overrides.unwrap_or_default(),
            block: block_overrides.unwrap_or_default(),
        };
        let request = calls::read(request, self.head().view.spec().chain_id)?;
        self.work(move |snapshot| {
            Ok(snapshot
                .view
                .trace_call(&request, snapshot.at(block)?, &overrides, &options)?)
        })
        .await
    }
}

impl Rpc {
    async fn trace_block(
        &self,
        block: BlockId,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<Vec<TraceResult>, Failure> {
        let options = options.unwrap_or_default();
        self.work(move |snapshot| Ok(snapshot.view.trace_block(height(snapshot, block)?, &options)?))
            .await
    }
}

fn height(snapshot: &Snapshot, block: BlockId) -> Result<u64, Failure> {
    snapshot.find(Some(block))?.ok_or_else(|| none(block))
}

fn none(block: BlockId) -> Failure {
    match block {
        BlockId::Hash(hash) => Failure::refused(format!("block {} not found", hash.block_hash)),
        BlockId::Number(number) => Failure::refused(format!("block {number} not found")),
    }
}

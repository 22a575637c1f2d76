//! `testing_`: builds a block on the tip, for test suites that compare clients. Served for imported chains only: a
//! node builds blocks as a validator and not on request.

use alloy_consensus::TxEnvelope;
use alloy_eips::{Decodable2718, Encodable2718, eip4895::Withdrawals};
use alloy_primitives::{Address, B256, Bloom, Bytes, U64, U256};
use evm::view::{BlockAttributes, BuiltBlock, TransactionChoice};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use serde::{Deserialize, Serialize};

use super::{Rpc, Snapshot, backend::SenderFilter, convert, failure::Failure, param::Hex};

/// Most transactions in a request.
const TRANSACTIONS_MAX: usize = 10_000;

/// Attributes of the block to be built.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayloadAttributes {
    timestamp: U64,
    prev_randao: B256,
    suggested_fee_recipient: Address,
    #[serde(default)]
    withdrawals: Option<Withdrawals>,
    #[serde(default)]
    parent_beacon_block_root: Option<B256>,
}

/// The block, in the form of the engine API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payload {
    parent_hash: B256,
    fee_recipient: Address,
    state_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    prev_randao: B256,
    block_number: U64,
    gas_limit: U64,
    gas_used: U64,
    timestamp: U64,
    extra_data: Bytes,
    base_fee_per_gas: U256,
    block_hash: B256,
    transactions: Vec<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Withdrawals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excess_blob_gas: Option<U64>,
}

/// The response: a block and its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    execution_payload: Payload,
    block_value: U256,
    blobs_bundle: BlobsBundle,
    execution_requests: Vec<Bytes>,
    should_override_builder: bool,
}

/// The blobs of the block. Always empty, because blob transactions are not included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BlobsBundle {
    commitments: Vec<Bytes>,
    proofs: Vec<Bytes>,
    blobs: Vec<Bytes>,
}

/// Methods of `testing_`.
#[rpc(server, namespace = "testing")]
pub(crate) trait Testing {
    /// A block on the tip with exactly these transactions, or with those of the mempool if none are given.
    #[method(name = "buildBlockV1")]
    async fn build(
        &self,
        parent: Hex<B256>,
        attributes: PayloadAttributes,
        transactions: Option<Vec<Bytes>>,
        extra: Option<Bytes>,
    ) -> Result<Envelope, Failure>;
}

#[async_trait]
impl TestingServer for Rpc {
    async fn build(
        &self,
        Hex(parent): Hex<B256>,
        attributes: PayloadAttributes,
        transactions: Option<Vec<Bytes>>,
        extra: Option<Bytes>,
    ) -> Result<Envelope, Failure> {
        let waiting = match &transactions {
            Some(_) => Vec::new(),
            None => self.backend.pooled_of(SenderFilter::Any).await?,
        };
        let attributes = BlockAttributes {
            timestamp_s: attributes.timestamp.to(),
            prev_randao: attributes.prev_randao,
            fee_recipient: attributes.suggested_fee_recipient,
            withdrawals: attributes.withdrawals,
            beacon_root: attributes.parent_beacon_block_root,
            extra: extra.unwrap_or_default(),
        };
        let build = move |snapshot: &Snapshot| {
            if snapshot.view.tip().hash.0 != parent.0 {
                return Err(Failure::refused("parentHash is not current head"));
            }
            let wanted = match transactions {
                Some(raw) => TransactionChoice::Exactly(read(snapshot, &raw)?),
                None => {
                    let ready = waiting.iter().filter(|(_, ready)| *ready);
                    let ready = ready.map(|(pooled, _)| convert::pending_transaction(pooled).inner);
                    TransactionChoice::Fitting(ready.filter(|transaction| !transaction.is_eip4844()).collect())
                }
            };
            Ok(envelope(snapshot.view.build(attributes, wanted)?))
        };
        self.work(build).await
    }
}

fn read(
    snapshot: &Snapshot,
    raw: &[Bytes],
) -> Result<Vec<alloy_consensus::transaction::Recovered<TxEnvelope>>, Failure> {
    if raw.len() > TRANSACTIONS_MAX {
        return Err(Failure::params(format!(
            "too many transactions: {}, the limit is {TRANSACTIONS_MAX}",
            raw.len()
        )));
    }
    let decode = |(index, bytes): (usize, &Bytes)| {
        let transaction = TxEnvelope::decode_2718_exact(bytes)
            .map_err(|why| Failure::params(format!("invalid transaction {index}: {why}")))?;
        let recovered = snapshot.view.recover(transaction);
        recovered.ok_or_else(|| Failure::params(format!("invalid transaction {index}: its signature is invalid")))
    };
    raw.iter().enumerate().map(decode).collect()
}

fn envelope(built: BuiltBlock) -> Envelope {
    let (header, body) = (built.block.header, built.block.body);
    Envelope {
        execution_payload: Payload {
            parent_hash: header.parent_hash,
            fee_recipient: header.beneficiary,
            state_root: header.state_root,
            receipts_root: header.receipts_root,
            logs_bloom: header.logs_bloom,
            prev_randao: header.mix_hash,
            block_number: U64::from(header.number),
            gas_limit: U64::from(header.gas_limit),
            gas_used: U64::from(header.gas_used),
            timestamp: U64::from(header.timestamp),
            extra_data: header.extra_data,
            base_fee_per_gas: U256::from(header.base_fee_per_gas.unwrap_or(0)),
            block_hash: built.hash,
            transactions: body
                .transactions
                .iter()
                .map(|transaction| transaction.encoded_2718().into())
                .collect(),
            withdrawals: body.withdrawals,
            blob_gas_used: header.blob_gas_used.map(U64::from),
            excess_blob_gas: header.excess_blob_gas.map(U64::from),
        },
        block_value: built.value,
        blobs_bundle: BlobsBundle::default(),
        execution_requests: built.requests.iter().cloned().collect(),
        should_override_builder: false,
    }
}

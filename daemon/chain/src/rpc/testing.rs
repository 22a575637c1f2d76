//! `testing_`: a block as it would be built on the tip, for suites that compare clients. Only where a chain is served
//! alone; a node that votes builds blocks for its turn and for nobody else.

use alloy_consensus::TxEnvelope;
use alloy_eips::{Decodable2718, Encodable2718, eip4895::Withdrawals};
use alloy_primitives::{Address, B256, Bloom, Bytes, U64, U256};
use evm::view::{Attributes, BuiltBlock, Wanted};
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use serde::{Deserialize, Serialize};

use super::{Rpc, Shown, failure::Failure, ground::Whose, param::Hex, shape};

/// Transactions that may be given.
const TRANSACTIONS_MAX: usize = 10_000;

/// What the block is to be like.
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

/// The block, as the engine API writes it.
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

/// The block and what goes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    execution_payload: Payload,
    block_value: U256,
    blobs_bundle: BlobsBundle,
    execution_requests: Vec<Bytes>,
    should_override_builder: bool,
}

/// The blobs of a block: none, since transactions that carry some are left waiting.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BlobsBundle {
    commitments: Vec<Bytes>,
    proofs: Vec<Bytes>,
    blobs: Vec<Bytes>,
}

/// Methods under `testing_`.
#[rpc(server, namespace = "testing")]
pub(crate) trait Testing {
    /// A block on the tip: of exactly these transactions, or of what waits if none are named.
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
            None => self.ground.waiting(Whose::Everyones).await?,
        };
        let attributes = Attributes {
            timestamp_s: attributes.timestamp.to(),
            prev_randao: attributes.prev_randao,
            fee_recipient: attributes.suggested_fee_recipient,
            withdrawals: attributes.withdrawals,
            beacon_root: attributes.parent_beacon_block_root,
            extra: extra.unwrap_or_default(),
        };
        let build = move |shown: &Shown| {
            if shown.view.tip().hash.0 != parent.0 {
                return Err(Failure::refused("parentHash is not current head"));
            }
            let wanted = match transactions {
                Some(raw) => Wanted::All(read(shown, &raw)?),
                None => {
                    let ready = waiting.iter().filter(|(_, ready)| *ready);
                    let ready = ready.map(|(pooled, _)| shape::waiting(pooled).inner);
                    Wanted::Fitting(ready.filter(|one| !one.is_eip4844()).collect())
                }
            };
            Ok(envelope(shown.view.build(attributes, wanted)?))
        };
        self.work(build).await
    }
}

fn read(shown: &Shown, raw: &[Bytes]) -> Result<Vec<alloy_consensus::transaction::Recovered<TxEnvelope>>, Failure> {
    if raw.len() > TRANSACTIONS_MAX {
        return Err(Failure::params(format!(
            "too many transactions: {}, the limit is {TRANSACTIONS_MAX}",
            raw.len()
        )));
    }
    let decode = |(index, bytes): (usize, &Bytes)| {
        let transaction = TxEnvelope::decode_2718_exact(bytes)
            .map_err(|why| Failure::params(format!("invalid transaction {index}: {why}")))?;
        let recovered = shown.view.recover(transaction);
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
            transactions: body.transactions.iter().map(|one| one.encoded_2718().into()).collect(),
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

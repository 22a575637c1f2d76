//! Builds a block on the tip without keeping it, for `testing_buildBlockV1`.

use alloy_consensus::{
    BlockBody, BlockHeader, EMPTY_OMMER_ROOT_HASH, Header, Transaction, TxEnvelope, proofs, transaction::Recovered,
};
use alloy_eips::{eip4895::Withdrawals, eip7685::Requests};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B256, Bytes, U256};

use super::{At, View, ViewError};
use crate::{
    block::ChainBlock,
    execute::{BlockParts, ExecuteError, Executed, execute},
    fill::fill,
    seal,
    state::Kv,
};

/// The gas limit that blocks move towards, by less than 1/1024 of their parent's, as other clients do.
const GAS_LIMIT_TARGET: u64 = 60_000_000;
/// Most extra data in a header, in bytes.
const EXTRA_MAX: usize = 32;

/// Header fields and withdrawals of a block to be built.
#[derive(Clone, Debug, Default)]
pub struct BlockAttributes {
    pub timestamp_s: u64,
    /// The value of `PREVRANDAO`.
    pub prev_randao: B256,
    pub fee_recipient: Address,
    /// Withdrawals, on chains that have them.
    pub withdrawals: Option<Withdrawals>,
    /// The parent beacon block root, on chains that have it.
    pub beacon_root: Option<B256>,
    /// Extra data of the header.
    pub extra: Bytes,
}

/// A block that was built and not kept. Its header is complete, so the block could be executed elsewhere.
#[derive(Clone, Debug)]
pub struct BuiltBlock {
    pub block: ChainBlock,
    pub hash: B256,
    /// The sum of its tips, in the smallest unit.
    pub value: U256,
    /// The EIP-7685 requests.
    pub requests: Requests,
}

/// Reason that [`View::build`] built no block.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    View(#[from] ViewError),
    /// The attributes contradict the tip or the chain's rules.
    #[error("{0}")]
    Attributes(String),
    /// A transaction that must be included is invalid or does not fit.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The state of this node cannot be read.
    #[error("{0}")]
    State(String),
}

/// The transactions of a block to be built.
#[derive(Clone, Debug)]
pub enum TransactionChoice {
    /// Exactly these, in this order. One that is invalid is an error.
    Exactly(Vec<Recovered<TxEnvelope>>),
    /// Those of these that are valid and fit, in this order.
    Fitting(Vec<Recovered<TxEnvelope>>),
}

impl<K: Kv> View<K> {
    /// Builds a block on the tip and forgets it. The chain does not change.
    pub fn build(&self, attributes: BlockAttributes, choice: TransactionChoice) -> Result<BuiltBlock, BuildError> {
        let (parent, db) = self.database(At::Tip)?;
        let template = self.next_header(&parent, &attributes)?;
        let parts = BlockParts {
            header: &template,
            ommers: &[],
            withdrawals: attributes.withdrawals.as_ref(),
        };
        let world = db.state.clone();
        let (executed, transactions) = match choice {
            TransactionChoice::Exactly(transactions) => {
                let mut root_of = |changes: &_| match world.apply(changes) {
                    Ok(after) => Ok(after.root()),
                    Err(error) => Err(error.to_string()),
                };
                let executed = execute(&self.spec, db, parts, &transactions, &mut root_of)?;
                (executed, transactions)
            }
            TransactionChoice::Fitting(candidates) => {
                let sizes = vec![0; candidates.len()];
                let filled = fill(&self.spec, db, parts, &candidates, &sizes, usize::MAX)?;
                let chosen = filled.included.iter().map(|index| candidates[*index].clone());
                let transactions = chosen.collect();
                (filled.executed, transactions)
            }
        };
        let after = world
            .apply(&executed.changes)
            .map_err(|error| BuildError::State(error.to_string()))?;
        Ok(self.assemble(template, after.root(), executed, transactions, attributes))
    }

    fn next_header(&self, parent: &Header, attributes: &BlockAttributes) -> Result<Header, BuildError> {
        let refuse = |why: String| Err(BuildError::Attributes(why));
        let time = attributes.timestamp_s;
        if time <= parent.timestamp {
            return refuse(format!("invalid timestamp, parent {} given {time}", parent.timestamp));
        }
        if attributes.extra.len() > EXTRA_MAX {
            return refuse(format!(
                "extra data is {} bytes long, the limit is {EXTRA_MAX}",
                attributes.extra.len()
            ));
        }
        let shanghai = self.spec.is_shanghai_active_at_timestamp(time);
        if attributes.withdrawals.is_some() != shanghai {
            return refuse("withdrawals must be there from Shanghai on, and not before".into());
        }
        let cancun = self.spec.is_cancun_active_at_timestamp(time);
        if attributes.beacon_root.is_some() != cancun {
            return refuse("parentBeaconBlockRoot must be there from Cancun on, and not before".into());
        }
        let params = self.spec.blob_params_at(time);
        let step = (parent.gas_limit / 1024).saturating_sub(1);
        let gas_limit = GAS_LIMIT_TARGET.clamp(parent.gas_limit - step, parent.gas_limit + step);
        Ok(Header {
            parent_hash: parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: attributes.fee_recipient,
            number: parent.number + 1,
            gas_limit,
            timestamp: time,
            extra_data: attributes.extra.clone(),
            mix_hash: attributes.prev_randao,
            base_fee_per_gas: self.spec.next_base_fee(parent),
            blob_gas_used: cancun.then_some(0),
            excess_blob_gas: cancun.then(|| parent.maybe_next_block_excess_blob_gas(params).unwrap_or(0)),
            parent_beacon_block_root: attributes.beacon_root,
            ..Header::default()
        })
    }

    fn assemble(
        &self,
        template: Header,
        state_root: B256,
        executed: Executed,
        transactions: Vec<Recovered<TxEnvelope>>,
        attributes: BlockAttributes,
    ) -> BuiltBlock {
        let found = seal::summarise(&executed, &self.spec, template.timestamp);
        let transactions: Vec<TxEnvelope> = transactions.into_iter().map(Recovered::into_inner).collect();
        let header = Header {
            state_root,
            transactions_root: proofs::calculate_transaction_root(&transactions),
            receipts_root: found.receipts_root,
            withdrawals_root: attributes
                .withdrawals
                .as_ref()
                .map(|list| proofs::calculate_withdrawals_root(list)),
            logs_bloom: found.logs_bloom,
            gas_used: found.gas_used,
            blob_gas_used: template.blob_gas_used.map(|_| executed.blob_gas_used),
            requests_hash: found.requests_hash,
            ..template
        };
        let base_fee = header.base_fee_per_gas.unwrap_or(0);
        let mut before = 0;
        let value = transactions
            .iter()
            .zip(&executed.receipts)
            .map(|(transaction, receipt)| {
                let gas = receipt.cumulative_gas_used() - before;
                before = receipt.cumulative_gas_used();
                U256::from(transaction.effective_tip_per_gas(base_fee).unwrap_or(0)) * U256::from(gas)
            });
        let value = value.sum();
        let body = BlockBody {
            transactions,
            ommers: Vec::new(),
            withdrawals: attributes.withdrawals,
        };
        BuiltBlock {
            hash: header.hash_slow(),
            block: ChainBlock::new(header, body),
            value,
            requests: executed.requests,
        }
    }
}

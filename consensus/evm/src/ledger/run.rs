//! Building and verifying a block. Both execute it; a builder chooses the transactions, a verifier must take those
//! it is given.

use std::sync::Arc;

use alloy_consensus::{
    Header, Transaction, TxEnvelope, proofs,
    transaction::{Recovered, TxHashRef},
};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, U256, keccak256};
use consensus::execution::{BlockContext, ExecutionError};
use protocol::{Account, BlockHash, Height, Time, TxHash};
use rayon::prelude::*;
use revm::context::result::InvalidTransaction;

use super::{Ledger, broken, pending::Pending, unreadable};
use crate::{
    block::{self, BLOCK_BYTES_MAX, BLOCK_FRAME_BYTES, Expected},
    execute::{BlockParts, ExecuteError, Executed, execute},
    fill::{Filled, Skipped, fill},
    seal::{self, Mismatch},
    state::{Kv, WorldState},
};

/// Reason that a proposed block is not pending after verification.
#[derive(Debug)]
pub(super) enum VerifyError {
    /// The block breaks a rule: its proposer is at fault.
    Refused(String),
    /// This node failed.
    Failed(ExecutionError),
}

impl<K: Kv> Ledger<K> {
    pub(super) fn run_build(
        &self,
        slot: &BlockContext,
        offered: &[Arc<[u8]>],
    ) -> Result<(BlockHash, Pending, Vec<TxHash>), ExecutionError> {
        let head = self.head.get();
        if slot.height.0 != head.header.number + 1 {
            return Err(broken(format!(
                "block {} cannot follow block {}",
                slot.height, head.header.number
            )));
        }
        let template = block::template(
            &self.spec,
            &head.header,
            head.hash,
            slot.time.as_secs(),
            Address::from(slot.proposer.0),
            B256::from(slot.parent_certificate),
        );
        let (candidates, mut rejected) = self.candidates(offered);
        let tip = self.store.tip();
        // In the block's list a typed transaction is an RLP string, whose header has at most 9 bytes.
        let sizes: Vec<usize> = candidates
            .iter()
            .map(|candidate| candidate.inner().encode_2718_len() + 9)
            .collect();
        let bytes_left = BLOCK_BYTES_MAX - BLOCK_FRAME_BYTES;
        let db = tip.db(head.ancestors);
        let Filled {
            executed,
            included,
            skipped,
        } = fill(
            &self.spec,
            db,
            BlockParts::of(&template),
            &candidates,
            &sizes,
            bytes_left,
        )
        .map_err(execution_failed)?;

        for (index, skipped) in skipped {
            if can_never_be_included(&tip, template.gas_limit, &candidates[index], &skipped)? {
                rejected.push(TxHash(candidates[index].tx_hash().0));
            }
        }
        let state = tip.apply(&executed.changes).map_err(unreadable)?;
        let transactions: Vec<Recovered<TxEnvelope>> =
            included.into_iter().map(|index| candidates[index].clone()).collect();
        let (hash, pending) = self.assemble(template, state, executed, &transactions);
        Ok((hash, pending, rejected))
    }

    /// The block that was just executed, with the header fields that follow from its execution.
    fn assemble(
        &self,
        template: Header,
        state: WorldState,
        executed: Executed,
        transactions: &[Recovered<TxEnvelope>],
    ) -> (BlockHash, Pending) {
        let found = seal::summarise(&executed, &self.spec, template.timestamp);
        let envelopes: Vec<TxEnvelope> = transactions
            .iter()
            .map(|transaction| transaction.inner().clone())
            .collect();
        let header = Header {
            state_root: state.root(),
            transactions_root: proofs::calculate_transaction_root(&envelopes),
            receipts_root: found.receipts_root,
            logs_bloom: found.logs_bloom,
            gas_used: found.gas_used,
            requests_hash: found.requests_hash,
            ..template
        };
        let hash = BlockHash(header.hash_slow().0);
        let bytes = block::encode(header.clone(), envelopes);
        assert!(bytes.len() <= BLOCK_BYTES_MAX, "the sizes of its parts were counted");
        let pending = Pending {
            bytes,
            header,
            state,
            receipts: executed.receipts,
            included: included_of(transactions),
        };
        (hash, pending)
    }

    /// Verifies a block. `None` beside the hash means that the same bytes are pending already.
    pub(super) fn run_verify(
        &self,
        bytes: &[u8],
        height: Height,
        now: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<(BlockHash, Option<Pending>), VerifyError> {
        let head = self.head.get();
        if height.0 != head.header.number + 1 {
            return Err(refused(format!(
                "height {height} is not the one above the tip {}",
                head.header.number
            )));
        }
        let block = block::decode(bytes).map_err(refused)?;
        let proposers: Vec<Address> = proposers.iter().map(|account| Address::from(account.0)).collect();
        let expected = Expected {
            parent: &head.header,
            parent_hash: head.hash,
            now,
            parent_certificate: B256::from(parent_certificate),
            proposers: &proposers,
        };
        block::check(&self.spec, &block.header, &expected).map_err(refused)?;
        let hash = BlockHash(block.header.hash_slow().0);
        if self
            .pending_blocks
            .get(&hash)
            .is_some_and(|pending_blocks| pending_blocks.bytes == bytes)
        {
            return Ok((hash, None));
        }
        let transactions = self
            .senders
            .recover_all(block.body.transactions)
            .map_err(|index| refused(format!("transaction {index} has no valid signature")))?;
        let tip = self.store.tip();
        let mut never = |_: &_| Err("this chain starts after Byzantium".to_owned());
        let parts = BlockParts::of(&block.header);
        let executed = execute(&self.spec, tip.db(head.ancestors), parts, &transactions, &mut never)?;
        seal::compare(&block.header, &executed, &self.spec).map_err(refused)?;
        let state = tip
            .apply(&executed.changes)
            .map_err(|error| VerifyError::Failed(unreadable(error)))?;
        if state.root() != block.header.state_root {
            return Err(refused(Mismatch::StateRoot {
                found: state.root(),
                claimed: block.header.state_root,
            }));
        }
        let included = included_of(&transactions);
        let pending = Pending {
            bytes: bytes.to_vec(),
            header: block.header,
            state,
            receipts: executed.receipts,
            included,
        };
        Ok((hash, Some(pending)))
    }

    /// Decodes the offered transactions and recovers their senders. Hashes of those that are invalid are returned
    /// as rejected.
    fn candidates(&self, offered: &[Arc<[u8]>]) -> (Vec<Recovered<TxEnvelope>>, Vec<TxHash>) {
        let tx_validator = self.tx_validator();
        let decoded: Vec<Result<Recovered<TxEnvelope>, TxHash>> = offered
            .par_iter()
            // They were checked on admission, so the cache has their senders and this is cheap.
            .map(|raw| tx_validator.recover(raw).map_err(|_| TxHash(keccak256(raw).0)))
            .collect();
        let (mut candidates, mut rejected) = (Vec::with_capacity(decoded.len()), Vec::new());
        for outcome in decoded {
            match outcome {
                Ok(candidate) => candidates.push(candidate),
                Err(name) => rejected.push(name),
            }
        }
        (candidates, rejected)
    }
}

/// Returns true if no block on this tip can include a transaction that was skipped. It is checked against the state
/// of the tip, because within the block it may have failed only because of the transactions before it.
fn can_never_be_included(
    tip: &WorldState,
    gas_limit: u64,
    transaction: &Recovered<TxEnvelope>,
    skipped: &Skipped,
) -> Result<bool, ExecutionError> {
    let Skipped::Invalid(why) = skipped else {
        return Ok(transaction.gas_limit() > gas_limit);
    };
    let account = || tip.account(&transaction.signer()).map_err(unreadable);
    Ok(match why {
        InvalidTransaction::NonceTooLow { .. } => account()?.is_some_and(|account| transaction.nonce() < account.nonce),
        InvalidTransaction::LackOfFundForMaxFee { .. } => {
            let gas = U256::from(transaction.max_fee_per_gas()) * U256::from(transaction.gas_limit());
            let cost = gas.saturating_add(transaction.value());
            cost > account()?.map_or(U256::ZERO, |account| account.balance)
        }
        // A nonce gap may close, and the base fee may fall below the cap.
        InvalidTransaction::NonceTooHigh { .. } | InvalidTransaction::GasPriceLessThanBasefee => false,
        _ => true,
    })
}

fn included_of(transactions: &[Recovered<TxEnvelope>]) -> Vec<(TxHash, Account, u64)> {
    transactions
        .iter()
        .map(|transaction| {
            let next = transaction.nonce() + 1;
            (TxHash(transaction.tx_hash().0), Account(transaction.signer().0.0), next)
        })
        .collect()
}

fn refused(why: impl ToString) -> VerifyError {
    VerifyError::Refused(why.to_string())
}

fn execution_failed(error: ExecuteError) -> ExecutionError {
    super::failure("could not execute a block that this node built", error)
}

impl From<ExecuteError> for VerifyError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Transaction { .. } | ExecuteError::Block(_) => Self::Refused(error.to_string()),
            ExecuteError::State(_) => Self::Failed(super::failure("could not execute a block", error)),
        }
    }
}

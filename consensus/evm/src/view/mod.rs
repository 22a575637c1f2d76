//! Reads of the chain from any thread, while blocks are committed.
//!
//! A view answers at the tip or at an older height within the history window. Blocks come from the block log
//! through [`BlockSource`]; receipts and indexes come from the rows that were committed with the state.
//!
//! - `blocks`: blocks, transactions, receipts and logs. `call`: calls and gas estimates. `access_list`: EIP-2930
//!   lists.
//! - `trace`: `debug_trace*`. [`simulate`]: `eth_simulateV1`. `build`: `testing_buildBlockV1`.
//! - `overrides`: state and block overrides. [`revert`]: texts for reverts and halts. `sandbox`: the EVM that these
//!   run in.

mod access_list;
mod blocks;
mod build;
mod call;
mod overrides;
pub mod revert;
mod sandbox;
pub mod simulate;
mod trace;

use std::{collections::BTreeMap, fmt, sync::Arc};

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use consensus::execution::Tip;
use protocol::{BlockHash, Height};

use crate::{
    chain::ChainSpec,
    imported_chain::ImportedLedger,
    ledger::{
        Ledger, SharedHead,
        rows::{self, RowError},
        tip_of,
    },
    senders::SenderCache,
    state::{AccountProof, AtError, Kv, StateDb, StateError, StateReader, WorldState},
};
pub use access_list::AccessListOutcome;
pub use blocks::{IncludedReceipt, IncludedTransaction};
pub use build::{BlockAttributes, BuildError, BuiltBlock, TransactionChoice};
pub use call::{CallError, CallOutcome, CallRequest, EstimateError, GAS_CAP};
pub use overrides::{BlockOverrides, OverrideError, Overrides};
pub use trace::TraceError;

/// The source of block bodies, such as the block log. Block 0 is never requested.
pub trait BlockSource: Send + Sync {
    /// The encoding of the block at this height, if it is there.
    fn block(&self, height: u64) -> Option<Vec<u8>>;
}

/// The block whose state is read. Heights below the history window are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The last committed block. It is final, so `latest`, `safe` and `finalized` mean the same.
    Tip,
    Height(u64),
}

/// Reason that a read fails. An absent block or account is no error: methods return `None` or defaults for those.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    At(#[from] AtError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Row(#[from] RowError),
    /// The block log lacks a committed block, or contains another one.
    #[error("the block log has no valid block {0}")]
    Block(u64),
}

/// An account at some height, without its storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountView {
    /// The nonce of the account's next transaction.
    pub nonce: u64,
    /// In the smallest unit.
    pub balance: U256,
    pub has_code: bool,
}

/// A handle to read one chain. Clones share the same chain.
pub struct View<K> {
    reader: StateReader<K>,
    head: SharedHead,
    spec: Arc<ChainSpec>,
    genesis: Arc<Header>,
    senders: SenderCache,
    blocks: Arc<dyn BlockSource>,
}

impl<K: Kv> Ledger<K> {
    /// A view of this chain, with blocks from `blocks`.
    pub fn view(&self, blocks: Arc<dyn BlockSource>) -> View<K> {
        View {
            reader: self.store().reader(),
            head: self.shared_head().clone(),
            spec: self.spec().clone(),
            genesis: self.genesis_header().clone(),
            senders: self.senders().clone(),
            blocks,
        }
    }
}

impl<K: Kv> ImportedLedger<K> {
    /// A view of this chain, with blocks from `blocks`.
    pub fn view(&self, blocks: Arc<dyn BlockSource>) -> View<K> {
        View {
            reader: self.store().reader(),
            head: self.shared_head().clone(),
            spec: self.spec().clone(),
            genesis: self.genesis_header().clone(),
            senders: self.senders().clone(),
            blocks,
        }
    }
}

impl<K: Kv> View<K> {
    /// The last committed block, which may not be durable yet.
    pub fn tip(&self) -> Tip {
        let head = self.head.get();
        tip_of(&self.spec, &head.header, head.hash)
    }

    /// The header of the last committed block, shared and not copied.
    pub fn tip_header(&self) -> Arc<Header> {
        self.head.get().header
    }

    /// The hash of block 0, which identifies the chain.
    pub fn genesis(&self) -> BlockHash {
        BlockHash(self.genesis.hash_slow().0)
    }

    /// The rules of the chain: fork schedule, chain id, fees.
    pub fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// The oldest height whose state can be read. Blocks and receipts below it stay readable.
    pub fn oldest(&self) -> Height {
        Height(self.reader.oldest())
    }

    /// The state at a block, to read several values of the same block.
    pub fn state(&self, at: At) -> Result<WorldState, ViewError> {
        let height = match at {
            // By height, so that state and header are of the same block.
            At::Tip => self.head.get().header.number,
            At::Height(height) => height,
        };
        Ok(self.reader.at(height)?)
    }

    /// An account at a block. One that does not exist has nonce and balance 0.
    pub fn account(&self, address: &Address, at: At) -> Result<AccountView, ViewError> {
        let account = self.state(at)?.account(address)?;
        Ok(account.map_or_else(AccountView::default, |account| AccountView {
            nonce: account.nonce,
            balance: account.balance,
            has_code: account.code_hash != alloy_trie::KECCAK_EMPTY,
        }))
    }

    /// The code of an account; empty if it has none.
    pub fn code(&self, address: &Address, at: At) -> Result<Bytes, ViewError> {
        let state = self.state(at)?;
        let Some(account) = state.account(address)? else {
            return Ok(Bytes::new());
        };
        Ok(state.code(&account.code_hash)?.unwrap_or_default())
    }

    /// A slot of an account; zero if it was never set.
    pub fn storage(&self, address: &Address, slot: U256, at: At) -> Result<U256, ViewError> {
        Ok(self.state(at)?.storage(address, slot)?)
    }

    /// Proves an account and some of its slots (`eth_getProof`).
    pub fn proof(&self, address: &Address, slots: &[U256], at: At) -> Result<AccountProof, ViewError> {
        Ok(self.state(at)?.prove(address, slots)?)
    }

    /// The header of a block, with the state after it and the hashes that `BLOCKHASH` may return above it.
    fn database(&self, at: At) -> Result<(Arc<Header>, StateDb), ViewError> {
        let head = self.head.get();
        let height = match at {
            At::Tip => head.header.number,
            At::Height(height) => height,
        };
        let state = self.reader.at(height)?;
        // The head has its ancestors at hand; older blocks look them up one by one.
        if height == head.header.number {
            return Ok((head.header, state.db(head.ancestors)));
        }
        let header = self.header(height)?.ok_or(ViewError::Block(height))?;
        let mut ancestors = BTreeMap::new();
        for number in height.saturating_sub(255)..=height {
            if let Some(hash) = rows::hash_at(&self.reader, number)? {
                ancestors.insert(number, hash);
            }
        }
        Ok((Arc::new(header), state.db(Arc::new(ancestors))))
    }

    fn hash_at(&self, height: u64) -> Result<Option<B256>, ViewError> {
        Ok(rows::hash_at(&self.reader, height)?)
    }
}

impl<K> Clone for View<K> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            head: self.head.clone(),
            spec: self.spec.clone(),
            genesis: self.genesis.clone(),
            senders: self.senders.clone(),
            blocks: self.blocks.clone(),
        }
    }
}

impl<K> fmt::Debug for View<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("chain_id", &self.spec.chain_id)
            .finish_non_exhaustive()
    }
}

//! The chain as readers see it: from any thread, while blocks are committed.
//!
//! A view answers at the tip or at an older height inside the window of kept states. Blocks come from the block log,
//! which this crate cannot see; what their execution left comes from the rows that were committed with the state.

mod access_list;
mod blocks;
mod build;
mod call;
mod overrides;
pub mod revert;
pub mod simulate;
mod stage;
mod trace;

use std::{collections::BTreeMap, fmt, sync::Arc};

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use consensus::execution::Tip;
use protocol::{BlockHash, Height};

use crate::{
    chain::ChainSpec,
    foreign::ForeignLedger,
    ledger::{
        Ledger, SharedHead,
        rows::{self, RowError},
        tip_of,
    },
    senders::SenderCache,
    state::{AccountProof, AtError, Kv, StateDb, StateError, StateReader, WorldState},
};
pub use access_list::Listed;
pub use blocks::{Included, PlacedReceipt};
pub use build::{Attributes, BuildError, BuiltBlock, Wanted};
pub use call::{CallError, CallOutcome, CallRequest, EstimateError, GAS_CAP};
pub use overrides::{BlockOverrides, OverrideError, Overrides};
pub use trace::TraceError;

/// Where blocks are kept: the block log. Block 0 is never asked for.
pub trait BlockSource: Send + Sync {
    /// The encoding of the block at this height, if it is there.
    fn block(&self, height: u64) -> Option<Vec<u8>>;
}

/// Which state is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The last committed block's. It is final: `latest`, `safe` and `finalized` are one.
    Tip,
    /// An older block's.
    Height(u64),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The state of that height is not there.
    #[error(transparent)]
    At(#[from] AtError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// What lies beside the state cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The block log lacks a block that was committed, or has another one.
    #[error("the block log has no valid block {0}")]
    Block(u64),
}

/// An account at some height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountView {
    /// The nonce of its next transaction.
    pub nonce: u64,
    /// What it holds, in the smallest unit.
    pub balance: U256,
    /// Whether it has code.
    pub has_code: bool,
}

/// Reads the chain.
pub struct View<K> {
    reader: StateReader<K>,
    head: SharedHead,
    spec: Arc<ChainSpec>,
    genesis: Arc<Header>,
    senders: SenderCache,
    blocks: Arc<dyn BlockSource>,
}

impl<K: Kv> Ledger<K> {
    /// A view on this chain, with blocks from `blocks`.
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

impl<K: Kv> ForeignLedger<K> {
    /// A view on this chain, with blocks from `blocks`.
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
    /// The last committed block.
    pub fn tip(&self) -> Tip {
        let head = self.head.get();
        tip_of(&self.spec, &head.header, head.hash)
    }

    /// Its header.
    pub fn tip_header(&self) -> Arc<Header> {
        self.head.get().header
    }

    /// The name of block 0.
    pub fn genesis(&self) -> BlockHash {
        BlockHash(self.genesis.hash_slow().0)
    }

    /// The rules of the chain.
    pub fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// The oldest height whose state can be read.
    pub fn oldest(&self) -> Height {
        Height(self.reader.oldest())
    }

    /// The state at some height.
    pub fn state(&self, at: At) -> Result<WorldState, ViewError> {
        let height = match at {
            // Through the height, so that state and header are of the same block.
            At::Tip => self.head.get().header.number,
            At::Height(height) => height,
        };
        Ok(self.reader.at(height)?)
    }

    /// An account; one that does not exist has nothing.
    pub fn account(&self, address: &Address, at: At) -> Result<AccountView, ViewError> {
        let account = self.state(at)?.account(address)?;
        Ok(account.map_or_else(AccountView::default, |account| AccountView {
            nonce: account.nonce,
            balance: account.balance,
            has_code: account.code_hash != alloy_trie::KECCAK_EMPTY,
        }))
    }

    /// The code of an account, empty if it has none.
    pub fn code(&self, address: &Address, at: At) -> Result<Bytes, ViewError> {
        let state = self.state(at)?;
        let Some(account) = state.account(address)? else {
            return Ok(Bytes::new());
        };
        Ok(state.code(&account.code_hash)?.unwrap_or_default())
    }

    /// A slot of an account, zero if it was never set.
    pub fn storage(&self, address: &Address, slot: U256, at: At) -> Result<U256, ViewError> {
        Ok(self.state(at)?.storage(address, slot)?)
    }

    /// Proves an account and some of its slots (`eth_getProof`).
    pub fn proof(&self, address: &Address, slots: &[U256], at: At) -> Result<AccountProof, ViewError> {
        Ok(self.state(at)?.prove(address, slots)?)
    }

    /// A header with the state after it and the hashes that `BLOCKHASH` may name above it.
    fn database(&self, at: At) -> Result<(Arc<Header>, StateDb), ViewError> {
        let head = self.head.get();
        let height = match at {
            At::Tip => head.header.number,
            At::Height(height) => height,
        };
        let state = self.reader.at(height)?;
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

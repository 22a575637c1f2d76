//! An Ethereum chain imported from a genesis file and a file of blocks: executed here, block by block, and kept for
//! readers.
//!
//! A block must follow the tip, and its execution must give the roots that its header claims. All history is kept,
//! so every height is readable through [`crate::view::View`], as on an archive node. Left out: branches, proof of
//! work, and the storage of block bodies, which is the caller's.

use std::sync::Arc;

use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_genesis::Genesis;
use alloy_primitives::B256;
use alloy_rlp::Decodable;
use consensus::execution::Tip;
use protocol::BlockHash;
use revm::database::BundleState;

use crate::{
    alloc, block,
    chain::ChainSpec,
    collision::bare_storage,
    genesis,
    import::{self, ImportError},
    ledger::{
        OpenError, SharedHead,
        open::{find_head, write_genesis},
        rows, tip_of,
    },
    pool_tx::TxValidator,
    seal::Mismatch,
    senders::SenderCache,
    state::{BlockId, CommitError, FlushError, Kv, Options, StateError, StateStore},
};

/// The first block of an imported chain, and the rules above it.
#[derive(Clone, Debug)]
pub struct ImportedGenesis {
    pub spec: ChainSpec,
    pub header: Header,
    pub hash: BlockHash,
    accounts: BundleState,
}

/// Reason that a genesis file of another chain is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportedGenesisError {
    #[error("the genesis file cannot be read; it must be of the shape that Ethereum's clients take")]
    Json(#[from] serde_json::Error),
    /// The file starts in the middle of a chain.
    #[error("number is {0}; a chain is imported from block 0")]
    Number(u64),
}

impl ImportedGenesis {
    /// Reads a genesis file in the format of Ethereum's clients.
    pub fn from_json(json: &[u8]) -> Result<Self, ImportedGenesisError> {
        let genesis: Genesis = serde_json::from_slice(json)?;
        if let Some(number) = genesis.number.filter(|number| *number != 0) {
            return Err(ImportedGenesisError::Number(number));
        }
        let mut spec = ChainSpec::from_config(&genesis.config);
        spec.bare_storage = bare_storage(&genesis.alloc);
        let header = genesis::header(&spec, &genesis, genesis::state_root(&genesis.alloc));
        Ok(Self {
            spec,
            hash: BlockHash(header.hash_slow().0),
            header,
            accounts: alloc::creation(&genesis.alloc),
        })
    }
}

/// Reason that a block is refused. The chain stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendBlockError {
    #[error("the bytes after block {tip} are not a block: {why}")]
    Encoding { tip: u64, why: alloy_rlp::Error },
    #[error("block {height} has the parent {parent}, the tip is block {tip} with the hash {hash}")]
    Parent {
        height: u64,
        parent: B256,
        tip: u64,
        hash: B256,
    },
    #[error("block {height} is refused: {why}")]
    Refused { height: u64, why: ImportError },
    #[error("block {height} could not be executed")]
    State {
        height: u64,
        #[source]
        source: StateError,
    },
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Facts about a block that was appended, for progress output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedBlock {
    pub height: u64,
    pub hash: BlockHash,
    pub transactions: usize,
    pub gas_used: u64,
}

/// A chain imported from a file. Not part of this project's network: there is no consensus and there are no peers.
#[derive(Debug)]
pub struct ImportedLedger<K> {
    spec: Arc<ChainSpec>,
    genesis: Arc<Header>,
    store: StateStore<K>,
    head: SharedHead,
    senders: SenderCache,
}

impl<K: Kv> ImportedLedger<K> {
    /// Opens the chain of `genesis` in this database. An empty database starts at genesis.
    pub fn open(kv: K, genesis: &ImportedGenesis) -> Result<Self, OpenError> {
        // Reads at every height are what a chain is imported for.
        let options = Options {
            history: None,
            ..Options::default()
        };
        let mut store = StateStore::open(kv, options)?;
        let head = match store.tip().height() {
            None => write_genesis(&mut store, &genesis.header, &genesis.accounts, Vec::new())?,
            Some(height) => find_head(&store, genesis.hash, height)?,
        };
        Ok(Self {
            spec: Arc::new(genesis.spec.clone()),
            genesis: Arc::new(genesis.header.clone()),
            store,
            head: SharedHead::new(head),
            senders: SenderCache::default(),
        })
    }

    /// The last block that was appended; block 0 in a new chain.
    pub fn tip(&self) -> Tip {
        let head = self.head.get();
        tip_of(&self.spec, &head.header, head.hash)
    }

    /// Checks for transactions on this chain. Shares the chain's sender cache.
    pub fn tx_validator(&self) -> TxValidator {
        TxValidator::for_imported(&self.spec, &self.head.get().header, self.senders.clone())
    }

    /// Returns true if this block is part of the chain already.
    pub fn contains(&self, block: &[u8]) -> bool {
        let Some(header) = block::peek(block) else {
            return false;
        };
        let there = rows::hash_at(&self.store.reader(), header.number);
        there.is_ok_and(|there| there == Some(header.hash_slow()))
    }

    /// Appends the block at the front of `rlp` and advances `rlp` past it. The block must follow the tip, and its
    /// execution must match its header.
    pub fn append(&mut self, rlp: &mut &[u8]) -> Result<AppendedBlock, AppendBlockError> {
        let head = self.head.get();
        let tip = head.header.number;
        let block = Block::<TxEnvelope>::decode(rlp).map_err(|why| AppendBlockError::Encoding { tip, why })?;
        let (height, hash) = (block.header.number, block.header.hash_slow());
        if block.header.parent_hash != head.hash {
            return Err(AppendBlockError::Parent {
                height,
                parent: block.header.parent_hash,
                tip,
                hash: head.hash,
            });
        }
        let refused = |why: ImportError| AppendBlockError::Refused { height, why };
        let unreadable = |source| AppendBlockError::State { height, source };
        let before = self.store.tip();
        let mut root_of = |changes: &BundleState| match before.apply(changes) {
            Ok(after) => Ok(after.root()),
            Err(error) => Err(error.to_string()),
        };
        let db = before.db(head.ancestors.clone());
        let executed = import::execute_block(&self.spec, db, &head.header, &block, &mut root_of).map_err(refused)?;
        let after = before.apply(&executed.changes).map_err(unreadable)?;
        if after.root() != block.header.state_root {
            return Err(refused(ImportError::Mismatch(Mismatch::StateRoot {
                found: after.root(),
                claimed: block.header.state_root,
            })));
        }
        let hashes: Vec<B256> = block
            .body
            .transactions
            .iter()
            .map(|transaction| *transaction.tx_hash())
            .collect();
        let written = rows::of_block(&block.header, hash, &hashes, &executed.receipts);
        self.store.commit(&after, BlockId { height, hash }, written)?;
        self.head.set(head.next(block.header, hash));
        Ok(AppendedBlock {
            height,
            hash: BlockHash(hash.0),
            transactions: hashes.len(),
            gas_used: executed.gas_used,
        })
    }

    /// Writes all appended blocks to the database as one batch.
    pub fn flush(&mut self) -> Result<(), FlushError> {
        self.store.flush().map(|_| ())
    }

    /// The height that the database has reached. Blocks above it are executed again after a crash.
    pub fn flushed(&self) -> u64 {
        self.store.applied().map_or(0, |applied| applied.height)
    }

    pub(crate) fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    pub(crate) fn store(&self) -> &StateStore<K> {
        &self.store
    }

    pub(crate) fn shared_head(&self) -> &SharedHead {
        &self.head
    }

    pub(crate) fn genesis_header(&self) -> &Arc<Header> {
        &self.genesis
    }

    pub(crate) fn senders(&self) -> &SenderCache {
        &self.senders
    }
}

//! A chain that others made: its genesis file and its blocks, of any fork, executed here and kept for readers.
//!
//! Blocks come in order from a file; each is executed on the one before it and must leave the roots that its header
//! claims. Everything is kept: every height stays readable through [`crate::view::View`], like this project's own chain.
//! Left out: branches (a block that does not follow the tip is refused), proof of work, and where the bodies are stored,
//! which is the caller's business.

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
    pool_tx::Door,
    seal::Mismatch,
    senders::SenderCache,
    state::{BlockId, CommitError, FlushError, Kv, Options, StateError, StateStore},
};

/// The first block of a foreign chain and the rules above it.
#[derive(Clone, Debug)]
pub struct ForeignGenesis {
    /// The rules.
    pub spec: ChainSpec,
    /// The header of block 0.
    pub header: Header,
    /// Its name.
    pub hash: BlockHash,
    accounts: BundleState,
}

/// Why a genesis file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ForeignGenesisError {
    /// It is not JSON, or not of this shape.
    #[error("the genesis file cannot be read; it must be of the shape that Ethereum's clients take")]
    Json(#[from] serde_json::Error),
    /// It starts in the middle of a chain.
    #[error("number is {0}; a chain is imported from block 0")]
    Number(u64),
}

impl ForeignGenesis {
    /// Reads a genesis file of the shape that Ethereum's clients take.
    pub fn from_json(json: &[u8]) -> Result<Self, ForeignGenesisError> {
        let genesis: Genesis = serde_json::from_slice(json)?;
        if let Some(number) = genesis.number.filter(|number| *number != 0) {
            return Err(ForeignGenesisError::Number(number));
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

/// Why a block is not taken. The chain stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is not a block.
    #[error("the bytes after block {tip} are not a block: {why}")]
    Encoding {
        /// The height of the tip.
        tip: u64,
        /// What is wrong with them.
        why: alloy_rlp::Error,
    },
    /// It belongs elsewhere.
    #[error("block {height} has the parent {parent}, the tip is block {tip} with the hash {hash}")]
    Parent {
        /// Its height.
        height: u64,
        /// The parent that it names.
        parent: B256,
        /// The height of the tip.
        tip: u64,
        /// The name of the tip.
        hash: B256,
    },
    /// It breaks a rule.
    #[error("block {height} is refused: {why}")]
    Refused {
        /// Its height.
        height: u64,
        /// What is wrong with it.
        why: ImportError,
    },
    /// The state cannot be read.
    #[error("block {height} could not be executed")]
    State {
        /// Its height.
        height: u64,
        /// Why.
        #[source]
        source: StateError,
    },
    /// The state cannot be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A block that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its height.
    pub height: u64,
    /// Its name.
    pub hash: BlockHash,
    /// Transactions in it.
    pub transactions: usize,
    /// Gas they used.
    pub gas_used: u64,
}

/// A foreign chain on this machine.
#[derive(Debug)]
pub struct ForeignLedger<K> {
    spec: Arc<ChainSpec>,
    genesis: Arc<Header>,
    store: StateStore<K>,
    head: SharedHead,
    senders: SenderCache,
}

impl<K: Kv> ForeignLedger<K> {
    /// Opens the chain of `genesis` in this database; an empty one starts at genesis.
    pub fn open(kv: K, genesis: &ForeignGenesis) -> Result<Self, OpenError> {
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

    /// The last block that was taken.
    pub fn tip(&self) -> Tip {
        let head = self.head.get();
        tip_of(&self.spec, &head.header, head.hash)
    }

    /// What checks transactions for this chain; shares the ledger's memory of senders.
    pub fn door(&self) -> Door {
        Door::foreign(&self.spec, &self.head.get().header, self.senders.clone())
    }

    /// Whether this block was taken before.
    pub fn knows(&self, block: &[u8]) -> bool {
        let Some(header) = block::peek(block) else {
            return false;
        };
        let there = rows::hash_at(&self.store.reader(), header.number);
        there.is_ok_and(|there| there == Some(header.hash_slow()))
    }

    /// Takes the block at the front of `rlp`, if it follows the tip and leaves what its header claims.
    pub fn take(&mut self, rlp: &mut &[u8]) -> Result<Taken, ForeignError> {
        let head = self.head.get();
        let tip = head.header.number;
        let block = Block::<TxEnvelope>::decode(rlp).map_err(|why| ForeignError::Encoding { tip, why })?;
        let (height, hash) = (block.header.number, block.header.hash_slow());
        if block.header.parent_hash != head.hash {
            return Err(ForeignError::Parent {
                height,
                parent: block.header.parent_hash,
                tip,
                hash: head.hash,
            });
        }
        let refused = |why: ImportError| ForeignError::Refused { height, why };
        let unreadable = |source| ForeignError::State { height, source };
        let before = self.store.tip();
        let mut root_of = |changes: &BundleState| match before.apply(changes) {
            Ok(after) => Ok(after.root()),
            Err(error) => Err(error.to_string()),
        };
        let db = before.db(head.ancestors.clone());
        let executed = import::run(&self.spec, db, &head.header, &block, &mut root_of).map_err(refused)?;
        let after = before.apply(&executed.changes).map_err(unreadable)?;
        if after.root() != block.header.state_root {
            return Err(refused(ImportError::Mismatch(Mismatch::StateRoot {
                found: after.root(),
                claimed: block.header.state_root,
            })));
        }
        let hashes: Vec<B256> = block.body.transactions.iter().map(|one| *one.tx_hash()).collect();
        let written = rows::of_block(&block.header, hash, &hashes, &executed.receipts);
        self.store.commit(&after, BlockId { height, hash }, written)?;
        self.head.set(head.next(block.header, hash));
        Ok(Taken {
            height,
            hash: BlockHash(hash.0),
            transactions: hashes.len(),
            gas_used: executed.gas_used,
        })
    }

    /// Hands all that was taken to the database in one batch.
    pub fn flush(&mut self) -> Result<(), FlushError> {
        self.store.flush().map(|_| ())
    }

    /// The height up to which the database would survive a crash now.
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

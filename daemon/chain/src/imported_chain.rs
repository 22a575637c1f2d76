//! An Ethereum chain imported from a file of blocks into a home folder of its own, to be served over JSON-RPC.
//!
//! The home contains the genesis file and the blocks as they came, and the state from executing them. There are no
//! consensus and no peers: the head is the last imported block, and submitted transactions are never included.

mod block_file;
mod serve;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use evm::{
    imported_chain::{AppendBlockError, AppendedBlock, ImportedGenesis, ImportedGenesisError, ImportedLedger},
    ledger::OpenError,
    state::FlushError,
    view::BlockSource,
};
use protocol::Height;
use storage::{BlockLog, HomeLock, JournalError, RealDisk, Table, block_log::AppendError, lock::LockError, table};

pub use self::{
    block_file::{BLOCK_BYTES_MAX, FileError},
    serve::{ServeError, Serving, serve},
};
use crate::state::StateTable;
use base::home::Home;

/// Cache of the state database, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// Blocks between flushes.
const FLUSH_EVERY: u64 = 256;

/// Reason that a chain cannot be opened or imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("could not {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The home belongs to a node.
    #[error("{} is the home of a node; give the imported chain a folder of its own with --home", .0.display())]
    Node(PathBuf),
    /// The home contains another imported chain.
    #[error("{} holds another chain already; give this one a folder of its own with --home", .0.display())]
    Other(PathBuf),
    #[error("there is no imported chain in {}; run `openledger chain import` first, or name another folder with --home", .0.display())]
    Nothing(PathBuf),
    /// Another process has the home open.
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("{} is no genesis file", path.display())]
    Genesis {
        path: PathBuf,
        #[source]
        source: ImportedGenesisError,
    },
    #[error(transparent)]
    Table(#[from] table::OpenError),
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error(transparent)]
    Log(#[from] JournalError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Flush(#[from] FlushError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Block(#[from] Box<AppendBlockError>),
}

/// An imported chain that is open. It locks its home, so no other process can open it.
pub struct ImportedChain {
    ledger: ImportedLedger<StateTable>,
    log: Arc<BlockLog>,
    _lock: HomeLock,
}

/// The result of an import. Its fields are the keys of `--json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Blocks that were executed.
    pub blocks: u64,
    /// Blocks that were part of the chain already.
    pub known: u64,
    /// Transactions in the executed blocks.
    pub transactions: u64,
    /// Gas used by the executed blocks.
    pub gas_used: u64,
}

/// The blocks of an imported chain, for readers.
pub(crate) struct ImportedBlocks(pub(crate) Arc<BlockLog>);

impl BlockSource for ImportedBlocks {
    fn block(&self, height: u64) -> Option<Vec<u8>> {
        self.0.read(Height(height)).ok()?
    }
}

impl ImportedChain {
    /// Opens the home for this genesis. An empty home becomes the home of its chain.
    pub fn create(home: &Home, genesis: &Path) -> Result<Self, ImportError> {
        if home.config().exists() || home.keys().exists() {
            return Err(ImportError::Node(home.root().to_owned()));
        }
        let text = read(genesis)?;
        parse(genesis, &text)?;
        let stored = home.genesis();
        match fs::read(&stored) {
            Ok(there) if there == text => (),
            Ok(_) => return Err(ImportError::Other(home.root().to_owned())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(home.root()).map_err(io_error("create", home.root()))?;
                fs::write(&stored, &text).map_err(io_error("write", &stored))?;
            }
            Err(why) => return Err(io_error("read", &stored)(why)),
        }
        Self::open(home)
    }

    /// Opens a home with an imported chain, and executes logged blocks that the state does not contain yet.
    pub fn open(home: &Home) -> Result<Self, ImportError> {
        if home.config().exists() {
            return Err(ImportError::Node(home.root().to_owned()));
        }
        let stored = home.genesis();
        if !stored.exists() {
            return Err(ImportError::Nothing(home.root().to_owned()));
        }
        let genesis = parse(&stored, &read(&stored)?)?;
        let lock = HomeLock::acquire(home.root())?;
        let log = Arc::new(BlockLog::open(Arc::new(RealDisk), &home.blocks(), Default::default())?);
        let table = StateTable(Table::open(&home.state(), CACHE_BYTES)?);
        let mut ledger = ImportedLedger::open(table, &genesis)?;
        // The log is synced before the state, so it may be ahead and never behind.
        let logged = log.iter_from(ledger.tip().height.next());
        for entry in logged {
            let (_, block) = entry?;
            ledger.append(&mut &block[..]).map_err(Box::new)?;
        }
        Ok(Self {
            ledger,
            log,
            _lock: lock,
        })
    }

    /// Executes the blocks of a file that are not part of the chain yet, and calls `on_block` for each. Blocks
    /// before an error stay imported.
    pub fn import(&mut self, blocks: &Path, mut on_block: impl FnMut(&AppendedBlock)) -> Result<Imported, ImportError> {
        let mut done = Imported::default();
        let outcome = self.append_all(blocks, &mut done, &mut on_block);
        // Also after an error, so that the blocks before it stay.
        let stored = self.make_durable();
        outcome.and(stored)?;
        Ok(done)
    }

    fn append_all(
        &mut self,
        blocks: &Path,
        done: &mut Imported,
        on_block: &mut impl FnMut(&AppendedBlock),
    ) -> Result<(), ImportError> {
        let mut file = block_file::BlockFile::open(blocks)?;
        while let Some(block) = file.next_block()? {
            if self.ledger.contains(&block) {
                done.known += 1;
                continue;
            }
            let appended = self.ledger.append(&mut &block[..]).map_err(Box::new)?;
            self.log.append(Height(appended.height), &block)?;
            done.blocks += 1;
            done.transactions += appended.transactions as u64;
            done.gas_used += appended.gas_used;
            on_block(&appended);
            if done.blocks.is_multiple_of(FLUSH_EVERY) {
                self.make_durable()?;
            }
        }
        Ok(())
    }

    /// Makes appended blocks durable: first the blocks, then the state.
    fn make_durable(&mut self) -> Result<(), ImportError> {
        self.log.sync()?;
        self.ledger.flush()?;
        Ok(())
    }

    /// The height of the last imported block.
    pub fn height(&self) -> Height {
        self.ledger.tip().height
    }

    /// The hash of the last imported block.
    pub fn hash(&self) -> protocol::BlockHash {
        self.ledger.tip().hash
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<ImportedGenesis, ImportError> {
    ImportedGenesis::from_json(text).map_err(|source| ImportError::Genesis {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    fs::read(path).map_err(io_error("read", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io { what, path, source }
}

#[cfg(test)]
mod tests;

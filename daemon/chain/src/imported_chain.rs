//! A foreign chain in a home of its own: imported from a file of blocks, and served over JSON-RPC.
//!
//! Such a home holds the genesis file as it came, the blocks as they came, and the state that this executor made of them.
//! There is no consensus and there are no peers: the head is the last block that was imported, and what is sent in waits
//! for ever.

mod file;
mod serve;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use evm::{
    foreign::{ForeignError, ForeignGenesis, ForeignGenesisError, ForeignLedger, Taken},
    ledger::OpenError,
    state::FlushError,
    view::BlockSource,
};
use protocol::Height;
use storage::{BlockLog, HomeLock, JournalError, RealDisk, Table, block_log::AppendError, lock::LockError, table};

pub use self::{
    file::{BLOCK_BYTES_MAX, FileError},
    serve::{ServeError, Serving, serve},
};
use crate::state::StateTable;
use base::home::Home;

/// Memory for the state database.
const CACHE_BYTES: u64 = 64 << 20;
/// Blocks that are made durable together.
const FLUSH_EVERY: u64 = 256;

/// Why a foreign chain cannot be opened or imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The home is a node's.
    #[error("{} is the home of a node; give the foreign chain a folder of its own with --home", .0.display())]
    Node(PathBuf),
    /// The home has another foreign chain.
    #[error("{} holds another chain already; give this one a folder of its own with --home", .0.display())]
    Other(PathBuf),
    /// Nothing was imported there.
    #[error("there is no imported chain in {}; run `openledger chain import` first, or name another folder with --home", .0.display())]
    Nothing(PathBuf),
    /// Somebody else is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The genesis file is refused.
    #[error("{} is no genesis file", path.display())]
    Genesis {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ForeignGenesisError,
    },
    /// The state database cannot be opened.
    #[error(transparent)]
    Table(#[from] table::OpenError),
    /// What is in it cannot be used.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The block log cannot be read or written.
    #[error(transparent)]
    Log(#[from] JournalError),
    /// The block log does not take a block.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The state cannot be written.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// The file of blocks cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A block is not taken.
    #[error(transparent)]
    Block(#[from] Box<ForeignError>),
}

/// A foreign chain that is open. Nobody else can open it meanwhile.
pub struct ForeignChain {
    ledger: ForeignLedger<StateTable>,
    log: Arc<BlockLog>,
    _lock: HomeLock,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Blocks that were executed.
    pub blocks: u64,
    /// Blocks that were there already.
    pub known: u64,
    /// Transactions in those that were executed.
    pub transactions: u64,
    /// Gas they used.
    pub gas_used: u64,
}

/// The blocks of a foreign chain as readers see them.
pub(crate) struct ForeignBlocks(pub(crate) Arc<BlockLog>);

impl BlockSource for ForeignBlocks {
    fn block(&self, height: u64) -> Option<Vec<u8>> {
        self.0.read(Height(height)).ok()?
    }
}

impl ForeignChain {
    /// Opens the home for this genesis; an empty home becomes this chain's.
    pub fn create(home: &Home, genesis: &Path) -> Result<Self, ImportError> {
        if home.config().exists() || home.keys().exists() {
            return Err(ImportError::Node(home.root().to_owned()));
        }
        let text = read(genesis)?;
        parse(genesis, &text)?;
        let kept = home.genesis();
        match fs::read(&kept) {
            Ok(there) if there == text => (),
            Ok(_) => return Err(ImportError::Other(home.root().to_owned())),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(home.root()).map_err(io_error("create", home.root()))?;
                fs::write(&kept, &text).map_err(io_error("write", &kept))?;
            }
            Err(why) => return Err(io_error("read", &kept)(why)),
        }
        Self::open(home)
    }

    /// Opens a home that has a foreign chain, and executes again what was logged but not yet in the state.
    pub fn open(home: &Home) -> Result<Self, ImportError> {
        if home.config().exists() {
            return Err(ImportError::Node(home.root().to_owned()));
        }
        let kept = home.genesis();
        if !kept.exists() {
            return Err(ImportError::Nothing(home.root().to_owned()));
        }
        let genesis = parse(&kept, &read(&kept)?)?;
        let lock = HomeLock::acquire(home.root())?;
        let log = Arc::new(BlockLog::open(Arc::new(RealDisk), &home.blocks(), Default::default())?);
        let table = StateTable(Table::open(&home.state(), CACHE_BYTES)?);
        let mut ledger = ForeignLedger::open(table, &genesis)?;
        let logged = log.iter_from(ledger.tip().height.next());
        for entry in logged {
            let (_, block) = entry?;
            ledger.take(&mut &block[..]).map_err(Box::new)?;
        }
        Ok(Self {
            ledger,
            log,
            _lock: lock,
        })
    }

    /// Executes the blocks of a file that are not here yet, and tells of each. What was executed before an error stays.
    pub fn import(&mut self, blocks: &Path, mut told: impl FnMut(&Taken)) -> Result<Imported, ImportError> {
        let mut done = Imported::default();
        let outcome = self.take_all(blocks, &mut done, &mut told);
        let kept = self.keep();
        outcome.and(kept)?;
        Ok(done)
    }

    fn take_all(
        &mut self,
        blocks: &Path,
        done: &mut Imported,
        told: &mut impl FnMut(&Taken),
    ) -> Result<(), ImportError> {
        let mut file = file::Blocks::open(blocks)?;
        while let Some(block) = file.next_block()? {
            if self.ledger.knows(&block) {
                done.known += 1;
                continue;
            }
            let taken = self.ledger.take(&mut &block[..]).map_err(Box::new)?;
            self.log.append(Height(taken.height), &block)?;
            done.blocks += 1;
            done.transactions += taken.transactions as u64;
            done.gas_used += taken.gas_used;
            told(&taken);
            if done.blocks.is_multiple_of(FLUSH_EVERY) {
                self.keep()?;
            }
        }
        Ok(())
    }

    /// Makes it last: the blocks first, then what was made of them.
    fn keep(&mut self) -> Result<(), ImportError> {
        self.log.sync()?;
        self.ledger.flush()?;
        Ok(())
    }

    /// The height of the last block.
    pub fn height(&self) -> Height {
        self.ledger.tip().height
    }

    /// The name of the last block.
    pub fn hash(&self) -> protocol::BlockHash {
        self.ledger.tip().hash
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<ForeignGenesis, ImportError> {
    ForeignGenesis::from_json(text).map_err(|source| ImportError::Genesis {
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

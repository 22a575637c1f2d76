//! Opens a node's data and recovers its consensus machine: block log, journal, state, in this order of trust.

use std::{path::PathBuf, sync::Arc, time::Duration};

use config::{History, Loaded, Origin};
use consensus::{
    bft::Timeouts,
    execution::Execution,
    mempool::Limits,
    node::{Effect, JournalState, Node, Params, RecoverError},
};
use evm::{
    genesis::{ChainGenesis, GenesisError},
    ledger::{self, ReplayError},
    senders::SenderCache,
    state::Options,
};
use protocol::{Height, Time, crypto::Domain, message::vote::Certificate};
use storage::{BlockLog, JournalError, RealDisk, Table, Wal, block_log::Layout, table};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    actor::Ledger,
    state::{LoggedBlocks, StateTable},
};
use base::{
    errors::chained,
    home::Home,
    key::{self, KeyError},
};

/// Most transaction bytes in a block that this node builds.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Senders in the cache: all transactions of a few full blocks.
const SENDERS_MAX: usize = 100_000;
/// Blocks between flushes while the state catches up with the log.
const REPLAY_FLUSH_EVERY: usize = 512;
/// Blocks below the tip that are verified before the node starts; older ones are verified while it runs.
const CHECKED_FIRST: u64 = 4096;
/// Trie nodes kept in memory.
const NODES_MAX: usize = 200_000;

/// Reason that the chain's data cannot be opened. Each says which file or folder, and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} cannot be read; run `openledger init` first", file.display())]
    NoGenesis {
        /// Where the file should be.
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not a genesis of this chain", file.display())]
    Genesis {
        file: PathBuf,
        #[source]
        source: GenesisError,
    },
    #[error("could not open the block log")]
    Log(#[source] JournalError),
    #[error("could not open the consensus journal")]
    Journal(#[source] JournalError),
    /// The state database cannot be opened, and neither can a new one.
    #[error("could not open the state database")]
    Table(#[from] table::OpenError),
    /// The executor refuses the data, also after it was rebuilt.
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    /// A logged block does not follow from those before it.
    #[error("block {height} of the block log does not follow; run `openledger chain repair`")]
    Replay {
        height: Height,
        #[source]
        source: ReplayError,
    },
    /// A logged block is missing or cannot be read.
    #[error("block {0} of the block log cannot be read; run `openledger chain repair`")]
    MissingBlock(Height),
    /// The state contains blocks that the log does not have.
    #[error("the state is at block {state}, the block log ends at {log}")]
    StateAhead {
        state: Height,
        /// The last block of the log.
        log: Height,
    },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A damaged state database could not be moved aside.
    #[error("could not move {} aside", dir.display())]
    MoveAside {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The open data of a node, up to date, below the network.
pub struct Opened {
    pub node: Node<Ledger>,
    pub first: Vec<Effect>,
    pub wal: Wal,
    pub log: Arc<BlockLog>,
    pub chain_id: u64,
}

/// Opens the data of a node in `home`, and brings the state up to the block log. Blocks until that is done.
pub fn open(home: &Home, loaded: &Loaded, now: Time) -> Result<Opened, OpenError> {
    let genesis = read_genesis(home)?;
    let log = BlockLog::open(Arc::new(RealDisk), &home.blocks(), Layout::default()).map_err(OpenError::Log)?;
    let log = Arc::new(log);
    let tip = log.tip().unwrap_or_default();
    verify_blocks(&log, Height(tip.0.saturating_sub(CHECKED_FIRST).max(1)), tip).map_err(OpenError::Log)?;
    let (wal, journal) = open_journal(home)?;
    let ledger = open_state(home, loaded, &genesis, &log)?;

    let tip = ledger.tip();
    let last = match tip.height {
        Height(0) => Certificate::genesis(genesis.hash),
        height => {
            LoggedBlocks(log.clone())
                .entry(height)
                .ok_or(OpenError::MissingBlock(height))?
                .certificate
        }
    };
    let validator = home
        .validator_key()
        .exists()
        .then(|| key::read(&home.validator_key()))
        .transpose()?;
    info!(height = %tip.height, voting = validator.is_some(), "opened the chain");
    let mut first = Vec::new();
    let params = params(loaded, &genesis);
    let node = Node::recover(params, validator, ledger, last, &journal, now, &mut first)?;
    Ok(Opened {
        node,
        first,
        wal,
        log,
        chain_id: genesis.spec.chain_id,
    })
}

/// Reads these blocks so that their checksums are verified: a validator must have all blocks below the one it votes
/// on.
fn verify_blocks(log: &BlockLog, from: Height, to: Height) -> Result<(), JournalError> {
    (from.0..=to.0).try_for_each(|height| log.read(Height(height)).map(|_| ()))
}

/// Verifies the blocks that were too many to verify before the start. Returns the error of the first that is
/// damaged.
pub fn verify_older_blocks(log: &BlockLog, stop: &CancellationToken) -> Option<JournalError> {
    let tip = log.tip().unwrap_or_default();
    let older = 1..tip.0.saturating_sub(CHECKED_FIRST).max(1);
    older
        .map(Height)
        .take_while(|_| !stop.is_cancelled())
        .find_map(|height| log.read(height).err())
}

/// Reads and checks the genesis file of a node.
pub fn read_genesis(home: &Home) -> Result<ChainGenesis, OpenError> {
    let file = home.genesis();
    let text = std::fs::read(&file).map_err(|source| OpenError::NoGenesis {
        file: file.clone(),
        source,
    })?;
    ChainGenesis::from_json(&text).map_err(|source| OpenError::Genesis { file, source })
}

/// Opens the journal. A damaged one is an error that stops the node: its text says where the damage is and what the
/// operator can do.
fn open_journal(home: &Home) -> Result<(Wal, JournalState), OpenError> {
    match Wal::open(Arc::new(RealDisk), &home.journal()) {
        Ok((wal, found)) if found.height == Height(0) => Ok((wal, JournalState::Missing)),
        Ok((wal, found)) => Ok((wal, JournalState::At(found.height, found.entries))),
        Err(error) => Err(OpenError::Journal(error)),
    }
}

/// Opens the state and executes the logged blocks above it. If that fails the state is at fault, not the log: it is
/// moved aside, and everything is executed again, once.
fn open_state(home: &Home, loaded: &Loaded, genesis: &ChainGenesis, log: &Arc<BlockLog>) -> Result<Ledger, OpenError> {
    match try_state(home, loaded, genesis, log) {
        // Data of another chain is a mistake of the operator, not damage.
        Err(error @ OpenError::Ledger(ledger::OpenError::OtherChain { .. })) => Err(error),
        Err(error @ (OpenError::Table(table::OpenError::Io { .. }) | OpenError::MissingBlock(_))) => Err(error),
        Err(error) => {
            let aside = table::move_aside(&home.state()).map_err(|source| OpenError::MoveAside {
                dir: home.state(),
                source,
            })?;
            warn!(why = chained(&error), aside = %aside.display(), "the state is rebuilt from the block log");
            try_state(home, loaded, genesis, log)
        }
        opened => opened,
    }
}

fn try_state(home: &Home, loaded: &Loaded, genesis: &ChainGenesis, log: &Arc<BlockLog>) -> Result<Ledger, OpenError> {
    let storage = &loaded.config.storage;
    let history = match storage.history_blocks {
        History::Blocks(blocks) => Some(blocks),
        History::Archive => None,
    };
    let table = Table::open(&home.state(), storage.cache.0)?;
    let options = Options {
        history,
        nodes_max: NODES_MAX,
    };
    let mut ledger = Ledger::open(StateTable(table), options, genesis, SenderCache::new(SENDERS_MAX))?;
    let (from, tip) = (ledger.tip().height, log.tip().unwrap_or_default());
    if from > tip {
        // The log is the truth, and a repair may have cut it: the state must go with it.
        return Err(OpenError::StateAhead { state: from, log: tip });
    }
    let blocks = LoggedBlocks(log.clone());
    for height in (from.0 + 1..=tip.0).map(Height) {
        let entry = blocks.entry(height).ok_or(OpenError::MissingBlock(height))?;
        ledger
            .replay(&entry.block)
            .map_err(|source| OpenError::Replay { height, source })?;
        if ledger.unflushed() >= REPLAY_FLUSH_EVERY {
            info!(%height, %tip, "executing the block log again");
            ledger.flush().map_err(|source| OpenError::Replay {
                height,
                source: source.into(),
            })?;
        }
    }
    if from < tip {
        info!(from = %from, to = %tip, "brought the state up to the block log");
    }
    Ok(ledger)
}

/// Settings of the consensus machine: the operator's where set, otherwise the chain's.
fn params(loaded: &Loaded, genesis: &ChainGenesis) -> Params {
    let (config, timing) = (&loaded.config, &genesis.params.timing);
    let pick = |key: &str, set: Duration, chain_ms: u64| match loaded.origin(key) {
        Some(Origin::Flag(_) | Origin::Env(_) | Origin::File(_)) => set,
        Some(Origin::Preset(_) | Origin::Default) | None => Duration::from_millis(chain_ms),
    };
    let own = &config.consensus;
    let propose = pick("consensus.timeout_propose", own.timeout_propose.0, timing.propose_ms);
    let delta = pick("consensus.timeout_delta", own.timeout_delta.0, timing.round_ms);
    let timeouts = Timeouts {
        propose,
        propose_delta: delta,
        prevote: pick("consensus.timeout_prevote", own.timeout_prevote.0, timing.prevote_ms),
        prevote_delta: delta,
        precommit: pick(
            "consensus.timeout_precommit",
            own.timeout_precommit.0,
            timing.precommit_ms,
        ),
        precommit_delta: delta,
        rebroadcast: propose,
        max_timeout: propose * 20,
    };
    let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Params {
        domain: Domain {
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash.0,
        },
        timeouts,
        heartbeat_ms: millis(pick("consensus.heartbeat", own.heartbeat.0, timing.heartbeat_ms)),
        interval_min_ms: millis(pick(
            "consensus.min_block_interval",
            own.min_block_interval.0,
            timing.interval_min_ms,
        )),
        block_bytes_max: BLOCK_BYTES_MAX,
        block_gas: genesis.header.gas_limit,
        pool: Limits {
            transactions: config.mempool.max_transactions as usize,
            per_sender: config.mempool.max_per_sender as usize,
            bytes: config.mempool.max_bytes.to_usize(),
            bump_percent: config.mempool.min_price_bump_percent,
            ..Limits::default()
        },
    }
}

//! From a folder to a machine that may vote: log, journal, state, in that order of trust.

use std::{path::PathBuf, sync::Arc, time::Duration};

use config::{History, Loaded, Origin};
use consensus::{
    engine::Timeouts,
    execution::Execution,
    mempool::Limits,
    node::{Effect, Journalled, Node, Params, RecoverError},
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
    home::Home,
    key::{self, KeyError},
    errors::chained,
};

/// Transaction bytes in a block that this node builds.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Senders remembered: every transaction of a few full blocks.
const SENDERS_MAX: usize = 100_000;
/// Blocks between flushes while the state is brought up to the log.
const REPLAY_FLUSH_EVERY: usize = 512;
/// Blocks below the tip that are read back before the node starts; older ones are read while it runs.
const CHECKED_FIRST: u64 = 4096;
/// Trie nodes kept in memory.
const NODES_MAX: usize = 200_000;

/// Why the chain's data cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no genesis file.
    #[error("{} cannot be read; run `openledger init` first", file.display())]
    NoGenesis {
        /// Where it should be.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The genesis file is wrong.
    #[error("{} is not a genesis of this chain", file.display())]
    Genesis {
        /// Where.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: GenesisError,
    },
    /// The block log is damaged or of another kind.
    #[error("could not open the block log")]
    Log(#[source] JournalError),
    /// The journal cannot be read at all.
    #[error("could not open the consensus journal")]
    Journal(#[source] JournalError),
    /// The state database cannot be opened, and neither can a new one.
    #[error("could not open the state database")]
    Table(#[from] table::OpenError),
    /// The executor refuses the data, also after it was rebuilt.
    #[error(transparent)]
    Ledger(#[from] ledger::OpenError),
    /// A block of the log does not follow from those before it.
    #[error("block {height} of the block log does not follow; run `openledger chain repair`")]
    Replay {
        /// Which.
        height: Height,
        /// Why.
        #[source]
        source: ReplayError,
    },
    /// A block of the log cannot be read.
    #[error("block {0} of the block log cannot be read; run `openledger chain repair`")]
    Hole(Height),
    /// The state knows blocks that the log does not have.
    #[error("the state is at block {state}, the block log ends at {log}")]
    Ahead {
        /// Where the state is.
        state: Height,
        /// Where the log ends.
        log: Height,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The machine does not come up.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A damaged database could not be moved out of the way.
    #[error("could not move {} aside", dir.display())]
    Aside {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Everything below the network, open and up to date.
pub struct Opened {
    pub node: Node<Ledger>,
    pub first: Vec<Effect>,
    pub wal: Wal,
    pub log: Arc<BlockLog>,
    pub chain_id: u64,
}

/// Opens what lies in `home`.
pub fn open(home: &Home, loaded: &Loaded, now: Time) -> Result<Opened, OpenError> {
    let genesis = read_genesis(home)?;
    let log = BlockLog::open(Arc::new(RealDisk), &home.blocks(), Layout::default()).map_err(OpenError::Log)?;
    let log = Arc::new(log);
    let tip = log.tip().unwrap_or_default();
    read_back(&log, Height(tip.0.saturating_sub(CHECKED_FIRST).max(1)), tip).map_err(OpenError::Log)?;
    let (wal, journalled) = open_journal(home)?;
    let ledger = open_state(home, loaded, &genesis, &log)?;

    let tip = ledger.tip();
    let last = match tip.height {
        Height(0) => Certificate::genesis(genesis.hash),
        height => {
            LoggedBlocks(log.clone())
                .entry(height)
                .ok_or(OpenError::Hole(height))?
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
    let node = Node::recover(params, validator, ledger, last, &journalled, now, &mut first)?;
    Ok(Opened {
        node,
        first,
        wal,
        log,
        chain_id: genesis.spec.chain_id,
    })
}

/// Reads these blocks, whose checksums must hold: whoever votes on a block has all before it.
fn read_back(log: &BlockLog, from: Height, to: Height) -> Result<(), JournalError> {
    (from.0..=to.0).try_for_each(|height| log.read(Height(height)).map(|_| ()))
}

/// Reads the blocks that were too many to read before the start. Gives what is wrong with the first that does not hold.
pub fn read_older(log: &BlockLog, stop: &CancellationToken) -> Option<JournalError> {
    let tip = log.tip().unwrap_or_default();
    let older = 1..tip.0.saturating_sub(CHECKED_FIRST).max(1);
    older
        .map(Height)
        .take_while(|_| !stop.is_cancelled())
        .find_map(|height| log.read(height).err())
}

/// Reads and checks the genesis file of a home.
pub fn read_genesis(home: &Home) -> Result<ChainGenesis, OpenError> {
    let file = home.genesis();
    let text = std::fs::read(&file).map_err(|source| OpenError::NoGenesis {
        file: file.clone(),
        source,
    })?;
    ChainGenesis::from_json(&text).map_err(|source| OpenError::Genesis { file, source })
}

/// A journal that is damaged stops the node: its error says where, and what the operator can do.
fn open_journal(home: &Home) -> Result<(Wal, Journalled), OpenError> {
    match Wal::open(Arc::new(RealDisk), &home.journal()) {
        Ok((wal, found)) if found.height == Height(0) => Ok((wal, Journalled::None)),
        Ok((wal, found)) => Ok((wal, Journalled::At(found.height, found.entries))),
        Err(error) => Err(OpenError::Journal(error)),
    }
}

/// Opens the state and executes the blocks that the log has above it. If that fails the state is at fault, not the log:
/// it is moved aside and everything is executed again, once.
fn open_state(home: &Home, loaded: &Loaded, genesis: &ChainGenesis, log: &Arc<BlockLog>) -> Result<Ledger, OpenError> {
    match try_state(home, loaded, genesis, log) {
        // Another chain's data is a mistake of the operator's, not damage.
        Err(error @ OpenError::Ledger(ledger::OpenError::Foreign { .. })) => Err(error),
        Err(error @ (OpenError::Table(table::OpenError::Io { .. }) | OpenError::Hole(_))) => Err(error),
        Err(error) => {
            let aside = table::move_aside(&home.state()).map_err(|source| OpenError::Aside {
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
        // The log is the truth, and it may have been cut by a repair: the state has to go with it.
        return Err(OpenError::Ahead { state: from, log: tip });
    }
    let blocks = LoggedBlocks(log.clone());
    for height in (from.0 + 1..=tip.0).map(Height) {
        let entry = blocks.entry(height).ok_or(OpenError::Hole(height))?;
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

/// What the operator set counts; what was left alone comes from the chain.
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

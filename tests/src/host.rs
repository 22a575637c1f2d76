//! One simulated node: a disk that can fail, and above it the log, the journal, the executor and the machine of a daemon.
//! Performs effects as the daemon's shell does, in order, and can die before any of them.

use std::{path::Path, sync::Arc, time::Duration};

use consensus::{
    bft::Timeouts,
    execution::Execution,
    node::{Effect, Input, JournalState, Node, Params},
};
use evm::{
    genesis::ChainGenesis,
    ledger::Ledger,
    senders::SenderCache,
    state::{MemKv, Options},
};
use protocol::{
    Height, Time, codec,
    crypto::{Domain, SecretKey},
    message::{
        chain::{BODY_MAX, Entry},
        vote::Certificate,
    },
};
use storage::{BlockLog, FaultDisk, Wal, block_log::Layout};

use crate::{byzantine::Behaviour, forge::Forge, plan::Sabotage};

/// The executor of a simulated node.
pub type Chain = Forge<Ledger<Arc<MemKv>>>;

const JOURNAL_BYTES: u64 = 64 << 10;
const SEGMENT_BYTES: u64 = 256 << 10;
/// Blocks between flushes of the state: small, so that restarts find all sorts of gaps.
const FLUSH_EVERY: u64 = 3;

/// What a host is for as long as the run lasts.
pub struct Host {
    pub(crate) behaviour: Behaviour,
    sabotage: Option<Sabotage>,
    seed: [u8; 32],
    disk: FaultDisk,
    state: Arc<MemKv>,
    pub(crate) up: Option<Up>,
    /// The highest block it has shown to anyone.
    pub(crate) shown: Height,
}

/// What is lost when it dies.
pub struct Up {
    pub(crate) node: Node<Chain>,
    wal: Wal,
    pub(crate) log: BlockLog,
    pub(crate) tx_validator: evm::pool_tx::TxValidator,
    unflushed: u64,
}

/// What the world has to do for a host.
pub enum Outgoing {
    /// An effect that leaves the host.
    Speak(Effect),
    /// A block was written to the log.
    Logged(Height, Vec<u8>),
}

impl Host {
    /// A host with an empty disk.
    pub fn new(behaviour: Behaviour, seed: [u8; 32], sabotage: Option<Sabotage>) -> Self {
        let (disk, state) = (FaultDisk::new(), Arc::new(MemKv::default()));
        Self {
            behaviour,
            sabotage,
            seed,
            disk,
            state,
            up: None,
            shown: Height(0),
        }
    }

    /// The key it signs with.
    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(self.seed)
    }

    /// The last block in its log.
    pub fn tip(&self) -> Height {
        self.up.as_ref().map_or(Height(0), |up| up.node.tip().height)
    }

    /// Comes up from what its disk has, as a daemon does: log, state, the gap between them, journal, machine.
    pub fn start(&mut self, now: Time, genesis: &ChainGenesis) -> Result<Vec<Effect>, String> {
        let disk: Arc<FaultDisk> = Arc::new(self.disk.clone());
        let words = |error: &dyn std::error::Error| base::errors::chained(error);
        let layout = Layout {
            segment_bytes: SEGMENT_BYTES,
            ..Layout::default()
        };
        let log = BlockLog::open(disk.clone(), Path::new("blocks"), layout).map_err(|error| words(&error))?;
        let (wal, recovered) =
            Wal::open_sized(disk, Path::new("journal"), JOURNAL_BYTES).map_err(|error| words(&error))?;
        let senders = SenderCache::new(1024);
        let mut ledger =
            Ledger::open(self.state.clone(), Options::default(), genesis, senders).map_err(|error| words(&error))?;

        let mut last = Certificate::genesis(genesis.hash);
        let tip = log.tip().unwrap_or_default();
        if ledger.tip().height > tip {
            return Err(format!(
                "its state is at {}, its log ends at {tip}",
                ledger.tip().height
            ));
        }
        for height in ledger.tip().height.0.max(1)..=tip.0 {
            let bytes = log
                .read(Height(height))
                .map_err(|error| words(&error))?
                .ok_or("its log has a hole")?;
            let entry: Entry = codec::decode(&bytes, BODY_MAX).map_err(|error| words(&error))?;
            if Height(height) > ledger.tip().height {
                ledger.replay(&entry.block).map_err(|error| words(&error))?;
            }
            last = entry.certificate;
        }
        let journalled = match recovered.height {
            Height(0) => JournalState::Missing,
            height if self.sabotage == Some(Sabotage::IgnoredJournal) => JournalState::At(height, Vec::new()),
            height => JournalState::At(height, recovered.entries),
        };
        let tx_validator = ledger.tx_validator();
        let params = params(genesis);
        let forge = Forge::new(
            ledger,
            self.behaviour == Behaviour::Forger,
            self.sabotage == Some(Sabotage::BlindExecutor),
        );
        let mut todo = Vec::new();
        let node = Node::recover(params, Some(self.key()), forge, last, &journalled, now, &mut todo)
            .map_err(|error| words(&error))?;
        self.up = Some(Up {
            node,
            wal,
            log,
            tx_validator,
            unflushed: 0,
        });
        Ok(todo)
    }

    /// Dies: by a power cut, which loses and tears what was not synced, or by a kill, which does not. The state database
    /// may be gone afterwards: it is a cache.
    pub fn die(&mut self, power_cut: bool, lose_state: bool, seed: u64) {
        self.up = None;
        if power_cut {
            self.disk.crash(seed)
        } else {
            self.disk.kill()
        }
        if lose_state {
            self.state = Arc::new(MemKv::default());
        }
    }

    /// Gives the machine one input.
    pub fn step(&mut self, now: Time, input: Input) -> Result<Vec<Effect>, String> {
        let Some(up) = &mut self.up else { return Ok(Vec::new()) };
        let mut todo = Vec::new();
        up.node
            .step(now, input, &mut todo)
            .map_err(|error| base::errors::chained(&error))?;
        Ok(todo)
    }

    /// Does one effect on this host's disk, or hands it out.
    pub fn perform(&mut self, effect: Effect) -> Result<Option<Outgoing>, String> {
        let Some(up) = &mut self.up else { return Ok(None) };
        let words = |error: &dyn std::error::Error| base::errors::chained(error);
        match effect {
            Effect::Journal(_) if self.sabotage == Some(Sabotage::NoJournal) => (),
            Effect::JournalSync if self.sabotage == Some(Sabotage::UnsyncedJournal) => (),
            Effect::LogSync if self.sabotage == Some(Sabotage::UnsyncedLog) => (),
            Effect::Journal(record) => up.wal.append(&record).map_err(|error| words(&error))?,
            Effect::JournalSync => up.wal.sync().map_err(|error| words(&error))?,
            Effect::JournalStart(height) => {
                if up.wal.height() < height {
                    up.wal.start_height(height).map_err(|error| words(&error))?;
                }
            }
            Effect::Log { height, entry } => {
                up.log.append(height, &entry).map_err(|error| words(&error))?;
                return Ok(Some(Outgoing::Logged(height, entry)));
            }
            Effect::LogSync => up.log.sync().map_err(|error| words(&error))?,
            Effect::Committed(committed) => {
                self.shown = self.shown.max(committed.tip.height);
                up.unflushed += 1;
                if up.unflushed >= FLUSH_EVERY {
                    up.node.exec.honest_mut().flush().map_err(|error| words(&error))?;
                    up.unflushed = 0;
                }
            }
            Effect::Event(_) | Effect::Verdict(..) => (),
            spoken => return Ok(Some(Outgoing::Speak(spoken))),
        }
        Ok(None)
    }
}

/// The chain that a genesis makes.
pub fn domain(genesis: &ChainGenesis) -> Domain {
    Domain {
        chain_id: genesis.spec.chain_id,
        genesis: genesis.hash.0,
    }
}

fn params(genesis: &ChainGenesis) -> Params {
    let ms = Duration::from_millis;
    let timing = &genesis.params.timing;
    let timeouts = Timeouts {
        propose: ms(timing.propose_ms),
        propose_delta: ms(timing.round_ms),
        prevote: ms(timing.prevote_ms),
        prevote_delta: ms(timing.round_ms),
        precommit: ms(timing.precommit_ms),
        precommit_delta: ms(timing.round_ms),
        rebroadcast: ms(timing.propose_ms),
        max_timeout: ms(10 * timing.propose_ms),
    };
    Params {
        domain: domain(genesis),
        timeouts,
        heartbeat_ms: timing.heartbeat_ms,
        interval_min_ms: timing.interval_min_ms,
        block_bytes_max: 1 << 20,
        block_gas: genesis.header.gas_limit,
        pool: consensus::mempool::Limits::default(),
    }
}

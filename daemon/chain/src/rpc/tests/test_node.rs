//! A chain of one validator in this process, with JSON-RPC, for tests of this crate and of `gateway`.

use std::{net::SocketAddr, path::Path, sync::Arc};

use consensus::{
    bft::Timeouts,
    node::{JournalState, Node, Params},
};
use evm::genesis::{ChainGenesis, Timing};
use jsonrpsee::server::ServerHandle;
use net::{ChainTag, Net, NetConfig};
use protocol::{
    crypto::{Domain, SecretKey},
    message::vote::Certificate,
};
use storage::{BlockLog, Disk, RealDisk, Table, Wal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use base::{clock::Clock, events::Events, home::Home};
use chain::{
    actor::{self, ChainError, Command, Ledger},
    genesis::{DEV_CHAIN_ID, development},
    ingress::{self, journal::PoolJournal},
    rpc::{self, backend::NodeBackend},
    state::StateTable,
};

/// A running node of one validator.
pub(crate) struct TestNode {
    /// Address of JSON-RPC.
    pub(crate) rpc: SocketAddr,
    pub(crate) running: NodeBackend,
    server: ServerHandle,
    thread: std::thread::JoinHandle<Result<(), ChainError>>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl TestNode {
    /// Starts a new chain in `root`. The mempool's journal is the one found there.
    pub(crate) async fn start(root: &Path) -> Self {
        Self::start_with(root, Arc::new(RealDisk)).await
    }

    /// Starts a new chain, with the mempool's journal on another disk.
    pub(crate) async fn start_with(root: &Path, pool_disk: Arc<dyn Disk>) -> Self {
        let home = Home::new(root);
        for old in [home.blocks(), home.journal(), home.state()] {
            let _ = std::fs::remove_dir_all(old);
        }
        let key = SecretKey::from_seed([1; 32]);
        let timing = Timing {
            heartbeat_ms: 100,
            ..Timing::default()
        };
        let genesis = ChainGenesis::new(development(&[key.validator()], 1000, timing)).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let table = StateTable(Table::open(&home.state(), 16 << 20).unwrap());
        let ledger = Ledger::open(table, Default::default(), &genesis, Default::default()).unwrap();
        let tx_validator = ledger.tx_validator();
        let log = Arc::new(BlockLog::open(disk.clone(), &home.blocks(), Default::default()).unwrap());
        let (wal, _) = Wal::open(disk, &home.journal()).unwrap();
        let clock = Clock::new();
        let (mut first, last) = (Vec::new(), Certificate::genesis(genesis.hash));
        let params = params(&genesis);
        let node = Node::recover(
            params,
            Some(key),
            ledger,
            last,
            &JournalState::Missing,
            clock.now(),
            &mut first,
        )
        .unwrap();
        let tag = ChainTag {
            chain_id: DEV_CHAIN_ID,
            genesis: genesis.hash.0,
        };
        let (net, _events) = Net::start(NetConfig::new([2; 32], tag)).await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let parts = actor::Parts {
            node,
            first,
            wal,
            log,
            net: net.clone(),
            clock,
            events: Events::default(),
            flush_every: 8,
            runtime,
        };
        let (chain, thread) = actor::spawn(parts).unwrap();

        let stop = CancellationToken::new();
        let journal = PoolJournal::open(pool_disk, &home.mempool()).unwrap();
        let task = ingress::Parts {
            chain: chain.clone(),
            net: net.clone(),
            tx_validator,
            journal,
            stop: stop.clone(),
        };
        let (ingress, task) = ingress::spawn(task);
        let running = NodeBackend { chain, ingress, net };
        let settings = rpc::Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..rpc::Settings::default()
        };
        let (listener, rpc) = base::listen::listen(settings.listen, "rpc.listen").await.unwrap();
        let server = rpc::serve(listener, &settings, Arc::new(running.clone()), &stop).unwrap();
        Self {
            rpc,
            running,
            server,
            thread,
            task,
            stop,
        }
    }

    /// Stops the node. Transactions that were not acknowledged may be lost.
    pub(crate) async fn end(self) {
        let _ = self.server.stop();
        self.server.stopped().await;
        self.stop.cancel();
        self.task.await.unwrap();
        self.running.chain.send(Command::Stop).await.unwrap();
        tokio::task::spawn_blocking(|| self.thread.join().unwrap().unwrap())
            .await
            .unwrap();
        self.running.net.shutdown().await;
    }
}

fn params(genesis: &ChainGenesis) -> Params {
    Params {
        domain: Domain {
            chain_id: DEV_CHAIN_ID,
            genesis: genesis.hash.0,
        },
        timeouts: Timeouts::default(),
        heartbeat_ms: genesis.params.timing.heartbeat_ms,
        interval_min_ms: genesis.params.timing.interval_min_ms,
        block_bytes_max: 1 << 20,
        block_gas: genesis.header.gas_limit,
        pool: Default::default(),
    }
}

//! Ethereum's JSON-RPC, over HTTP and WebSocket on one port.
//!
//! Blocks are final when they are committed, so `latest`, `safe` and `finalized` are the last block that is durable here,
//! and so is `pending`. Everything that reads the disk or runs the EVM is done away from the async threads, in a bounded
//! number of turns.

mod debug;
mod doorman;
mod eth;
pub mod failure;
pub mod ground;
mod net;
mod openledger;
mod param;
mod place;
mod shape;
mod testing;
#[cfg(test)]
mod tests;
mod txpool;
mod unread;
mod web3;

use std::{io, net::SocketAddr, sync::Arc};

use jsonrpsee::{
    Methods,
    core::middleware::RpcServiceBuilder,
    server::{BatchRequestConfig, IdProvider, PingConfig, ServerBuilder, ServerConfig, ServerHandle},
    types::SubscriptionId,
};
use protocol::Height;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use self::{failure::Failure, ground::Ground};
pub use self::{
    openledger::{Certified, CommitSignature},
    web3::client_version,
};
use crate::actor::{Head, View};
use base::entropy;

/// Answers longer than this are refused: a filter or a page of the mempool was too wide.
const ANSWER_BYTES_MAX: u32 = 64 << 20;
/// Subscriptions of one WebSocket connection.
const SUBSCRIPTIONS_MAX: u32 = 64;
/// Messages that wait for a slow WebSocket reader before it is not read from either.
const BUFFERED_MAX: u32 = 256;
/// Reads of the disk at once.
const READS_MAX: usize = 64;

/// How much JSON-RPC takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens: `rpc.listen`.
    pub listen: SocketAddr,
    /// The largest request: `rpc.max_body`.
    pub body_bytes_max: u32,
    /// Calls in one batch: `rpc.max_batch`.
    pub batch_max: u32,
    /// Connections at once: `rpc.max_connections`.
    pub connections_max: u32,
    /// Web pages that may call it: `rpc.allow_origins`.
    pub origins: Vec<String>,
    /// Calls and searches of logs at once.
    pub turns_max: usize,
    /// Blocks that one search of logs may cover.
    pub log_blocks_max: u64,
    /// Logs that one search may find.
    pub logs_max: usize,
    /// Whether the methods of `testing_` are there.
    pub testing: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8545)),
            body_bytes_max: 5 << 20,
            batch_max: 100,
            connections_max: 512,
            origins: Vec::new(),
            turns_max: std::thread::available_parallelism().map_or(4, usize::from).max(2),
            log_blocks_max: 10_000,
            logs_max: 20_000,
            testing: false,
        }
    }
}

/// What every method answers from. Clones are the same.
#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) ground: Arc<dyn Ground>,
    pub(crate) log_blocks_max: u64,
    pub(crate) logs_max: usize,
    pub(crate) tips: eth::fees::Tips,
    pub(crate) watches: eth::filters::Watches,
    /// The height when it started.
    pub(crate) started_at: u64,
    pub(crate) stop: CancellationToken,
    reads: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Rpc {
    fn new(settings: &Settings, ground: Arc<dyn Ground>, stop: &CancellationToken) -> Self {
        let started_at = ground.heads().borrow().height.0;
        Self {
            started_at,
            ground,
            log_blocks_max: settings.log_blocks_max,
            logs_max: settings.logs_max,
            tips: eth::fees::Tips::default(),
            watches: eth::filters::Watches::default(),
            stop: stop.clone(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            turns: Arc::new(Semaphore::new(settings.turns_max)),
        }
    }

    /// The last block shown.
    pub(crate) fn head(&self) -> Head {
        self.ground.heads().borrow().clone()
    }

    /// Reads the chain away from the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shown) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.turn(&self.reads, work).await
    }

    /// Reads the chain for long, or runs the EVM.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shown) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.turn(&self.turns, work).await
    }

    async fn turn<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Shown) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = turns
            .clone()
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        let head = self.head();
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work and not by whoever asked: they may hang up before it is done.
            let _turn = turn;
            work(&Shown {
                height: head.height,
                view: head.view,
            })
        });
        done.await
            .map_err(|_| Failure::Internal("the request failed inside the node; see its log".into()))?
    }

    fn methods(self) -> Methods {
        use eth::{
            blocks::EthBlocksServer, calls::EthCallsServer, fees::EthFeesServer, filters::EthFiltersServer,
            logs::EthLogsServer, simulate::EthSimulateServer, state::EthStateServer, subscribe::EthSubscribeServer,
            transactions::EthTransactionsServer,
        };
        let modules: [Methods; 14] = [
            debug::DebugServer::into_rpc(self.clone()).into(),
            EthBlocksServer::into_rpc(self.clone()).into(),
            EthCallsServer::into_rpc(self.clone()).into(),
            EthFeesServer::into_rpc(self.clone()).into(),
            EthFiltersServer::into_rpc(self.clone()).into(),
            EthLogsServer::into_rpc(self.clone()).into(),
            EthSimulateServer::into_rpc(self.clone()).into(),
            EthStateServer::into_rpc(self.clone()).into(),
            EthSubscribeServer::into_rpc(self.clone()).into(),
            EthTransactionsServer::into_rpc(self.clone()).into(),
            net::NetServer::into_rpc(self.clone()).into(),
            openledger::OpenledgerServer::into_rpc(self.clone()).into(),
            txpool::TxpoolServer::into_rpc(self).into(),
            web3::Web3Server::into_rpc(web3::Web3).into(),
        ];
        let mut methods = Methods::new();
        for module in modules {
            methods.merge(module).expect("no two files declare the same method");
        }
        methods
    }
}

/// The chain up to the last block shown, which may be behind what is committed by a sync of the disk.
pub(crate) struct Shown {
    pub(crate) height: Height,
    pub(crate) view: View,
}

/// Subscriptions are named as other nodes name them: hexadecimal digits that nobody can guess.
#[derive(Debug)]
struct Names;

impl IdProvider for Names {
    fn next_id(&self) -> SubscriptionId<'static> {
        SubscriptionId::Str(format!("0x{}", hex::encode(entropy::bytes::<16>())).into())
    }
}

/// Serves on `listener` until the handle is stopped.
pub fn serve(
    listener: TcpListener,
    settings: &Settings,
    ground: Arc<dyn Ground>,
    stop: &CancellationToken,
) -> io::Result<ServerHandle> {
    let config = ServerConfig::builder()
        .max_request_body_size(settings.body_bytes_max)
        .max_response_body_size(ANSWER_BYTES_MAX)
        .max_connections(settings.connections_max)
        .max_subscriptions_per_connection(SUBSCRIPTIONS_MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(settings.batch_max))
        .set_message_buffer_capacity(BUFFERED_MAX)
        .enable_ws_ping(PingConfig::new())
        .set_id_provider(Names)
        .build();
    let server = ServerBuilder::with_config(config)
        .set_rpc_middleware(RpcServiceBuilder::new().layer_fn(unread::Unread))
        .set_http_middleware(tower::ServiceBuilder::new().layer(doorman::Doorman::new(&settings.origins)))
        .build_from_tcp(listener.into_std()?)?;
    let rpc = Rpc::new(settings, ground, stop);
    let mut methods = rpc.clone().methods();
    if settings.testing {
        let testing = testing::TestingServer::into_rpc(rpc);
        methods.merge(testing).expect("no two files declare the same method");
    }
    Ok(server.start(methods))
}

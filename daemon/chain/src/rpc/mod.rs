//! Ethereum's JSON-RPC, over HTTP and WebSocket on one port.
//!
//! A block is final once it is committed, so `latest`, `safe`, `finalized` and `pending` all mean the last durable
//! block. Disk reads and EVM runs are done on blocking threads, a bounded number at a time.
//!
//! - `eth`: `eth_` methods. `debug`, `net`, `openledger`, `testing`, `txpool`, `web3`: the other namespaces, a file
//!   each.
//! - [`backend`]: the chain and mempool behind the methods. [`failure`]: errors and their codes.
//! - `block_id`, `param`: parsing of parameters. `convert`: from chain types to JSON-RPC types.
//! - `cors`, `param_errors`: middleware for cross-origin rules and for the text of parameter errors.

pub mod backend;
mod block_id;
mod convert;
mod cors;
mod debug;
mod eth;
pub mod failure;
mod net;
mod openledger;
mod param;
mod param_errors;
mod testing;
#[cfg(test)]
mod tests;
mod txpool;
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

use self::{backend::Backend, failure::Failure};
pub use self::{
    openledger::{Certified, CommitSignature},
    web3::client_version,
};
use crate::actor::{Head, View};
use base::entropy;

/// Largest response in bytes. A longer one becomes an error: the filter or the mempool listing was too wide.
const ANSWER_BYTES_MAX: u32 = 64 << 20;
/// Subscriptions of one WebSocket connection.
const SUBSCRIPTIONS_MAX: u32 = 64;
/// Messages queued for a slow WebSocket client before its requests are no longer read.
const BUFFERED_MAX: u32 = 256;
/// Disk reads at a time.
const READS_MAX: usize = 64;

/// Settings of the JSON-RPC server, from the `rpc` section of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on: `rpc.listen`.
    pub listen: SocketAddr,
    /// Largest request in bytes: `rpc.max_body`.
    pub body_bytes_max: u32,
    /// Most calls in one batch: `rpc.max_batch`.
    pub batch_max: u32,
    /// Most connections at a time: `rpc.max_connections`.
    pub connections_max: u32,
    /// Origins of web pages that may call it: `rpc.allow_origins`.
    pub origins: Vec<String>,
    /// EVM calls and log searches at a time. More wait.
    pub heavy_calls_max: usize,
    /// Most blocks that one log search may cover.
    pub log_blocks_max: u64,
    /// Most logs that one search may find.
    pub logs_max: usize,
    /// If true, the methods of `testing_` are served.
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
            heavy_calls_max: std::thread::available_parallelism().map_or(4, usize::from).max(2),
            log_blocks_max: 10_000,
            logs_max: 20_000,
            testing: false,
        }
    }
}

/// State that all methods share. Clones share it.
#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) log_blocks_max: u64,
    pub(crate) logs_max: usize,
    pub(crate) suggested_tip_cache: eth::fees::SuggestedTip,
    pub(crate) filters: eth::filters::InstalledFilters,
    /// The height at the start of the server.
    pub(crate) started_at: u64,
    pub(crate) stop: CancellationToken,
    read_permits: Arc<Semaphore>,
    heavy_permits: Arc<Semaphore>,
}

impl Rpc {
    fn new(settings: &Settings, backend: Arc<dyn Backend>, stop: &CancellationToken) -> Self {
        let started_at = backend.heads().borrow().height.0;
        Self {
            started_at,
            backend,
            log_blocks_max: settings.log_blocks_max,
            logs_max: settings.logs_max,
            suggested_tip_cache: eth::fees::SuggestedTip::default(),
            filters: eth::filters::InstalledFilters::default(),
            stop: stop.clone(),
            read_permits: Arc::new(Semaphore::new(READS_MAX)),
            heavy_permits: Arc::new(Semaphore::new(settings.heavy_calls_max)),
        }
    }

    /// The last published head.
    pub(crate) fn head(&self) -> Head {
        self.backend.heads().borrow().clone()
    }

    /// Reads the chain on a blocking thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run_blocking(&self.read_permits, work).await
    }

    /// Runs the EVM or a long read on a blocking thread.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run_blocking(&self.heavy_permits, work).await
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        work: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let head = self.head();
        let done = tokio::task::spawn_blocking(move || {
            // The permit belongs to the work, not to the request: a client may hang up before the work is done.
            let _permit = permit;
            work(&Snapshot {
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

/// The chain up to the last published head. A block that is committed but not durable yet is beyond it.
pub(crate) struct Snapshot {
    pub(crate) height: Height,
    pub(crate) view: View,
}

/// Makes subscription ids as other nodes do: random hexadecimal digits that cannot be guessed.
#[derive(Debug)]
struct SubscriptionIds;

impl IdProvider for SubscriptionIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        SubscriptionId::Str(format!("0x{}", hex::encode(entropy::bytes::<16>())).into())
    }
}

/// Serves JSON-RPC on `listener` until the returned handle is stopped. `stop` ends subscriptions.
pub fn serve(
    listener: TcpListener,
    settings: &Settings,
    backend: Arc<dyn Backend>,
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
        .set_id_provider(SubscriptionIds)
        .build();
    let server = ServerBuilder::with_config(config)
        .set_rpc_middleware(RpcServiceBuilder::new().layer_fn(param_errors::ParamErrors))
        .set_http_middleware(tower::ServiceBuilder::new().layer(cors::CorsLayer::new(&settings.origins)))
        .build_from_tcp(listener.into_std()?)?;
    let rpc = Rpc::new(settings, backend, stop);
    let mut methods = rpc.clone().methods();
    if settings.testing {
        let testing = testing::TestingServer::into_rpc(rpc);
        methods.merge(testing).expect("no two files declare the same method");
    }
    Ok(server.start(methods))
}

//! What people and programs ask this node: Ethereum's JSON-RPC on one port, health and figures on another, and the
//! operator's own commands on a socket that nobody else can open ([`local`]).
//!
//! The ports only read the chain, and hand transactions in; they cannot change this node. Who may reach them is decided by
//! where they listen, and for web pages by [`base::guard`].

pub mod local;
pub mod ops;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jsonrpsee::server::ServerHandle;
use net::NetHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use base::listen::{ListenError, listen};
pub use chain::{
    actor::Chain,
    ingress::Ingress,
    rpc::{self, backend::NodeBackend},
};
use data::Data;

/// How long requests under way may take once the node is stopping.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// The parts of a running node that the interfaces speak to.
#[derive(Clone)]
pub struct Parts {
    /// The chain.
    pub chain: Chain,
    /// The way in for transactions.
    pub ingress: Ingress,
    /// The network.
    pub net: NetHandle,
    /// What is shared, once it is.
    pub data: Arc<OnceLock<Data>>,
    /// What the node is.
    pub about: Arc<About>,
}

impl Parts {
    /// What JSON-RPC stands on.
    fn running(&self) -> NodeBackend {
        NodeBackend {
            chain: self.chain.clone(),
            ingress: self.ingress.clone(),
            net: self.net.clone(),
        }
    }
}

/// What a node says about itself that does not change while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// What its operator calls it.
    pub moniker: String,
    /// The network it is on, by name.
    pub network: String,
    /// Whether it was told to have peers; then it is not ready without any.
    pub wants_peers: bool,
    /// When it started.
    pub started: Instant,
}

/// Where the interfaces listen and how much they take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// JSON-RPC.
    pub rpc: rpc::Settings,
    /// Health and figures: `api.listen`.
    pub ops: SocketAddr,
}

/// The running interfaces.
pub struct Api {
    /// Where JSON-RPC listens.
    pub rpc: SocketAddr,
    /// Where health and figures are.
    pub ops: SocketAddr,
    rpc_server: ServerHandle,
    ops_server: JoinHandle<()>,
    stop: CancellationToken,
}

impl Api {
    /// Starts both.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, ListenError> {
        let (rpc_listener, rpc) = listen(settings.rpc.listen, "rpc.listen").await?;
        let (ops_listener, ops) = listen(settings.ops, "api.listen").await?;
        let stop = CancellationToken::new();
        let rpc_server =
            rpc::serve(rpc_listener, &settings.rpc, Arc::new(parts.running()), &stop).map_err(|source| {
                ListenError::Listen {
                    address: rpc,
                    key: "rpc.listen",
                    source,
                }
            })?;
        let ops_server = tokio::spawn(ops::serve(ops_listener, ops, parts, stop.clone()));
        Ok(Self {
            rpc,
            ops,
            rpc_server,
            ops_server,
            stop,
        })
    }

    /// Stops taking requests and returns when those under way are answered.
    pub async fn stop(self) {
        self.stop.cancel();
        // An error means that it has stopped already.
        let _ = self.rpc_server.stop();
        let abort = self.ops_server.abort_handle();
        let both = async { tokio::join!(self.rpc_server.stopped(), self.ops_server) };
        // Whoever never finishes a request does not keep the node from ending.
        if tokio::time::timeout(DRAIN_WITHIN, both).await.is_err() {
            abort.abort();
        }
    }
}

#[cfg(test)]
mod tests;

//! The HTTP interfaces of a node: Ethereum's JSON-RPC on one port, health and metrics on another, and the operator's API on
//! a Unix socket that other users cannot open ([`local`]).
//!
//! The ports only read the chain and accept transactions; they cannot change this node. The listen address decides which
//! machines reach them, and [`base::guard`] which web pages do.

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

/// Time for requests in progress to end once the node is stopping.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// The parts of a running node that the interfaces use.
#[derive(Clone)]
pub struct Parts {
    pub chain: Chain,
    /// Accepts transactions.
    pub ingress: Ingress,
    pub net: NetHandle,
    /// Datasets and pins; set once they are open.
    pub data: Arc<OnceLock<Data>>,
    pub about: Arc<About>,
}

impl Parts {
    /// The backend of JSON-RPC.
    fn running(&self) -> NodeBackend {
        NodeBackend {
            chain: self.chain.clone(),
            ingress: self.ingress.clone(),
            net: self.net.clone(),
        }
    }
}

/// Facts about a node that do not change while it runs.
#[derive(Clone, Debug)]
pub struct About {
    /// Name chosen by the operator.
    pub moniker: String,
    /// Name of the network.
    pub network: String,
    /// True if peers are configured; then the node is not ready without any.
    pub wants_peers: bool,
    pub started: Instant,
}

/// Listen addresses and limits of the interfaces.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rpc: rpc::Settings,
    /// Address of health and metrics: `api.listen`.
    pub ops: SocketAddr,
}

/// The running interfaces.
pub struct Api {
    /// Bound address of JSON-RPC.
    pub rpc: SocketAddr,
    /// Bound address of health and metrics.
    pub ops: SocketAddr,
    rpc_server: ServerHandle,
    ops_server: JoinHandle<()>,
    stop: CancellationToken,
}

impl Api {
    /// Starts both ports.
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

    /// Stops taking requests and returns when those in progress have a response, or after a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        // An error means that the server has stopped already.
        let _ = self.rpc_server.stop();
        let abort = self.ops_server.abort_handle();
        let both = async { tokio::join!(self.rpc_server.stopped(), self.ops_server) };
        // A client that never finishes its request must not keep the node from ending.
        if tokio::time::timeout(DRAIN_WITHIN, both).await.is_err() {
            abort.abort();
        }
    }
}

#[cfg(test)]
mod tests;

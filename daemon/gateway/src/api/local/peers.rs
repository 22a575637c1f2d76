//! Peers: whom this node is connected to, and whom it should reach out to now.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use net::{NetHandle, PeerInfo};
use protocol::NodeId;
use serde::{Deserialize, Serialize};

use super::told;
use base::report::{Failure, Kind};

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLine {
    /// Who it is.
    pub id: NodeId,
    /// Where it is.
    pub address: String,
    /// Whether we reached out to it.
    pub outbound: bool,
    /// The software it says it runs.
    pub agent: String,
    /// What it did wrong of late; it is banned at 100.
    pub offence_points: u32,
}

/// Asks to reach out to an address.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Dial {
    address: String,
}

pub(super) fn routes() -> Router<NetHandle> {
    Router::new()
        .route("/v1/peers/list", post(list))
        .route("/v1/peers/dial", post(dial))
}

async fn list(State(net): State<NetHandle>) -> Response {
    told(|_| async move {
        let line = |peer: PeerInfo| PeerLine {
            id: peer.id,
            address: peer.address,
            outbound: peer.outbound,
            agent: peer.agent,
            offence_points: peer.offence_points,
        };
        Ok::<_, Failure>(net.peers().into_iter().map(line).collect::<Vec<_>>())
    })
}

async fn dial(State(net): State<NetHandle>, Json(dial): Json<Dial>) -> Response {
    told(|_| async move {
        net.dial(&dial.address)
            .map_err(|wrong| Failure::of(Kind::Usage, &wrong))
    })
}

//! Handlers for peers.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use net::{NetHandle, PeerInfo};

use super::streamed;
use base::{
    operator::peer::{DialRequest, PeerLine},
    report::{Failure, Kind},
};

pub(super) fn routes() -> Router<NetHandle> {
    Router::new()
        .route("/v1/peers/list", post(list))
        .route("/v1/peers/dial", post(dial))
}

async fn list(State(net): State<NetHandle>) -> Response {
    streamed(|_| async move {
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

async fn dial(State(net): State<NetHandle>, Json(dial): Json<DialRequest>) -> Response {
    streamed(|_| async move {
        net.dial(&dial.address)
            .map_err(|wrong| Failure::of(Kind::Usage, &wrong))
    })
}

//! Health and figures for the machine's own tools, and the status that the command line shows.
//!
//! `/healthz` is 200 while the chain's thread answers, `/readyz` while the node is of use to others; both say why not.
//! `/metrics` is text for Prometheus, `/v1/status` is a [`Status`]. Only requests that name this machine are answered.

mod metrics;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use consensus::node::Signing;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use base::{
    guard::{Guard, Refusal},
    operator::status::Status,
};
use chain::rpc::client_version;

use super::Parts;
use chain::actor::{Stopped, signing_text};

/// The chain's thread is stuck if it takes longer to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What only the chain's thread knows.
struct Inside {
    best_known: u64,
    round: u32,
    validators: u64,
    signing: Signing,
    waiting: u64,
    waiting_bytes: u64,
    node: bool,
}

/// Why a node is not well.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Unwell {
    #[error("the chain does not answer within {} s", ANSWERS_WITHIN.as_secs())]
    Stuck,
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("no peer is connected; check network.bootstrap, and that the addresses there can be reached")]
    Alone,
}

impl IntoResponse for Unwell {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, parts: Parts, stop: CancellationToken) {
    let guard = Arc::new(Guard::of_host(address));
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .route("/v1/status", get(status))
        .layer(middleware::from_fn_with_state(guard, only_ours))
        .with_state(parts);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(why) = served.await {
        warn!(error = %why, "health and figures are no longer served");
    }
}

/// Turns away requests for another host: a page whose name was made to point here.
async fn only_ours(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.headers(), true) {
        Err(Refusal::Host(host)) => {
            let text = format!(
                "this node does not answer for the host `{host}`; use localhost, or the address it listens on\n"
            );
            (StatusCode::FORBIDDEN, text).into_response()
        }
        // Neither pages nor tokens are asked for here.
        Ok(()) | Err(_) => next.run(request).await,
    }
}

async fn healthz(State(parts): State<Parts>) -> Result<&'static str, Unwell> {
    inside(&parts).await.map(|_| "ok\n")
}

async fn readyz(State(parts): State<Parts>) -> Result<&'static str, Unwell> {
    let inside = inside(&parts).await?;
    ready(parts.about.wants_peers, parts.net.peers().len(), inside.node).map(|()| "ready\n")
}

fn ready(wants_peers: bool, peers: usize, node: bool) -> Result<(), Unwell> {
    if wants_peers && peers == 0 && !node {
        Err(Unwell::Alone)
    } else {
        Ok(())
    }
}

async fn figures(State(parts): State<Parts>) -> Result<Response, Unwell> {
    let inside = inside(&parts).await?;
    let page = metrics::page(&parts, &inside);
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
        .into_response())
}

async fn status(State(parts): State<Parts>) -> Result<Json<Status>, Unwell> {
    let inside = inside(&parts).await?;
    let (head, about) = (parts.chain.head.borrow().clone(), &parts.about);
    // The header of the head itself: what is committed may be ahead of what is shown.
    let header = tokio::task::spawn_blocking({
        let view = head.view.clone();
        move || view.header(head.height.0)
    });
    let header = header.await.ok().and_then(Result::ok).flatten().unwrap_or_default();
    Ok(Json(Status {
        node_id: parts.net.id(),
        moniker: about.moniker.clone(),
        network: about.network.clone(),
        chain_id: head.view.spec().chain_id,
        genesis: head.view.genesis(),
        height: head.height.0,
        best_known_height: inside.best_known.max(head.height.0),
        head_hash: head.hash,
        state_root: header.state_root.to_string(),
        head_timestamp_s: header.timestamp,
        peers: parts.net.peers().len() as u64,
        round: inside.round,
        validators: inside.validators,
        signing: signing_text(&inside.signing),
        mempool_transactions: inside.waiting,
        mempool_bytes: inside.waiting_bytes,
        version: client_version(),
        uptime_s: about.started.elapsed().as_secs(),
    }))
}

/// Asks the chain's thread.
async fn inside(parts: &Parts) -> Result<Inside, Unwell> {
    let query = parts.chain.query(|node| {
        let (signing, validators) = (node.signing().clone(), node.voting().validators().len());
        Inside {
            best_known: node.best_known().0,
            round: node.round(),
            validators: validators as u64,
            node: validators == 1 && signing == Signing::On,
            signing,
            waiting: node.pool.len() as u64,
            waiting_bytes: node.pool.bytes() as u64,
        }
    });
    Ok(tokio::time::timeout(ANSWERS_WITHIN, query)
        .await
        .map_err(|_| Unwell::Stuck)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_wants_peers_is_ready_with_one_or_as_the_only_validator() {
        assert!(matches!(ready(true, 0, false), Err(Unwell::Alone)));
        for (wants, peers, node) in [(true, 1, false), (true, 0, true), (false, 0, false)] {
            assert!(ready(wants, peers, node).is_ok());
        }
    }
}

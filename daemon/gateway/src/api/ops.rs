//! Health, metrics and status, for tools on this machine.
//!
//! `/healthz` is 200 while the chain's thread responds, `/readyz` while the node can serve others; if not, they say why.
//! `/metrics` is for Prometheus, `/v1/status` returns a [`Status`]. Requests with a foreign `Host` header are refused.

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

/// If the chain's thread takes longer to respond, it counts as stuck.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// State that only the chain's thread knows.
struct ChainStatus {
    best_known: u64,
    round: u32,
    validators: u64,
    signing: Signing,
    waiting: u64,
    waiting_bytes: u64,
    sole_validator: bool,
}

/// Reason why a health check fails.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Unhealthy {
    #[error("the chain does not answer within {} s", ANSWERS_WITHIN.as_secs())]
    Stuck,
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("no peer is connected; check network.bootstrap, and that the addresses there can be reached")]
    Alone,
}

impl IntoResponse for Unhealthy {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{self}\n")).into_response()
    }
}

/// Serves until `stop` is cancelled.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, parts: Parts, stop: CancellationToken) {
    let guard = Arc::new(Guard::of_host(address));
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .layer(middleware::from_fn_with_state(guard, refuse_foreign_hosts))
        .with_state(parts);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(why) = served.await {
        warn!(error = %why, "health and figures are no longer served");
    }
}

/// Middleware that refuses requests with a foreign `Host` header (DNS rebinding).
async fn refuse_foreign_hosts(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.headers(), true) {
        Err(Refusal::Host(host)) => {
            let text = format!(
                "this node does not answer for the host `{host}`; use localhost, or the address it listens on\n"
            );
            (StatusCode::FORBIDDEN, text).into_response()
        }
        // This guard has neither origins nor a token.
        Ok(()) | Err(_) => next.run(request).await,
    }
}

async fn healthz(State(parts): State<Parts>) -> Result<&'static str, Unhealthy> {
    chain_status(&parts).await.map(|_| "ok\n")
}

async fn readyz(State(parts): State<Parts>) -> Result<&'static str, Unhealthy> {
    let chain_status = chain_status(&parts).await?;
    ready(
        parts.about.wants_peers,
        parts.net.peers().len(),
        chain_status.sole_validator,
    )
    .map(|()| "ready\n")
}

fn ready(wants_peers: bool, peers: usize, sole_validator: bool) -> Result<(), Unhealthy> {
    if wants_peers && peers == 0 && !sole_validator {
        Err(Unhealthy::Alone)
    } else {
        Ok(())
    }
}

async fn metrics(State(parts): State<Parts>) -> Result<Response, Unhealthy> {
    let chain_status = chain_status(&parts).await?;
    let page = metrics::page(&parts, &chain_status);
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
        .into_response())
}

async fn status(State(parts): State<Parts>) -> Result<Json<Status>, Unhealthy> {
    let chain_status = chain_status(&parts).await?;
    let (head, about) = (parts.chain.head.borrow().clone(), &parts.about);
    // The header of the published head, because the newest committed block may be ahead of it.
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
        best_known_height: chain_status.best_known.max(head.height.0),
        head_hash: head.hash,
        state_root: header.state_root.to_string(),
        head_timestamp_s: header.timestamp,
        peers: parts.net.peers().len() as u64,
        round: chain_status.round,
        validators: chain_status.validators,
        signing: signing_text(&chain_status.signing),
        mempool_transactions: chain_status.waiting,
        mempool_bytes: chain_status.waiting_bytes,
        version: client_version(),
        uptime_s: about.started.elapsed().as_secs(),
    }))
}

/// Reads the state from the chain's thread.
async fn chain_status(parts: &Parts) -> Result<ChainStatus, Unhealthy> {
    let query = parts.chain.query(|node| {
        let (signing, validators) = (node.signing().clone(), node.voting().validators().len());
        ChainStatus {
            best_known: node.best_known().0,
            round: node.round(),
            validators: validators as u64,
            sole_validator: validators == 1 && signing == Signing::On,
            signing,
            waiting: node.pool.len() as u64,
            waiting_bytes: node.pool.bytes() as u64,
        }
    });
    Ok(tokio::time::timeout(ANSWERS_WITHIN, query)
        .await
        .map_err(|_| Unhealthy::Stuck)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_wants_peers_is_ready_with_one_or_as_the_only_validator() {
        assert!(matches!(ready(true, 0, false), Err(Unhealthy::Alone)));
        for (wants, peers, sole_validator) in [(true, 1, false), (true, 0, true), (false, 0, false)] {
            assert!(ready(wants, peers, sole_validator).is_ok());
        }
    }
}

//! Handlers for compute offers.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::streamed;
use base::{operator::work::OfferRequest, report::Failure};
use jobs::offers::{Offers, WorkError};

pub(super) fn routes() -> Router<Offers> {
    Router::new()
        .route("/v1/work/offer", post(offer))
        .route("/v1/work/withdraw", post(withdraw))
        .route("/v1/work/status", post(status))
        .route("/v1/work/workers", post(workers))
}

async fn offer(State(offers): State<Offers>, Json(request): Json<OfferRequest>) -> Response {
    streamed(|_| async move { offers.offer(request).await })
}

async fn withdraw(State(offers): State<Offers>) -> Response {
    streamed(|_| async move {
        let offered = offers.withdraw().await?;
        Ok::<_, WorkError>(json!({ "was_offered": offered }))
    })
}

async fn status(State(offers): State<Offers>) -> Response {
    streamed(|_| async move { offers.status().await })
}

async fn workers(State(offers): State<Offers>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(offers.workers()) })
}

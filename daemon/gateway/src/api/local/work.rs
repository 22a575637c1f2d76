//! Work: offered, taken back, looked for, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::told;
use base::{operator::work::OfferAsk, report::Failure};
use jobs::offers::{Offers, WorkError};

pub(super) fn routes() -> Router<Offers> {
    Router::new()
        .route("/v1/work/offer", post(offer))
        .route("/v1/work/withdraw", post(withdraw))
        .route("/v1/work/status", post(status))
        .route("/v1/work/workers", post(workers))
}

async fn offer(State(offers): State<Offers>, Json(ask): Json<OfferAsk>) -> Response {
    told(|_| async move { offers.offer(ask).await })
}

async fn withdraw(State(offers): State<Offers>) -> Response {
    told(|_| async move {
        let offered = offers.withdraw().await?;
        Ok::<_, WorkError>(json!({ "was_offered": offered }))
    })
}

async fn status(State(offers): State<Offers>) -> Response {
    told(|_| async move { offers.status().await })
}

async fn workers(State(offers): State<Offers>) -> Response {
    told(|_| async move { Ok::<_, Failure>(offers.workers()) })
}

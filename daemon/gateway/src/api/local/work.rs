//! Work: offered, taken back, looked for, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::told;
use base::{operator::work::OfferAsk, report::Failure};
use data::{Data, DataError};

pub(super) fn routes() -> Router<Data> {
    Router::new()
        .route("/v1/work/offer", post(offer))
        .route("/v1/work/withdraw", post(withdraw))
        .route("/v1/work/status", post(status))
        .route("/v1/work/workers", post(workers))
}

async fn offer(State(data): State<Data>, Json(ask): Json<OfferAsk>) -> Response {
    told(|_| async move { data.work_offer(ask).await })
}

async fn withdraw(State(data): State<Data>) -> Response {
    told(|_| async move {
        let offered = data.work_withdraw().await?;
        Ok::<_, DataError>(json!({ "was_offered": offered }))
    })
}

async fn status(State(data): State<Data>) -> Response {
    told(|_| async move { data.work_status().await })
}

async fn workers(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.workers()) })
}

//! Pins: copies here and with others, looked at and checked, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::told;
use base::{
    operator::{
        dataset::RootAsk,
        pin::{PinAddAsk, RenewAsk, VerifyAsk},
    },
    report::Failure,
};
use data::{Data, DataError};

pub(super) fn routes() -> Router<Data> {
    Router::new()
        .route("/v1/pin/add", post(add))
        .route("/v1/pin/renew", post(renew))
        .route("/v1/pin/rm", post(remove))
        .route("/v1/pin/ls", post(list))
        .route("/v1/pin/status", post(status))
        .route("/v1/pin/verify", post(verify))
}

async fn add(State(data): State<Data>, Json(ask): Json<PinAddAsk>) -> Response {
    told(|teller| async move { data.pin_add(ask, move |progress| teller.tell(progress)).await })
}

async fn renew(State(data): State<Data>, Json(ask): Json<RenewAsk>) -> Response {
    told(|_| async move { data.pin_renew(ask).await })
}

async fn remove(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let ended = data.pin_remove(ask.root).await?;
        Ok::<_, DataError>(json!({ "root": ask.root, "deals_ended": ended }))
    })
}

async fn list(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.pin_list().await) })
}

async fn status(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move { data.pin_status(ask.root).await })
}

async fn verify(State(data): State<Data>, Json(ask): Json<VerifyAsk>) -> Response {
    told(|_| async move {
        let root = ask.root;
        let checked = data.pin_verify(ask).await?;
        Ok::<_, DataError>(json!({ "root": root, "checked": checked }))
    })
}

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
use data::{PinError, Pins};

pub(super) fn routes() -> Router<Pins> {
    Router::new()
        .route("/v1/pin/add", post(add))
        .route("/v1/pin/renew", post(renew))
        .route("/v1/pin/rm", post(remove))
        .route("/v1/pin/ls", post(list))
        .route("/v1/pin/status", post(status))
        .route("/v1/pin/verify", post(verify))
}

async fn add(State(pins): State<Pins>, Json(ask): Json<PinAddAsk>) -> Response {
    told(|teller| async move { pins.add(ask, move |progress| teller.tell(progress)).await })
}

async fn renew(State(pins): State<Pins>, Json(ask): Json<RenewAsk>) -> Response {
    told(|_| async move { pins.renew(ask).await })
}

async fn remove(State(pins): State<Pins>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let ended = pins.remove(ask.root).await?;
        Ok::<_, PinError>(json!({ "root": ask.root, "deals_ended": ended }))
    })
}

async fn list(State(pins): State<Pins>) -> Response {
    told(|_| async move { Ok::<_, Failure>(pins.list().await) })
}

async fn status(State(pins): State<Pins>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move { pins.status(ask.root).await })
}

async fn verify(State(pins): State<Pins>, Json(ask): Json<VerifyAsk>) -> Response {
    told(|_| async move {
        let root = ask.root;
        let checked = pins.verify(ask).await?;
        Ok::<_, PinError>(json!({ "root": root, "checked": checked }))
    })
}

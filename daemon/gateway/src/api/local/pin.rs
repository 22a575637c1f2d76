//! Handlers for pins and deals.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::streamed;
use base::{
    operator::{
        dataset::RootRequest,
        pin::{PinAddRequest, RenewRequest, VerifyRequest},
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

async fn add(State(pins): State<Pins>, Json(request): Json<PinAddRequest>) -> Response {
    streamed(|lines| async move { pins.add(request, move |progress| lines.progress(progress)).await })
}

async fn renew(State(pins): State<Pins>, Json(request): Json<RenewRequest>) -> Response {
    streamed(|_| async move { pins.renew(request).await })
}

async fn remove(State(pins): State<Pins>, Json(request): Json<RootRequest>) -> Response {
    streamed(|_| async move {
        let ended = pins.remove(request.root).await?;
        Ok::<_, PinError>(json!({ "root": request.root, "deals_ended": ended }))
    })
}

async fn list(State(pins): State<Pins>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(pins.list().await) })
}

async fn status(State(pins): State<Pins>, Json(request): Json<RootRequest>) -> Response {
    streamed(|_| async move { pins.status(request.root).await })
}

async fn verify(State(pins): State<Pins>, Json(request): Json<VerifyRequest>) -> Response {
    streamed(|_| async move {
        let root = request.root;
        let checked = pins.verify(request).await?;
        Ok::<_, PinError>(json!({ "root": root, "checked": checked }))
    })
}

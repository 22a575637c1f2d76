//! Handlers for datanets.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use protocol::BlobHash;
use serde_json::json;

use super::streamed;
use base::{
    operator::datanet::{CreateRequest, DatanetRequest, JoinRequest, SayRequest},
    report::Failure,
};
use data::{DatanetError, Datanets};

pub(super) fn routes() -> Router<Datanets> {
    Router::new()
        .route("/v1/datanet/create", post(create))
        .route("/v1/datanet/ls", post(list))
        .route("/v1/datanet/show", post(show))
        .route("/v1/datanet/members", post(members))
        .route("/v1/datanet/say", post(say))
        .route("/v1/datanet/join", post(join))
        .route("/v1/datanet/sync", post(sync))
        .route("/v1/datanet/key", post(key))
}

async fn create(State(datanets): State<Datanets>, Json(request): Json<CreateRequest>) -> Response {
    streamed(|_| async move { datanets.create(request).await })
}

async fn list(State(datanets): State<Datanets>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(datanets.list()) })
}

async fn show(State(datanets): State<Datanets>, Json(request): Json<DatanetRequest>) -> Response {
    streamed(|_| async move { datanets.show(request.id) })
}

async fn members(State(datanets): State<Datanets>, Json(request): Json<DatanetRequest>) -> Response {
    streamed(|_| async move { datanets.members(request.id) })
}

async fn say(State(datanets): State<Datanets>, Json(request): Json<SayRequest>) -> Response {
    streamed(|_| async move {
        let said = datanets.say(request.id, request.what).await?;
        Ok::<_, DatanetError>(json!({ "datanet": request.id, "statement": BlobHash(said.0) }))
    })
}

async fn join(State(datanets): State<Datanets>, Json(request): Json<JoinRequest>) -> Response {
    streamed(|_| async move { datanets.join(request.id, request.from).await })
}

async fn sync(State(datanets): State<Datanets>, Json(request): Json<DatanetRequest>) -> Response {
    streamed(|_| async move {
        let answered = datanets.sync(request.id).await?;
        Ok::<_, DatanetError>(json!({ "datanet": request.id, "answered": answered }))
    })
}

async fn key(State(datanets): State<Datanets>) -> Response {
    streamed(|_| async move {
        let key = datanets.member_key()?;
        Ok::<_, DatanetError>(json!({ "key": BlobHash(key.0) }))
    })
}

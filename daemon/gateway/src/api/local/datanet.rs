//! Datanets: founded, joined, spoken in, looked at, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use protocol::BlobHash;
use serde_json::json;

use super::told;
use base::{
    operator::datanet::{CreateAsk, DatanetAsk, JoinAsk, SayAsk},
    report::Failure,
};
use data::{Data, DataError};

pub(super) fn routes() -> Router<Data> {
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

async fn create(State(data): State<Data>, Json(ask): Json<CreateAsk>) -> Response {
    told(|_| async move { data.datanet_create(ask).await })
}

async fn list(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.datanet_list()) })
}

async fn show(State(data): State<Data>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move { data.datanet_show(ask.id) })
}

async fn members(State(data): State<Data>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move { data.datanet_members(ask.id) })
}

async fn say(State(data): State<Data>, Json(ask): Json<SayAsk>) -> Response {
    told(|_| async move {
        let said = data.datanet_act(ask.id, ask.what).await?;
        Ok::<_, DataError>(json!({ "datanet": ask.id, "statement": BlobHash(said.0) }))
    })
}

async fn join(State(data): State<Data>, Json(ask): Json<JoinAsk>) -> Response {
    told(|_| async move { data.datanet_join(ask.id, ask.from).await })
}

async fn sync(State(data): State<Data>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move {
        let answered = data.datanet_sync(ask.id).await?;
        Ok::<_, DataError>(json!({ "datanet": ask.id, "answered": answered }))
    })
}

async fn key(State(data): State<Data>) -> Response {
    told(|_| async move {
        let key = data.member_key()?;
        Ok::<_, DataError>(json!({ "key": BlobHash(key.0) }))
    })
}

//! Datanets: founded, joined, spoken in, looked at, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use protocol::BlobHash;
use serde_json::json;

use super::told;
use base::{
    operator::datanet::{CreateAsk, DatanetAsk, JoinAsk, SayAsk},
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

async fn create(State(datanets): State<Datanets>, Json(ask): Json<CreateAsk>) -> Response {
    told(|_| async move { datanets.create(ask).await })
}

async fn list(State(datanets): State<Datanets>) -> Response {
    told(|_| async move { Ok::<_, Failure>(datanets.list()) })
}

async fn show(State(datanets): State<Datanets>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move { datanets.show(ask.id) })
}

async fn members(State(datanets): State<Datanets>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move { datanets.members(ask.id) })
}

async fn say(State(datanets): State<Datanets>, Json(ask): Json<SayAsk>) -> Response {
    told(|_| async move {
        let said = datanets.say(ask.id, ask.what).await?;
        Ok::<_, DatanetError>(json!({ "datanet": ask.id, "statement": BlobHash(said.0) }))
    })
}

async fn join(State(datanets): State<Datanets>, Json(ask): Json<JoinAsk>) -> Response {
    told(|_| async move { datanets.join(ask.id, ask.from).await })
}

async fn sync(State(datanets): State<Datanets>, Json(ask): Json<DatanetAsk>) -> Response {
    told(|_| async move {
        let answered = datanets.sync(ask.id).await?;
        Ok::<_, DatanetError>(json!({ "datanet": ask.id, "answered": answered }))
    })
}

async fn key(State(datanets): State<Datanets>) -> Response {
    told(|_| async move {
        let key = datanets.member_key()?;
        Ok::<_, DatanetError>(json!({ "key": BlobHash(key.0) }))
    })
}

//! Datasets: added, listed, shown, fetched, checked, compared, dropped, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::told;
use base::{
    operator::dataset::{AddAsk, DiffAsk, FsckAsk, GetAsk, RootAsk},
    report::Failure,
};
use data::{Data, DataError};

pub(super) fn routes() -> Router<Data> {
    Router::new()
        .route("/v1/data/add", post(add))
        .route("/v1/data/get", post(get))
        .route("/v1/data/ls", post(list))
        .route("/v1/data/show", post(show))
        .route("/v1/data/records", post(records))
        .route("/v1/data/verify", post(verify))
        .route("/v1/data/diff", post(diff))
        .route("/v1/data/rm", post(remove))
        .route("/v1/data/providers", post(providers))
        .route("/v1/data/known", post(known))
        .route("/v1/repo/stat", post(stat))
        .route("/v1/repo/gc", post(collect))
        .route("/v1/repo/fsck", post(fsck))
}

async fn add(State(data): State<Data>, Json(ask): Json<AddAsk>) -> Response {
    told(|teller| async move { data.add(ask, move |progress| teller.tell(progress)).await })
}

async fn get(State(data): State<Data>, Json(ask): Json<GetAsk>) -> Response {
    told(|teller| async move {
        let telling = teller.clone();
        let got = data
            .get(ask.root, ask.datanet, ask.from, ask.keep, move |progress| {
                telling.tell(progress)
            })
            .await?;
        if let Some(out) = &ask.out {
            data.restore(ask.root, out, move |progress| teller.tell(progress))
                .await?;
        }
        Ok::<_, DataError>(got)
    })
}

async fn list(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.list().await) })
}

async fn show(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move { data.show(ask.root).await })
}

async fn records(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|teller| async move { data.records(ask.root, move |record| teller.part(&record)).await })
}

async fn verify(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|teller| async move { data.verify(ask.root, move |progress| teller.tell(progress)).await })
}

async fn diff(State(data): State<Data>, Json(ask): Json<DiffAsk>) -> Response {
    told(|_| async move { data.diff(ask.old, ask.new).await })
}

async fn remove(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let left = data.remove(ask.root).await?;
        Ok::<_, DataError>(json!({ "root": ask.root, "removed": left.is_empty(), "still_kept_for": left }))
    })
}

async fn providers(State(data): State<Data>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let providers = data.providers(ask.root).await;
        Ok::<_, Failure>(json!({ "root": ask.root, "providers": providers }))
    })
}

async fn known(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.known()) })
}

async fn stat(State(data): State<Data>) -> Response {
    told(|_| async move { Ok::<_, Failure>(data.stat().await) })
}

async fn collect(State(data): State<Data>) -> Response {
    told(|_| async move { data.collect().await })
}

async fn fsck(State(data): State<Data>, Json(ask): Json<FsckAsk>) -> Response {
    told(|teller| async move { data.fsck(ask.drop_damaged, move |progress| teller.tell(progress)).await })
}

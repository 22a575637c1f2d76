//! Datasets: added, listed, shown, fetched, checked, compared, dropped, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::told;
use base::{
    operator::dataset::{AddAsk, DiffAsk, FsckAsk, GetAsk, RootAsk},
    report::Failure,
};
use data::{Announcements, Data, Library, LibraryError};

pub(super) fn routes(data: &Data) -> Router {
    let announced = Router::new()
        .route("/v1/data/providers", post(providers))
        .route("/v1/data/known", post(known))
        .with_state(data.announcements.clone());
    let kept = Router::new()
        .route("/v1/data/add", post(add))
        .route("/v1/data/get", post(get))
        .route("/v1/data/ls", post(list))
        .route("/v1/data/show", post(show))
        .route("/v1/data/records", post(records))
        .route("/v1/data/verify", post(verify))
        .route("/v1/data/diff", post(diff))
        .route("/v1/data/rm", post(remove))
        .route("/v1/repo/stat", post(stat))
        .route("/v1/repo/gc", post(collect))
        .route("/v1/repo/fsck", post(fsck))
        .with_state(data.library.clone());
    kept.merge(announced)
}

async fn add(State(library): State<Library>, Json(ask): Json<AddAsk>) -> Response {
    told(|teller| async move { library.add(ask, move |progress| teller.tell(progress)).await })
}

async fn get(State(library): State<Library>, Json(ask): Json<GetAsk>) -> Response {
    told(|teller| async move {
        let telling = teller.clone();
        let got = library
            .get(ask.root, ask.datanet, ask.from, ask.keep, move |progress| {
                telling.tell(progress)
            })
            .await?;
        if let Some(out) = &ask.out {
            library
                .restore(ask.root, out, move |progress| teller.tell(progress))
                .await?;
        }
        Ok::<_, LibraryError>(got)
    })
}

async fn list(State(library): State<Library>) -> Response {
    told(|_| async move { Ok::<_, Failure>(library.list().await) })
}

async fn show(State(library): State<Library>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move { library.show(ask.root).await })
}

async fn records(State(library): State<Library>, Json(ask): Json<RootAsk>) -> Response {
    told(|teller| async move { library.records(ask.root, move |record| teller.part(&record)).await })
}

async fn verify(State(library): State<Library>, Json(ask): Json<RootAsk>) -> Response {
    told(|teller| async move { library.verify(ask.root, move |progress| teller.tell(progress)).await })
}

async fn diff(State(library): State<Library>, Json(ask): Json<DiffAsk>) -> Response {
    told(|_| async move { library.diff(ask.old, ask.new).await })
}

async fn remove(State(library): State<Library>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let left = library.remove(ask.root).await?;
        Ok::<_, LibraryError>(json!({ "root": ask.root, "removed": left.is_empty(), "still_kept_for": left }))
    })
}

async fn providers(State(announcements): State<Announcements>, Json(ask): Json<RootAsk>) -> Response {
    told(|_| async move {
        let providers = announcements.providers(ask.root).await;
        Ok::<_, Failure>(json!({ "root": ask.root, "providers": providers }))
    })
}

async fn known(State(announcements): State<Announcements>) -> Response {
    told(|_| async move { Ok::<_, Failure>(announcements.known()) })
}

async fn stat(State(library): State<Library>) -> Response {
    told(|_| async move { Ok::<_, Failure>(library.stat().await) })
}

async fn collect(State(library): State<Library>) -> Response {
    told(|_| async move { library.collect().await })
}

async fn fsck(State(library): State<Library>, Json(ask): Json<FsckAsk>) -> Response {
    told(|teller| async move {
        library
            .fsck(ask.drop_damaged, move |progress| teller.tell(progress))
            .await
    })
}

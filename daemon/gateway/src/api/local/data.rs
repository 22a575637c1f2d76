//! Handlers for datasets.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use serde_json::json;

use super::streamed;
use base::{
    operator::dataset::{AddRequest, DiffRequest, FsckRequest, GetRequest, RootRequest},
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

async fn add(State(library): State<Library>, Json(request): Json<AddRequest>) -> Response {
    streamed(|lines| async move { library.add(request, move |progress| lines.progress(progress)).await })
}

async fn get(State(library): State<Library>, Json(request): Json<GetRequest>) -> Response {
    streamed(|lines| async move {
        let progress_lines = lines.clone();
        let got = library
            .get(
                request.root,
                request.datanet,
                request.from,
                request.keep,
                move |progress| progress_lines.progress(progress),
            )
            .await?;
        if let Some(out) = &request.out {
            library
                .restore(request.root, out, move |progress| lines.progress(progress))
                .await?;
        }
        Ok::<_, LibraryError>(got)
    })
}

async fn list(State(library): State<Library>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(library.list().await) })
}

async fn show(State(library): State<Library>, Json(request): Json<RootRequest>) -> Response {
    streamed(|_| async move { library.show(request.root).await })
}

async fn records(State(library): State<Library>, Json(request): Json<RootRequest>) -> Response {
    streamed(|lines| async move { library.records(request.root, move |record| lines.part(&record)).await })
}

async fn verify(State(library): State<Library>, Json(request): Json<RootRequest>) -> Response {
    streamed(|lines| async move {
        library
            .verify(request.root, move |progress| lines.progress(progress))
            .await
    })
}

async fn diff(State(library): State<Library>, Json(request): Json<DiffRequest>) -> Response {
    streamed(|_| async move { library.diff(request.old, request.new).await })
}

async fn remove(State(library): State<Library>, Json(request): Json<RootRequest>) -> Response {
    streamed(|_| async move {
        let left = library.remove(request.root).await?;
        Ok::<_, LibraryError>(json!({ "root": request.root, "removed": left.is_empty(), "still_kept_for": left }))
    })
}

async fn providers(State(announcements): State<Announcements>, Json(request): Json<RootRequest>) -> Response {
    streamed(|_| async move {
        let providers = announcements.providers(request.root).await;
        Ok::<_, Failure>(json!({ "root": request.root, "providers": providers }))
    })
}

async fn known(State(announcements): State<Announcements>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(announcements.known()) })
}

async fn stat(State(library): State<Library>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(library.stat().await) })
}

async fn collect(State(library): State<Library>) -> Response {
    streamed(|_| async move { library.collect().await })
}

async fn fsck(State(library): State<Library>, Json(request): Json<FsckRequest>) -> Response {
    streamed(|lines| async move {
        library
            .fsck(request.drop_damaged, move |progress| lines.progress(progress))
            .await
    })
}

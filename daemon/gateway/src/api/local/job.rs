//! Handlers for serving a model and for training runs in the node.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use base::{
    events::Events,
    home::Home,
    operator::job::{ServeRequest, TrainRequest},
    report::{Failure, Kind},
};
use data::Library;
use jobs::{
    JobError,
    training::{Machine, Outcome, Run, RunControl, Source, Training, recipe_of},
};
use serde_json::json;

use super::lines::{LineSender, streamed};
use crate::serving::NodeServing;

/// The parts that jobs use.
#[derive(Clone)]
pub struct JobParts {
    /// The home with the stored models, and with the lock that shows if completions are in progress.
    pub home: Home,
    /// The datasets to train on.
    pub library: Library,
    pub events: Events,
    pub serving: NodeServing,
}

pub(super) fn routes() -> Router<JobParts> {
    Router::new()
        .route("/v1/serve/start", post(start))
        .route("/v1/serve/status", post(status))
        .route("/v1/serve/stop", post(stop))
        .route("/v1/job/train", post(train))
}

async fn start(State(parts): State<JobParts>, Json(request): Json<ServeRequest>) -> Response {
    streamed(|_| async move { parts.serving.start(request).await })
}

async fn status(State(parts): State<JobParts>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(json!({ "served": parts.serving.status().await })) })
}

async fn stop(State(parts): State<JobParts>) -> Response {
    streamed(|_| async move { Ok::<_, Failure>(json!({ "stopped": parts.serving.stop().await })) })
}

async fn train(State(parts): State<JobParts>, Json(request): Json<TrainRequest>) -> Response {
    streamed(|lines| async move {
        let control = RunControl::default();
        // A client that disconnects drops this future; the run then stops after a checkpoint.
        let _stopping = StopWhenDropped(control.clone());
        let runtime = tokio::runtime::Handle::current();
        let run = tokio::task::spawn_blocking(move || {
            let (share, beside) = (request.share, request.share_beside);
            let training = training(request)?;
            let opening = training.open(&parts.home, &parts.library, parts.events);
            // Only opening waits for other tasks. The run itself computes, and blocks while the client is slow to read.
            let run = runtime.block_on(opening)?;
            run.pace(&control, share, beside);
            train_on(run, control, &lines)
        });
        run.await.expect("a run does not panic")
    })
}

/// Trains from the last checkpoint to the end and streams each event.
fn train_on(mut run: Run, mut control: RunControl, lines: &LineSender) -> Result<Outcome, JobError> {
    run.resume_last()?;
    // The result is ignored: a client that went away is noticed because the future is dropped.
    run.train(&mut control, &mut |event| _ = lines.part(event))
}

fn training(request: TrainRequest) -> Result<Training, JobError> {
    let source = |text: &String| Source::parse(text).map_err(|why| JobError::refused(Kind::Usage, why));
    let usual = Machine::default();
    Ok(Training {
        data: request.data.iter().map(source).collect::<Result<_, _>>()?,
        recipe: recipe_of(request.recipe)?,
        base: request.base,
        weights: request.weights,
        device: request.device,
        out: request.out,
        checkpoint_every: request.checkpoint_every.max(1),
        checkpoints_max: request.checkpoints_max,
        machine: Machine {
            threads: request.threads.unwrap_or(usual.threads),
            keep_bytes: request.keep_bytes,
            ..usual
        },
    })
}

struct StopWhenDropped(RunControl);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

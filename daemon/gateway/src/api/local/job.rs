//! Work with models in the node: a model that is served, and training runs, by the operator's own commands.

use axum::{Json, Router, extract::State, response::Response, routing::post};
use base::{
    events::Events,
    home::Home,
    operator::job::{ServeAsk, TrainAsk},
    report::{Failure, Kind},
};
use data::Library;
use jobs::{
    JobError,
    training::{Machine, Outcome, Run, RunControl, Source, Training, recipe_of},
};
use serde_json::json;

use super::tell::{Teller, told};
use crate::serving::NodeServing;

/// What a job of the node stands on.
#[derive(Clone)]
pub struct JobParts {
    /// Where models are kept, and where a run looks whether somebody is answered.
    pub home: Home,
    /// Where records come from.
    pub library: Library,
    /// Where it tells what happens.
    pub events: Events,
    /// The engine.
    pub serving: NodeServing,
}

pub(super) fn routes() -> Router<JobParts> {
    Router::new()
        .route("/v1/serve/start", post(start))
        .route("/v1/serve/status", post(status))
        .route("/v1/serve/stop", post(stop))
        .route("/v1/job/train", post(train))
}

async fn start(State(parts): State<JobParts>, Json(ask): Json<ServeAsk>) -> Response {
    told(|_| async move { parts.serving.start(ask).await })
}

async fn status(State(parts): State<JobParts>) -> Response {
    told(|_| async move { Ok::<_, Failure>(json!({ "served": parts.serving.status().await })) })
}

async fn stop(State(parts): State<JobParts>) -> Response {
    told(|_| async move { Ok::<_, Failure>(json!({ "stopped": parts.serving.stop().await })) })
}

async fn train(State(parts): State<JobParts>, Json(ask): Json<TrainAsk>) -> Response {
    told(|teller| async move {
        let control = RunControl::default();
        // A reader that goes away drops this future, and the run ends behind a checkpoint.
        let _stopping = StopWhenDropped(control.clone());
        let runtime = tokio::runtime::Handle::current();
        let run = tokio::task::spawn_blocking(move || {
            let (share, beside) = (ask.share, ask.share_beside);
            let training = training(ask)?;
            let opening = training.open(&parts.home, &parts.library, parts.events);
            // Only this waits for others: a run computes, and its reader may hold it up.
            let run = runtime.block_on(opening)?;
            run.pace(&control, share, beside);
            train_on(run, control, &teller)
        });
        run.await.expect("a run does not panic")
    })
}

/// Trains from the last checkpoint to the end, and hands each event to the reader.
fn train_on(mut run: Run, mut control: RunControl, teller: &Teller) -> Result<Outcome, JobError> {
    run.resume_last()?;
    // Whether anybody still reads is known by the future that is dropped.
    run.train(&mut control, &mut |event| _ = teller.part(event))
}

fn training(ask: TrainAsk) -> Result<Training, JobError> {
    let source = |text: &String| Source::parse(text).map_err(|why| JobError::refused(Kind::Usage, why));
    let usual = Machine::default();
    Ok(Training {
        data: ask.data.iter().map(source).collect::<Result<_, _>>()?,
        recipe: recipe_of(ask.recipe)?,
        base: ask.base,
        weights: ask.weights,
        device: ask.device,
        out: ask.out,
        checkpoint_every: ask.checkpoint_every.max(1),
        checkpoints_max: ask.checkpoints_max,
        machine: Machine {
            threads: ask.threads.unwrap_or(usual.threads),
            keep_bytes: ask.keep_bytes,
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

//! An answer that is told while it comes about.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Line, Progress};

/// Lines that wait for a reader. Progress beyond that is dropped; how it ends is not.
const LINES_MAX: usize = 64;

/// What kind of failure it is: the command's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It failed.
    Failed,
    /// The question cannot be meant.
    Usage,
    /// What was asked for does not exist.
    NotFound,
    /// Not allowed.
    Denied,
    /// Not in time.
    Timeout,
    /// It needs a running node, and this is none.
    NotRunning,
    /// Something does not verify.
    Unverified,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What failed and what to do.
    pub message: String,
    /// What was behind it.
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure that has no other behind it.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, causes) = (message.into(), Vec::new());
        Self { kind, message, causes }
    }

    /// An error and all that caused it.
    pub(crate) fn of(kind: Kind, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut cause = error.source();
        while let Some(deeper) = cause {
            failure.causes.push(deeper.to_string());
            cause = deeper.source();
        }
        failure
    }
}

/// Where whoever works says how far it is.
#[derive(Clone, Debug)]
pub(crate) struct Teller(mpsc::Sender<Line>);

impl Teller {
    /// Says how far it is. A reader that is behind hears of the next.
    pub(crate) fn tell(&self, progress: Progress) {
        drop(self.0.try_send(Line::Progress(progress)));
    }

    /// Hands a part of the answer on, and waits until there is room for it. Whether anybody still reads. For threads that
    /// may block.
    pub(crate) fn part(&self, part: &impl Serialize) -> bool {
        let part = serde_json::to_value(part).expect("what is shown is plain data");
        self.0.blocking_send(Line::Part { part }).is_ok()
    }
}

/// Does the work and tells of it. If the reader goes away the work is dropped at its next wait.
pub(crate) fn told<T, W>(work: impl FnOnce(Teller) -> W) -> Response
where
    T: Serialize + Send,
    W: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    let work = work(Teller(sender.clone()));
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = work => ended,
            () = sender.closed() => return,
        };
        let last = match ended {
            Ok(result) => Line::Done {
                result: serde_json::to_value(result).expect("what is shown is plain data"),
            },
            Err(failure) => Line::Failed(failure),
        };
        // The reader may be gone.
        drop(sender.send(last).await);
    });
    let stream = futures::stream::poll_fn(move |context| lines.poll_recv(context));
    let bytes = futures::StreamExt::map(stream, |line| {
        let mut text = serde_json::to_vec(&line).expect("lines are plain data");
        text.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(bytes),
    )
        .into_response()
}

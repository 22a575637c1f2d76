//! Responses that are streamed while the work goes on.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use tokio::sync::mpsc;

use tracing::Instrument as _;

use base::{
    operator::Line,
    report::{Failure, Progress},
};

/// Lines that wait for a slow client. Further progress lines are dropped; parts and the last line wait.
const LINES_MAX: usize = 64;

/// Sends progress and parts of a response.
#[derive(Clone, Debug)]
pub struct LineSender(mpsc::Sender<Line>);

impl LineSender {
    /// Sends progress, unless the client is too slow: then it gets a later one.
    pub fn progress(&self, progress: Progress) {
        drop(self.0.try_send(Line::Progress(progress)));
    }

    /// Sends a part of the response; blocks while the client is slow. Returns false if the client has gone. Must be called on a
    /// thread that may block.
    pub fn part(&self, part: &impl Serialize) -> bool {
        let part = serde_json::to_value(part).expect("what is shown is plain data");
        self.0.blocking_send(Line::Part { part }).is_ok()
    }
}

/// Runs `work` and streams its lines as the response. If the client disconnects, the work is dropped at its next await.
pub fn streamed<T, E, W>(work: impl FnOnce(LineSender) -> W) -> Response
where
    T: Serialize + Send,
    E: Into<Failure> + Send,
    W: Future<Output = Result<T, E>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    let work = work(LineSender(sender.clone()));
    let telling = async move {
        let ended = tokio::select! {
            ended = work => ended,
            () = sender.closed() => return,
        };
        let last = match ended {
            Ok(result) => Line::Done {
                result: serde_json::to_value(result).expect("what is shown is plain data"),
            },
            Err(why) => Line::Failed(why.into()),
        };
        // The client may have gone.
        drop(sender.send(last).await);
    };
    tokio::spawn(telling.in_current_span());
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

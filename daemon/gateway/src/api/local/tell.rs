//! An answer that is told while it comes about.

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

/// Lines that wait for a reader. Progress beyond that is dropped; how it ends is not.
const LINES_MAX: usize = 64;

/// Where whoever works says how far it is.
#[derive(Clone, Debug)]
pub struct Teller(mpsc::Sender<Line>);

impl Teller {
    /// Says how far it is. A reader that is behind hears of the next.
    pub fn tell(&self, progress: Progress) {
        drop(self.0.try_send(Line::Progress(progress)));
    }

    /// Hands a part of the answer on, and waits until there is room for it. Whether anybody still reads. For threads that
    /// may block.
    pub fn part(&self, part: &impl Serialize) -> bool {
        let part = serde_json::to_value(part).expect("what is shown is plain data");
        self.0.blocking_send(Line::Part { part }).is_ok()
    }
}

/// Does the work and tells of it. If the reader goes away the work is dropped at its next wait.
pub fn told<T, E, W>(work: impl FnOnce(Teller) -> W) -> Response
where
    T: Serialize + Send,
    E: Into<Failure> + Send,
    W: Future<Output = Result<T, E>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    let work = work(Teller(sender.clone()));
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
        // The reader may be gone.
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

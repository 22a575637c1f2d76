//! The client of the operator's API: sends a request to the node of a home over its unix socket, and draws progress.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, header::CONTENT_TYPE},
};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt as _;

use super::exit::{Exit, ended};
use base::{
    http,
    operator::Line,
    report::{Failure, Progress},
};

/// A node's operator API, reached over its socket or inside this process.
#[derive(Clone, Debug)]
pub(crate) enum OperatorClient {
    /// The socket of a running node.
    Node(PathBuf),
    /// The same routes inside this process, for requests that need no running node.
    Here(Router),
}

impl OperatorClient {
    /// Sends a request and waits for its result; draws progress on stderr.
    pub(crate) async fn request<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(spinner());
        let outcome = self.lines(path, body, |progress| draw(&bar, &progress)).await;
        bar.finish_and_clear();
        outcome
    }

    /// Sends a request and waits for its result; calls `progress` meanwhile.
    pub(crate) async fn lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut progress: impl FnMut(Progress),
    ) -> anyhow::Result<T> {
        let parts = |_| {
            Err(anyhow::anyhow!(
                "{path} answered in parts, which this version does not expect; restart the daemon with this version"
            ))
        };
        self.parts(path, body, &mut progress, parts).await
    }

    /// Like [`Self::lines`], for a result that arrives in parts: calls `take` for each. An error of `take` ends the request.
    pub(crate) async fn parts<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut progress: impl FnMut(Progress),
        mut take: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<T> {
        let gone = || {
            let text = "the node closed the connection before it answered; its log says why";
            ended(Exit::NotRunning, text)
        };
        let mut answer = self.post(path, serde_json::to_vec(body)?).await?;
        let mut buffer = Vec::new();
        while let Some(bytes) = answer.try_next().await.map_err(|_| gone())? {
            buffer.extend_from_slice(&bytes);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let unread = || format!("the answer to {path} is not of this version; restart the daemon");
                match serde_json::from_slice(&line).with_context(unread)? {
                    Line::Progress(now) => progress(now),
                    Line::Part { part } => take(part)?,
                    Line::Done { result } => return serde_json::from_value(result).with_context(unread),
                    Line::Failed(failure) => return Err(failed(failure)),
                }
            }
        }
        Err(gone().into())
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        const JSON: &str = "application/json";
        let (status, mut bytes) = match self {
            Self::Node(socket) => {
                let client = http::client().unix_socket(socket.clone()).build();
                let client = client.context("could not make an HTTP client")?;
                let request = client
                    .post(format!("http://node{path}"))
                    .header(CONTENT_TYPE, JSON)
                    .body(body);
                let answer = request.send().await.with_context(|| {
                    let text = format!("nothing answers at {}; restart the daemon", socket.display());
                    ended(Exit::NotRunning, text)
                })?;
                let status = answer.status();
                let bytes = futures::stream::try_unfold(answer, async |mut answer| {
                    Ok(answer.chunk().await?.map(|bytes| (bytes, answer)))
                });
                (status, bytes.boxed())
            }
            Self::Here(router) => {
                let request = Request::post(path).header(CONTENT_TYPE, JSON).body(Body::from(body))?;
                let answer = router.clone().oneshot(request).await?;
                let status = answer.status();
                (
                    status,
                    answer.into_body().into_data_stream().map_err(Into::into).boxed(),
                )
            }
        };
        if status.is_success() {
            return Ok(bytes);
        }
        let text = bytes.try_next().await.ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        anyhow::bail!(
            "the node answered {status} to {path}: {}; restart the daemon with this version",
            text.trim()
        );
    }
}

/// Turns a failure that the node reported into an error of this command, with the same exit code and causes.
pub(crate) fn failed(failure: Failure) -> anyhow::Error {
    let last = ended(failure.kind.into(), failure.message);
    let mut causes = failure.causes.into_iter().rev();
    match causes.next() {
        None => last.into(),
        Some(deepest) => causes
            .fold(anyhow::anyhow!(deepest), anyhow::Error::context)
            .context(last),
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed")
}

fn bar_style() -> ProgressStyle {
    let template = "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}";
    ProgressStyle::with_template(template).expect("the template is well formed")
}

fn draw(bar: &ProgressBar, progress: &Progress) {
    if let Some(total) = progress.total {
        if bar.length() != Some(total) {
            bar.set_style(bar_style());
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    }
    bar.set_message(progress_text(progress));
    bar.tick();
}

/// Describes the current step, with a line for each node that sends data.
fn progress_text(progress: &Progress) -> String {
    let mut text = progress.what.clone();
    for source in &progress.sources {
        let way = if source.relayed { "relay" } else { "direct" };
        let (got, rate) = (source.bytes >> 20, source.bytes_per_s >> 20);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {} {way} {got} MiB, {rate} MiB/s", source.node);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::report::{Kind, Source};

    #[test]
    fn a_node_that_helps_has_a_line_that_says_how() {
        let source = |relayed| Source {
            node: "0xab".into(),
            bytes: 5 << 20,
            bytes_per_s: 2 << 20,
            relayed,
        };
        let progress = Progress {
            what: "fetching".into(),
            sources: vec![source(false), source(true)],
            ..Progress::default()
        };
        assert_eq!(
            progress_text(&progress),
            "fetching\n  0xab direct 5 MiB, 2 MiB/s\n  0xab relay 5 MiB, 2 MiB/s"
        );
    }

    #[test]
    fn a_failure_of_the_node_keeps_its_exit_code_and_its_causes() {
        let failure = Failure {
            kind: Kind::Unverified,
            message: "the shard is not what it says".into(),
            causes: vec!["byte 7".into(), "the disk".into()],
        };
        let error = failed(failure);
        assert_eq!(Exit::of(&error), Exit::Unverified);
        let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["the shard is not what it says", "byte 7", "the disk"]);
    }
}

//! Priority of serving over training: the server marks that a completion is under way, and a training run beside it
//! checks the mark and slows down.
//!
//! The mark is a shared lock on a file of the home. The system releases it when the process ends, for whatever reason.
//! Checking takes no lock, so neither side ever waits for the other.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::lock;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{Method, header},
    middleware::Next,
    response::Response,
};
use futures::StreamExt as _;
use rustix::{
    fs::{FlockOperation, fcntl_lock},
    process::{Flock, FlockOffsetType, FlockType, fcntl_getlk},
};

/// The serving side: holds the lock while at least one completion is under way.
#[derive(Debug)]
pub struct Busy {
    file: File,
    answers: Mutex<usize>,
}

/// Opens the lock file, created if missing; nothing is ever written into it.
fn made(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut how = File::options();
    how.create(true).truncate(false).read(true).write(true).open(path)
}

/// Counts one completion until it is dropped.
struct Answering(Arc<Busy>);

impl Busy {
    /// Opens the lock file at `path`, created if missing.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            file: made(path)?,
            answers: Mutex::new(0),
        }))
    }

    fn begin(self: &Arc<Self>) -> Answering {
        self.count(|answers| answers + 1);
        Answering(self.clone())
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let mut answers = lock::locked(&self.answers);
        let before = std::mem::take(&mut *answers);
        *answers = change(before);
        let lock = match (before, *answers) {
            (0, 1..) => FlockOperation::NonBlockingLockShared,
            (1.., 0) => FlockOperation::NonBlockingUnlock,
            _ => return,
        };
        // All locks are shared, so this fails only on a file system without locks; then training is not slowed.
        let _ = fcntl_lock(&self.file, lock);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.count(|answers| answers - 1);
    }
}

/// Middleware that holds the lock from a completion request until its response, or the whole stream, was sent.
pub async fn while_answering(State(busy): State<Option<Arc<Busy>>>, request: Request, next: Next) -> Response {
    let is_question = request.method() == Method::POST && request.uri().path().ends_with("/completions");
    let answering = busy.filter(|_| is_question).map(|busy| busy.begin());
    let response = next.run(request).await;
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    match answering {
        Some(answering) if is_stream => response.map(|body| {
            let held = body.into_data_stream().inspect(move |_| _ = &answering);
            Body::from_stream(held)
        }),
        _ => response,
    }
}

/// The training side. It does not see completions of its own process.
#[derive(Debug)]
pub struct Look(File);

impl Look {
    /// Opens the lock file at `path`, created if missing, so that a server that starts later is seen too.
    pub fn open(path: &Path) -> io::Result<Self> {
        made(path).map(Self)
    }

    /// Returns true if a completion is under way in another process.
    pub fn is_busy(&self) -> bool {
        let whole = Flock {
            start: 0,
            length: 0,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        matches!(fcntl_getlk(&self.0, &whole), Ok(Some(_)))
    }
}

//! Priority of serving over training: the server marks that a completion is under way, and a training run beside it
//! checks the mark and slows down.
//!
//! The mark is a shared lock on a file of the home. The system releases it when the process ends, for whatever reason.
//! Checking takes no lock, so neither side ever waits for the other.
//!
//! # Why not a message between the two processes
//!
//! Either may run without the other, and either may be killed. A lock needs no connection, and the system releases it
//! whatever happens to its holder.

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
    /// Completions under way.
    completions: Mutex<usize>,
}

/// Opens the lock file, created if missing; nothing is ever written into it.
fn open_or_create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true).open(path)
}

/// Counts one completion until it is dropped.
struct InProgress(Arc<Busy>);

impl Busy {
    /// Opens the lock file at `path`, created if missing.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            file: open_or_create(path)?,
            completions: Mutex::new(0),
        }))
    }

    fn begin(self: &Arc<Self>) -> InProgress {
        self.count(|completions| completions + 1);
        InProgress(self.clone())
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let mut completions = lock::locked(&self.completions);
        let before = std::mem::take(&mut *completions);
        *completions = change(before);
        let lock = match (before, *completions) {
            (0, 1..) => FlockOperation::NonBlockingLockShared,
            (1.., 0) => FlockOperation::NonBlockingUnlock,
            _ => return,
        };
        // All locks are shared, so this fails only on a file system without locks; then training is not slowed.
        let _ = fcntl_lock(&self.file, lock);
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.count(|completions| completions - 1);
    }
}

/// Middleware that holds the lock from a completion request until its response, or the whole stream, was sent.
pub async fn mark_busy(State(busy): State<Option<Arc<Busy>>>, request: Request, next: Next) -> Response {
    let is_completion = request.method() == Method::POST && request.uri().path().ends_with("/completions");
    let in_progress = busy.filter(|_| is_completion).map(|busy| busy.begin());
    let response = next.run(request).await;
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    match in_progress {
        Some(in_progress) if is_stream => response.map(|body| {
            // The closure owns the mark, so it is dropped with the stream.
            let held = body.into_data_stream().inspect(move |_| _ = &in_progress);
            Body::from_stream(held)
        }),
        _ => response,
    }
}

/// The training side. It does not see completions of its own process.
#[derive(Debug)]
pub struct BusyProbe(File);

impl BusyProbe {
    /// Opens the lock file at `path`, created if missing, so that a server that starts later is seen too.
    pub fn open(path: &Path) -> io::Result<Self> {
        open_or_create(path).map(Self)
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

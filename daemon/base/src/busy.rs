//! Who has the processor first: whoever answers requests says so, and whoever trains beside it looks.
//!
//! It is a lock on a file of the home, held while an answer is under way. The system lets go of it when its process ends,
//! however it ends; looking takes nothing, so that neither side ever waits for the other's file.

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

/// The side that answers.
#[derive(Debug)]
pub struct Busy {
    file: File,
    answers: Mutex<usize>,
}

/// The file of the lock, which is made if need be; nothing is ever written into it.
fn made(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut how = File::options();
    how.create(true).truncate(false).read(true).write(true).open(path)
}

/// An answer that is under way.
struct Answering(Arc<Busy>);

impl Busy {
    /// Says so in that file, which is made if need be.
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
        // Nobody holds it alone, so it fails only where a file system has no locks: then nobody gives way.
        let _ = fcntl_lock(&self.file, lock);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.count(|answers| answers - 1);
    }
}

/// Says that an answer is under way until it was sent.
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

/// The side that looks. Whoever answers from this very process is not seen.
#[derive(Debug)]
pub struct Look(File);

impl Look {
    /// Looks at that file; it is made, so that whoever begins to answer later is seen too.
    pub fn open(path: &Path) -> io::Result<Self> {
        made(path).map(Self)
    }

    /// Whether an answer is under way.
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

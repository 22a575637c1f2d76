//! What the operator's own commands ask of the running node: over a unix socket that only its user can open.
//!
//! A question is a POST of JSON; the answer is lines of JSON, each a [`Line`](base::operator::Line): any number that tell
//! how far it is, then one that ends it. A command that goes away cancels what it asked for. Nothing here is for other
//! machines or other users: the file's mode is the permission.

mod data;
mod datanet;
mod job;
mod peers;
mod pin;
mod tell;
mod work;

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use axum::Router;
use net::NetHandle;
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use job::JobParts;
pub use tell::told;

use ::data::Data;
use jobs::offers::Offers;

/// The longest path a socket may have, with room for the zero behind it.
const SOCKET_PATH_MAX: usize = 100;

/// What the socket's questions are answered with.
#[derive(Clone)]
pub struct LocalParts {
    /// The network.
    pub net: NetHandle,
    /// What is shared.
    pub data: Data,
    /// What work is offered.
    pub offers: Offers,
    /// What jobs stand on.
    pub jobs: JobParts,
}

/// The questions that need no running node, as the socket of one would answer them.
pub fn offline(data: Data, offers: Offers) -> Router {
    data::routes(&data)
        .merge(datanet::routes().with_state(data.datanets))
        .merge(pin::routes().with_state(data.pins))
        .merge(work::routes().with_state(offers))
}

/// The socket, while it is served.
pub struct Local {
    /// Where it is.
    pub path: PathBuf,
    server: JoinHandle<()>,
}

impl Local {
    /// Serves questions at `wanted`, or under the temporary folder if that path is too long for a socket.
    pub fn start(wanted: &Path, parts: LocalParts, stop: CancellationToken) -> io::Result<Self> {
        let path = short(wanted);
        // One that was left by a node that was killed; this node holds the lock of its home.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
        let listener = bind_private(&path)?;
        let peers = peers::routes().with_state(parts.net);
        let router = offline(parts.data, parts.offers)
            .merge(peers)
            .merge(job::routes().with_state(parts.jobs))
            .layer(axum::middleware::from_fn(crate::traced::operator));
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(why) = served.await {
                warn!(error = %why, "commands are no longer answered");
            }
        });
        Ok(Self { path, server })
    }

    /// Returns when the questions under way are answered or were cut off.
    pub async fn stop(self) {
        let abort = self.server.abort_handle();
        if tokio::time::timeout(super::DRAIN_WITHIN, self.server).await.is_err() {
            abort.abort();
        }
        // The next node removes it otherwise.
        drop(std::fs::remove_file(&self.path));
    }
}

fn short(wanted: &Path) -> PathBuf {
    if wanted.as_os_str().len() <= SOCKET_PATH_MAX {
        return wanted.to_owned();
    }
    let name = blake3::hash(wanted.as_os_str().as_encoded_bytes()).to_hex();
    std::env::temp_dir().join(format!("openledger-{}.sock", &name[..16]))
}

/// Listens in a folder that nobody else can enter, then moves the socket to its place: at no moment could another user
/// have opened it.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let nest = folder.join(format!(".s{}", std::process::id()));
    std::fs::create_dir_all(&nest)?;
    std::fs::set_permissions(&nest, std::fs::Permissions::from_mode(0o700))?;
    let young = nest.join("s");
    drop(std::fs::remove_file(&young));
    let bound = UnixListener::bind(&young).and_then(|listener| {
        std::fs::set_permissions(&young, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&young, path)?;
        Ok(listener)
    });
    // Empty by now, or the bind failed and left nothing.
    drop(std::fs::remove_dir(&nest));
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_user_can_open_the_socket_and_an_old_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(bind_private(&path).unwrap());
        drop(std::fs::remove_file(&path));
        let _listener = bind_private(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "the nest is gone");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_replaced_by_one_that_stays_the_same() {
        let long = PathBuf::from(format!("/{}/api.sock", "a".repeat(200)));
        assert!(short(&long).as_os_str().len() <= SOCKET_PATH_MAX);
        assert_eq!(short(&long), short(&long));
        assert_eq!(short(Path::new("/a/api.sock")), Path::new("/a/api.sock"));
    }
}

//! The operator's API: a Unix socket that only the user of the node can open.
//!
//! A request is a POST of JSON. The response is lines of JSON, each a [`Line`](base::operator::Line): any number of progress
//! and part lines, then one that ends it. A client that disconnects cancels its request. Other machines and other users
//! have no access: the mode of the socket file is the permission.
//!
//! To add a command: its types go to `base::operator`, its handler and route to a file here, its work to the crate concerned.

mod data;
mod datanet;
mod job;
mod lines;
mod peers;
mod pin;
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
pub use lines::streamed;

use ::data::Data;
use jobs::offers::Offers;

/// Longest path of a socket; the system's limit is 104 to 108 bytes with the final zero.
const SOCKET_PATH_MAX: usize = 100;

/// The parts of a node that the handlers use.
#[derive(Clone)]
pub struct LocalParts {
    pub net: NetHandle,
    pub data: Data,
    pub offers: Offers,
    pub jobs: JobParts,
}

/// The routes that need no running node: the command line uses them in-process when no node runs.
pub fn offline(data: Data, offers: Offers) -> Router {
    data::routes(&data)
        .merge(datanet::routes().with_state(data.datanets))
        .merge(pin::routes().with_state(data.pins))
        .merge(work::routes().with_state(offers))
}

/// The socket while it is served.
pub struct Local {
    pub path: PathBuf,
    server: JoinHandle<()>,
}

impl Local {
    /// Serves the API at `wanted`, or under the temporary folder if that path is too long for a socket.
    pub fn start(wanted: &Path, parts: LocalParts, stop: CancellationToken) -> io::Result<Self> {
        let path = short(wanted);
        // Left by a node that was killed: this node holds the lock of its home, so no other serves it.
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

    /// Returns when the requests in progress have a response, or were cut off.
    pub async fn stop(self) {
        let abort = self.server.abort_handle();
        if tokio::time::timeout(super::DRAIN_WITHIN, self.server).await.is_err() {
            abort.abort();
        }
        // If this fails, the next node removes the file.
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

/// Binds the socket in a folder that other users cannot enter, then moves it to its path: at no moment could another user
/// have opened it.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let private = folder.join(format!(".s{}", std::process::id()));
    std::fs::create_dir_all(&private)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700))?;
    let temporary = private.join("s");
    drop(std::fs::remove_file(&temporary));
    let bound = UnixListener::bind(&temporary).and_then(|listener| {
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&temporary, path)?;
        Ok(listener)
    });
    // The folder is empty: the socket was moved, or binding failed.
    drop(std::fs::remove_dir(&private));
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
        assert_eq!(names, 1, "the private is gone");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_replaced_by_one_that_stays_the_same() {
        let long = PathBuf::from(format!("/{}/api.sock", "a".repeat(200)));
        assert!(short(&long).as_os_str().len() <= SOCKET_PATH_MAX);
        assert_eq!(short(&long), short(&long));
        assert_eq!(short(Path::new("/a/api.sock")), Path::new("/a/api.sock"));
    }
}

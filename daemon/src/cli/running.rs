//! The running node of a home, found through `node.json`: JSON-RPC for the chain, `/v1/status` for the node.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    exit::{Ended, Exit, ended},
    operator_client::OperatorClient,
};
use base::{home::Home, http, operator::status::Status};

/// Longest wait for a response of the node.
const RESPONSE_WITHIN: Duration = Duration::from_secs(10);

/// The content of `node.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// URL of the JSON-RPC endpoint.
    pub(crate) rpc: String,
    /// URL of health, metrics and status.
    pub(crate) api: String,
    /// Socket of the operator's API.
    #[serde(default)]
    pub(crate) socket: PathBuf,
    /// Multiaddresses that peers can dial.
    #[serde(default)]
    pub(crate) listen: Vec<String>,
}

impl Running {
    /// Reads `node.json`. A home without the file, or whose process is gone, has no running node.
    pub(crate) fn read(home: &Home) -> anyhow::Result<Self> {
        let file = home.listening();
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running(home).into()),
            text => text.with_context(|| format!("could not read {}", file.display()))?,
        };
        let wrong = || {
            format!(
                "{} is not readable; restart the daemon, which writes it",
                file.display()
            )
        };
        let mut running: Self = serde_json::from_slice(&text).with_context(wrong)?;
        if !running.is_alive() {
            return Err(not_running(home).into());
        }
        running.rpc = reachable(&running.rpc);
        running.api = reachable(&running.api);
        Ok(running)
    }

    /// True if the process exists. A node that was killed leaves its `node.json` behind.
    fn is_alive(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Another user's process refuses the signal, which shows that it exists.
        let exists = pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        exists && !is_zombie(&fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default())
    }

    /// True if something accepts connections at its address: the process ID may have been reused by another program.
    pub(crate) fn listens(&self) -> bool {
        let address = self
            .api
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        address.is_some_and(|address| TcpStream::connect_timeout(&address, RESPONSE_WITHIN).is_ok())
    }

    /// The client of its operator API.
    pub(crate) fn operator_client(&self) -> OperatorClient {
        OperatorClient::Node(self.socket.clone())
    }

    /// Requests the status of the running node (`/v1/status`).
    pub(crate) async fn status(&self) -> anyhow::Result<Status> {
        let url = format!("{}/v1/status", self.api);
        let asked = client()?.get(&url).send().await;
        let answer = asked.map_err(|why| unreachable(&url, why))?;
        if !answer.status().is_success() {
            let text = answer.text().await.unwrap_or_default();
            anyhow::bail!("the node at {url} reports a failure: {}", text.trim());
        }
        answer
            .json()
            .await
            .with_context(|| format!("the response of {url} is not of this version; restart the daemon"))
    }

    /// Calls a JSON-RPC method.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> anyhow::Result<T> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let asked = client()?.post(&self.rpc).json(&request).send().await;
        let answer: Value = match asked {
            Ok(answer) => answer.json().await.map_err(|why| unreachable(&self.rpc, why))?,
            Err(why) => return Err(unreachable(&self.rpc, why)),
        };
        if let Some(refused) = answer.get("error").filter(|error| !error.is_null()) {
            let text = refused["message"].as_str().unwrap_or("no reason given");
            anyhow::bail!("the node refused {method}: {text}");
        }
        let unread = || format!("the result of {method} has an unexpected form; restart the daemon with this version");
        serde_json::from_value(answer["result"].clone()).with_context(unread)
    }
}

/// True if `/proc/PID/stat` shows a zombie: the process has ended and its parent has not collected it.
fn is_zombie(stat: &str) -> bool {
    // The process name before the state may contain anything, parentheses included.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// The error for a home without a running node.
pub(crate) fn not_running(home: &Home) -> Ended {
    let text = format!(
        "no node is running in {}; start it with `openledger daemon --home {0}`",
        home.root().display()
    );
    ended(Exit::NotRunning, text)
}

fn client() -> anyhow::Result<reqwest::Client> {
    // No proxy: the node listens on this machine.
    let client = http::client().timeout(RESPONSE_WITHIN).build();
    client.context("could not make an HTTP client")
}

fn unreachable(url: &str, why: reqwest::Error) -> anyhow::Error {
    let sentence = if why.is_timeout() {
        ended(
            Exit::Timeout,
            format!(
                "the node at {url} did not answer within {} s; its log may say why",
                RESPONSE_WITHIN.as_secs()
            ),
        )
    } else if why.is_connect() {
        ended(
            Exit::NotRunning,
            format!("nothing answers at {url}; restart the daemon"),
        )
    } else {
        ended(
            Exit::Failed,
            format!("the response of the node at {url} cannot be read"),
        )
    };
    // Only the innermost cause says what happened; the layers around it repeat "error sending request".
    let mut cause: &dyn std::error::Error = &why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    anyhow::anyhow!("{cause}").context(sentence)
}

/// Turns a listen address into one to connect to: `0.0.0.0` and `::` become the loopback address.
fn reachable(address: &str) -> String {
    let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let Ok(mut socket) = bare.parse::<SocketAddr>() else {
        return format!("http://{bare}");
    };
    if socket.ip().is_unspecified() {
        socket.set_ip(match socket {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{socket}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_reached_over_loopback() {
        for (said, url) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("0.0.0.0:8545", "http://127.0.0.1:8545"),
            ("http://[::]:8545/", "http://[::1]:8545"),
            ("http://10.0.0.7:1", "http://10.0.0.7:1"),
        ] {
            assert_eq!(reachable(said), url);
        }
    }

    #[test]
    fn a_process_that_ended_is_not_running_whatever_its_name() {
        assert!(is_zombie("7 (open) Z 1 2") && is_zombie("7 (a) S) Z 1"));
        assert!(!is_zombie("7 (openledger) S 1 7") && !is_zombie("7 (a) Z) R 1") && !is_zombie(""));
    }

    #[test]
    fn a_home_without_a_node_and_one_that_was_killed_are_not_running() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert_eq!(Exit::of(&Running::read(&home).unwrap_err()), Exit::NotRunning);
        // No process has the largest number there is.
        let left = r#"{"pid": 2147483647, "rpc": "http://127.0.0.1:1", "api": "http://127.0.0.1:1", "listen": []}"#;
        fs::write(home.listening(), left).unwrap();
        assert_eq!(Exit::of(&Running::read(&home).unwrap_err()), Exit::NotRunning);
    }
}

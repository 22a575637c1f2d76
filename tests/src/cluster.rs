//! A cluster of real processes: nodes of a development network that can be killed, restarted, deprived of their state,
//! and queried.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base::home::Home;
use daemon::devnet::{Member, prepare};
use protocol::{
    Height, codec,
    message::chain::{BODY_MAX, Entry},
};
use serde_json::{Value, json};
use storage::{BlockLog, RealDisk, block_log::Layout};

use crate::progress::say;

/// An error as a sentence: these are tools for tests and benches, which only print it.
pub type Failure = String;

/// Not `openledger`, which is the program of the `daemon` package in the same folder.
const PROGRAM: &str = "openledger-under-test";
/// First of the ephemeral ports of Linux, which it gives to outgoing connections.
const EPHEMERAL_PORTS: u16 = 32_768;
/// A longer wait prints a progress line.
const LONG: Duration = Duration::from_secs(2);
/// Lines of each node's log that a failed test shows.
const SHOWN: usize = 60;

/// Nodes on this machine, each in its own process; dropping it kills them and deletes their homes.
pub struct Cluster {
    program: PathBuf,
    name: String,
    dir: PathBuf,
    /// All nodes, running or not.
    pub members: Vec<Member>,
    children: Vec<Option<Child>>,
    environment: Vec<(String, String)>,
    client: reqwest::Client,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.members.iter().for_each(show_log);
        }
        for child in self.children.iter_mut().flatten() {
            // Both fail only for a process that has ended.
            drop(child.kill());
            drop(child.wait());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// The program that cargo built for the tests, benches and campaigns of this package, in their profile.
///
/// A test or bench lies in a folder below it. Cargo builds it first for both; who runs a campaign's program builds both.
pub fn program() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let folders = here.ancestors().skip(1).take(2);
    let mut places = folders.map(|folder| folder.join(PROGRAM));
    places.find(|place| place.is_file()).ok_or_else(|| {
        format!(
            "no {PROGRAM} beside {}; `cargo build -p tests --bins` builds it, with `--release` for a program built for speed",
            here.display()
        )
    })
}

impl Cluster {
    /// Prepares `nodes` nodes with ports from `base_port` on; starts none. `environment` sets keys of the configuration.
    ///
    /// The ports lie below the ephemeral ones, of which another program may hold any.
    pub fn new(
        program: PathBuf,
        name: &str,
        nodes: usize,
        base_port: u16,
        environment: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        assert!(
            base_port < EPHEMERAL_PORTS,
            "port {base_port} is ephemeral and may be taken; choose one below {EPHEMERAL_PORTS}"
        );
        say(format_args!("{name}: {nodes} nodes with ports from {base_port} on"));
        let dir = std::env::temp_dir().join(format!("openledger-{name}-{}", std::process::id()));
        let members = prepare(&dir, nodes, base_port).map_err(|error| error.to_string())?;
        let environment = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let children = (0..nodes).map(|_| None).collect();
        Ok(Self {
            program,
            name: name.to_owned(),
            dir,
            members,
            children,
            environment,
            client: base::http::plain(),
        })
    }

    /// Prepares one validator and followers of it. Each follower knows only a few of the nodes made before it.
    pub fn followed(
        program: PathBuf,
        name: &str,
        nodes: usize,
        base_port: u16,
        environment: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let mut cluster = Self::new(program, name, 1, base_port, environment)?;
        let genesis = Home::new(&cluster.members[0].home).genesis();
        for node in 1..nodes {
            let member = follower(&cluster.dir, &genesis, node, base_port);
            cluster
                .members
                .push(member.map_err(|error| format!("could not prepare node {node}: {error}"))?);
            cluster.children.push(None);
        }
        Ok(cluster)
    }

    /// Starts a node that is not running.
    pub fn start(&mut self, node: usize) -> Result<(), Failure> {
        assert!(self.children[node].is_none(), "node {node} runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.members[node].log);
        let child = Command::new(&self.program)
            .args(["daemon", "--home"])
            .arg(&self.members[node].home)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(|error| error.to_string())?)
            .spawn()
            .map_err(|error| format!("could not start node {node}: {error}"))?;
        self.children[node] = Some(child);
        say(format_args!("{}: node {node} started", self.name));
        Ok(())
    }

    /// Starts all that are not running.
    pub fn start_all(&mut self) -> Result<(), Failure> {
        (0..self.members.len())
            .filter(|node| self.children[*node].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|node| self.start(node))
    }

    /// Kills a node with SIGKILL, so that it flushes nothing.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.children[node].take() {
            say(format_args!("{}: killing node {node}", self.name));
            child.kill().expect("a child process can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Stops a node with SIGTERM. Returns true if it exited with success.
    pub fn terminate(&mut self, node: usize) -> Result<bool, Failure> {
        let Some(mut child) = self.children[node].take() else {
            return Err(format!("node {node} does not run"));
        };
        let id = child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .map_err(|error| error.to_string())?;
        Ok(child.wait().map_err(|error| error.to_string())?.success())
    }

    /// The process id of a node, if it runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.children[node].as_ref().map(Child::id)
    }

    /// Removes a stopped node's state database: a cache that it must rebuild.
    pub fn remove_state(&self, node: usize) -> Result<(), Failure> {
        assert!(self.children[node].is_none(), "the node must be stopped first");
        std::fs::remove_dir_all(self.members[node].home.join("chain/state")).map_err(|error| error.to_string())
    }

    /// Reads a stopped node's block log: no entry may hold proof that a validator signed twice.
    pub fn check_no_double_sign(&self, node: usize) -> Result<(), Failure> {
        assert!(self.children[node].is_none(), "the node must be stopped first");
        let blocks = self.members[node].home.join("chain/blocks");
        let log = BlockLog::open(Arc::new(RealDisk), &blocks, Layout::default()).map_err(|error| error.to_string())?;
        for found in log.iter_from(Height(1)) {
            let (height, bytes) = found.map_err(|error| error.to_string())?;
            let entry: Entry = codec::decode(&bytes, BODY_MAX).map_err(|error| error.to_string())?;
            if let Some(proof) = entry.evidence.first() {
                return Err(format!(
                    "node {node} has proof that {:#} signed twice at {height}",
                    proof.offender()
                ));
            }
        }
        Ok(())
    }

    /// Calls a JSON-RPC method of a node.
    pub async fn call(&self, node: usize, method: &str, params: Value) -> Result<Value, Failure> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.post(node, &request).await?;
        match answer.get("error") {
            Some(error) => Err(format!("node {node}, {method}: {error}")),
            None => Ok(answer["result"].take()),
        }
    }

    /// Calls one JSON-RPC method many times in one batch; returns the responses in the order of the calls.
    pub async fn batch(&self, node: usize, method: &str, params: &[Value]) -> Result<Vec<Value>, Failure> {
        let one =
            |(id, params): (usize, &Value)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let batch: Vec<_> = params.iter().enumerate().map(one).collect();
        let mut answers = match self.post(node, &Value::Array(batch)).await? {
            Value::Array(answers) => answers,
            other => return Err(format!("node {node}, {method}: {other}")),
        };
        answers.sort_by_key(|answer| answer["id"].as_u64());
        Ok(answers)
    }

    async fn post(&self, node: usize, body: &Value) -> Result<Value, Failure> {
        let failed = |error: reqwest::Error| format!("node {node}: {error}");
        let request = self
            .client
            .post(&self.members[node].rpc)
            .timeout(Duration::from_secs(10))
            .json(body);
        request.send().await.map_err(failed)?.json().await.map_err(failed)
    }

    /// The height of a node's last final block.
    pub async fn height(&self, node: usize) -> Result<u64, Failure> {
        number(&self.call(node, "eth_blockNumber", json!([])).await?)
    }

    /// Waits until `node` has reached `height`; returns how long that took.
    pub async fn wait_for(&self, node: usize, height: u64, within: Duration) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            if self.height(node).await.is_ok_and(|now| now >= height) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > within {
                let now = self.height(node).await;
                return Err(format!("node {node} did not reach {height} within {within:?}: {now:?}"));
            }
            if !said && begun.elapsed() > LONG {
                say(format_args!(
                    "{}: waiting until node {node} is at block {height}",
                    self.name
                ));
                said = true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Hash and state root of a node's block.
    pub async fn block(&self, node: usize, height: u64) -> Result<(String, String), Failure> {
        let block = self
            .call(node, "eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
            .await?;
        match (block["hash"].as_str(), block["stateRoot"].as_str()) {
            (Some(hash), Some(root)) => Ok((hash.to_owned(), root.to_owned())),
            _ => Err(format!("node {node} has no block {height}: {block}")),
        }
    }

    /// The value of a metric from a node's `/metrics`.
    pub async fn metric(&self, node: usize, name: &str) -> Result<f64, Failure> {
        let url = format!("{}/metrics", self.members[node].api);
        let failed = |error: reqwest::Error| format!("node {node}: {error}");
        let text = self
            .client
            .get(url)
            .send()
            .await
            .map_err(failed)?
            .text()
            .await
            .map_err(failed)?;
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        value.ok_or_else(|| format!("node {node} has no metric {name}"))
    }
}

/// Prepares the home of a node that is not a validator.
fn follower(dir: &Path, genesis: &Path, node: usize, base_port: u16) -> Result<Member, Box<dyn std::error::Error>> {
    let home = Home::new(dir.join(format!("node-{node}")));
    let port = |node: usize, which: u16| base_port + 3 * u16::try_from(node).unwrap_or(u16::MAX) + which;
    std::fs::create_dir_all(home.root())?;
    std::fs::copy(genesis, home.genesis())?;
    base::key::read_or_create(&home.node_key())?;
    let mut known = vec![0, node / 2, node - 1];
    known.sort_unstable();
    known.dedup();
    let known: Vec<_> = known
        .into_iter()
        .map(|node| format!("\"/ip4/127.0.0.1/tcp/{}\"", port(node, 1)))
        .collect();
    let (rpc, peers, api) = (port(node, 0), port(node, 1), port(node, 2));
    let config = format!(
        "[node]\nnetwork = \"dev\"\nmoniker = \"node-{node}\"\n\n\
         [network]\nlisten = [\"/ip4/127.0.0.1/tcp/{peers}\"]\nbootstrap = [{}]\n\n\
         [rpc]\nlisten = \"127.0.0.1:{rpc}\"\n\n[api]\nlisten = \"127.0.0.1:{api}\"\n\n\
         [data]\nlisten = \"127.0.0.1:0\"\n",
        known.join(", ")
    );
    std::fs::write(home.config(), config)?;
    Ok(Member {
        node,
        home: home.root().to_owned(),
        rpc: format!("http://127.0.0.1:{rpc}"),
        api: format!("http://127.0.0.1:{api}"),
        log: home.root().join("node.log"),
    })
}

/// A number as JSON-RPC writes it.
pub fn number(value: &Value) -> Result<u64, Failure> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("{value} is not a number"))
}

/// Prints the last lines of a node's log, which is deleted with the test.
fn show_log(member: &Member) {
    let log = std::fs::read_to_string(&member.log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    eprintln!("--- the last of {} ---", member.log.display());
    for line in &lines[lines.len().saturating_sub(SHOWN)..] {
        eprintln!("{line}");
    }
}

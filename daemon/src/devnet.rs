//! A development network: real node processes on this machine, from nothing to a running chain with one command.
//!
//! Each node is this same program in a process of its own, with its own home, keys and ports. The parent process only
//! starts the nodes, watches them through their public interfaces, and stops them.

mod homes;
mod once;

pub use homes::prepare;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::node::interrupted;
use base::home::Home;
use chain::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};

/// Longest that the nodes may take to finalise their first block.
const FIRST_BLOCK_WITHIN: Duration = Duration::from_secs(60);
/// Longest that a node may take to stop after SIGTERM; then it is killed.
const END_WITHIN: Duration = Duration::from_secs(12);

/// The size of a development network and where it lives.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes, all of them validators.
    pub nodes: usize,
    /// Folder of the homes, which is kept. `None` uses a temporary folder and removes it at the end.
    pub dir: Option<PathBuf>,
    /// First port; each node takes three.
    pub base_port: u16,
    /// Send a few transactions, check that all nodes agree, and stop.
    pub once: bool,
    /// Print one JSON object instead of text.
    pub json: bool,
}

/// Reason that the network did not start, or that its nodes disagree.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    #[error("--nodes is {0}; choose 1 to 32")]
    Nodes(usize),
    #[error("could not prepare node {node} in {}", dir.display())]
    Home {
        node: usize,
        dir: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not start node {node}")]
    Start {
        node: usize,
        #[source]
        source: std::io::Error,
    },
    #[error("node {node} ended ({status}); the end of its log ({}) says:\n{words}", log.display())]
    Ended {
        node: usize,
        status: std::process::ExitStatus,
        log: PathBuf,
        words: String,
    },
    #[error("{what} did not happen within {} s; the logs are in {}", within.as_secs(), dir.display())]
    Late {
        what: String,
        within: Duration,
        dir: PathBuf,
    },
    #[error("node {node}: {why}")]
    Answer { node: usize, why: String },
    #[error("the nodes disagree: {0}")]
    Disagree(String),
}

/// One node of the network, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    pub node: usize,
    pub home: PathBuf,
    pub rpc: String,
    pub api: String,
    pub log: PathBuf,
}

struct Network {
    dir: PathBuf,
    temporary: bool,
    members: Vec<Member>,
    children: Vec<Child>,
}

impl Drop for Network {
    /// Kills what still runs, so that no error leaves a process behind.
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both calls fail only for a process that has ended already.
            drop(child.kill());
            drop(child.wait());
        }
        if self.temporary {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

/// Starts the network, prints its addresses and accounts, and runs until SIGINT or SIGTERM. With `once`, sends a few
/// transfers, compares the nodes, and stops.
pub async fn run(options: Options, mut say: impl FnMut(&Value, String)) -> Result<(), DevnetError> {
    if !(1..=32).contains(&options.nodes) {
        return Err(DevnetError::Nodes(options.nodes));
    }
    let begun = Instant::now();
    let (dir, temporary) = match &options.dir {
        Some(dir) => (dir.clone(), false),
        None => (
            std::env::temp_dir().join(format!("openledger-devnet-{}", std::process::id())),
            true,
        ),
    };
    let members = prepare(&dir, options.nodes, options.base_port)?;
    let mut network = Network {
        dir,
        temporary,
        members,
        children: Vec::new(),
    };
    network.start()?;
    network.first_block().await?;
    let took = begun.elapsed();
    say(&network.about(took), network.describe(took));
    if options.once {
        let report = once::self_test(&network).await?;
        say(&report.0, report.1);
    } else {
        tokio::select! {
            () = interrupted() => (),
            ended = network.guard() => return Err(ended),
        }
    }
    network.end().await;
    Ok(())
}

impl Network {
    fn start(&mut self) -> Result<(), DevnetError> {
        let program = std::env::current_exe().map_err(|source| DevnetError::Start { node: 0, source })?;
        for member in &self.members {
            let failed = |source| DevnetError::Start {
                node: member.node,
                source,
            };
            let log = std::fs::File::create(&member.log).map_err(failed)?;
            let child = Command::new(&program)
                .args(["daemon", "--home"])
                .arg(&member.home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .map_err(failed)?;
            self.children.push(child);
        }
        Ok(())
    }

    fn late(&self, what: impl Into<String>, within: Duration) -> DevnetError {
        DevnetError::Late {
            what: what.into(),
            within,
            dir: self.dir.clone(),
        }
    }

    async fn first_block(&mut self) -> Result<(), DevnetError> {
        let until = Instant::now() + FIRST_BLOCK_WITHIN;
        loop {
            self.check_alive()?;
            let mut heights = Vec::new();
            for member in &self.members {
                heights.push(height(member).await.unwrap_or(0));
            }
            if heights.iter().all(|height| *height > 0) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(self.late("the first block", FIRST_BLOCK_WITHIN));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn check_alive(&mut self) -> Result<(), DevnetError> {
        for (member, child) in self.members.iter().zip(&mut self.children) {
            if let Ok(Some(status)) = child.try_wait() {
                let (node, log) = (member.node, member.log.clone());
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                let words = lines[lines.len().saturating_sub(5)..].join("\n");
                return Err(DevnetError::Ended {
                    node,
                    status,
                    log,
                    words,
                });
            }
        }
        Ok(())
    }

    /// Waits until a node exits by itself, which is a failure.
    async fn guard(&mut self) -> DevnetError {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Err(ended) = self.check_alive() {
                return ended;
            }
        }
    }

    /// Sends SIGTERM to every node and waits. A node that does not stop in time is killed when the network is dropped.
    async fn end(&mut self) {
        for child in &self.children {
            // SIGTERM lets a node flush its files and close its connections.
            drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
        }
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until {
            if self
                .children
                .iter_mut()
                .all(|child| matches!(child.try_wait(), Ok(Some(_))))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn about(&self, took: Duration) -> Value {
        let account = |(address, key): &(alloy_primitives::Address, &str)| json!({ "address": address, "private_key": format!("0x{key}") });
        json!({
            "event": "up",
            "chain_id": DEV_CHAIN_ID,
            "nodes": self.members,
            "accounts": DEV_ACCOUNTS.iter().map(account).collect::<Vec<_>>(),
            "started_in_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn describe(&self, took: Duration) -> String {
        let mut text = format!(
            "A chain of {} nodes is up (chain id {DEV_CHAIN_ID}, {} ms).\n\n",
            self.members.len(),
            took.as_millis()
        );
        for member in &self.members {
            text += &format!(
                "  node {}   rpc {}   home {}\n",
                member.node,
                member.rpc,
                member.home.display()
            );
        }
        text += "\nFunded accounts. Their keys are public: never use them on another network.\n\n";
        for (address, key) in DEV_ACCOUNTS {
            text += &format!("  {address}   0x{key}\n");
        }
        text += "\nTry it:\n";
        let home = self.members[0].home.display();
        text += &format!("  openledger status --home {home}\n");
        text += &format!(
            "  openledger wallet send --home {home} --from dev0 --to {} --amount 1.5 --wait\n",
            DEV_ACCOUNTS[1].0
        );
        text += "\nCtrl-C stops it";
        text += if self.temporary {
            " and removes its folder."
        } else {
            "; run it again with the same --dir to continue."
        };
        text
    }
}

/// Calls one JSON-RPC method of a node.
async fn call(member: &Member, method: &str, params: Value) -> Result<Value, DevnetError> {
    let failed = |why: String| DevnetError::Answer {
        node: member.node,
        why: format!("{method}: {why}"),
    };
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = base::http::plain().post(&member.rpc).json(&request).send().await;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let mut answer: Value = answer.json().await.map_err(|error| failed(error.to_string()))?;
    match answer.get("error") {
        Some(error) => Err(failed(error.to_string())),
        None => Ok(answer["result"].take()),
    }
}

async fn height(member: &Member) -> Result<u64, DevnetError> {
    let answer = call(member, "eth_blockNumber", json!([])).await?;
    let text = answer.as_str().and_then(|text| text.strip_prefix("0x"));
    text.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| DevnetError::Answer {
            node: member.node,
            why: format!("eth_blockNumber answered {answer}"),
        })
}

fn member_home(dir: &Path, node: usize) -> Home {
    Home::new(dir.join(format!("node-{node}")))
}

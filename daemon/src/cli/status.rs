//! `openledger status`: whether the node is connected and voting, its height, and how far it is behind.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Globals, chain::validators, exit::Exit, globals::wait, output, running::Running};
use base::{clock::Clock, operator::status};

/// Blocks behind the best known height that still count as up to date: they are being fetched.
const BEHIND: u64 = 2;
/// Value of `signing` in the status of a node that signs.
const SIGNING: &str = "on";

/// Show whether the running node is connected, voting and up to date
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger status --watch\n\n\
                  JSON: {connected, voting, behind, pid, rpc, api, listen, node_id, moniker, network, chain_id, genesis, \
                  height, best_known_height, head_hash, state_root, head_timestamp_s, peers, round, validators, signing, \
                  mempool_transactions, mempool_bytes, version, uptime_s}; with --watch one object per line")]
pub(crate) struct Status {
    /// Print a line every second
    #[arg(long)]
    watch: bool,
}

#[derive(Serialize)]
struct Shown {
    connected: bool,
    voting: bool,
    behind: u64,
    #[serde(flatten)]
    running: RunningShown,
    #[serde(flatten)]
    status: status::Status,
}

#[derive(Serialize)]
struct RunningShown {
    pid: u32,
    rpc: String,
    api: String,
    listen: Vec<String>,
}

impl Status {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let running = globals.running()?;
        wait(async {
            let shown = ask(&running, globals).await?;
            if !self.watch {
                globals.show(&shown, || text(&shown, Clock::new().now().as_secs()));
                return Ok(Exit::Done);
            }
            globals.show(&shown, || line(&shown));
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
                    () = tokio::time::sleep(Duration::from_secs(1)) => (),
                }
                let shown = ask(&running, globals).await?;
                globals.show(&shown, || line(&shown));
            }
        })
    }
}

async fn ask(running: &Running, globals: &Globals) -> anyhow::Result<Shown> {
    let status = running.status().await?;
    // The node knows whether it signs; only the chain knows whether its validator is elected.
    let elected = match (globals.genesis(), validators::own_key(&globals.home())) {
        (Ok(genesis), Some(own)) if status.signing == SIGNING => match validators::request(running, &genesis).await {
            Ok((_, stakers)) => stakers.iter().any(|staker| staker.key == own),
            // The state of the epoch's first block may be pruned; then the node's own status has to do.
            Err(_) => true,
        },
        _ => true,
    };
    Ok(shown(running.clone(), status, elected))
}

fn shown(running: Running, mut status: status::Status, elected: bool) -> Shown {
    let voting = status.signing == SIGNING && elected;
    if !elected {
        status.signing = "off: its validator has too little stake to vote in this epoch".to_owned();
    }
    Shown {
        connected: status.peers > 0,
        voting,
        behind: status.best_known_height.saturating_sub(status.height),
        running: RunningShown {
            pid: running.pid,
            rpc: running.rpc,
            api: running.api,
            listen: running.listen,
        },
        status,
    }
}

fn text(shown: &Shown, now_s: u64) -> String {
    let status = &shown.status;
    let connected = match (status.peers, status.validators) {
        (0, 1) if shown.voting => "no peers; none are needed by the only validator".to_owned(),
        (0, _) => {
            "no: no peer is connected; add one with `openledger peers add ADDR`, and check the network".to_owned()
        }
        (1, _) => "yes, to 1 peer".to_owned(),
        (peers, _) => format!("yes, to {peers} peers"),
    };
    let voting = match shown.voting {
        true => format!("yes, one of {}", status.validators),
        false => format!("no: {}", status.signing),
    };
    let height = match shown.behind {
        0..=BEHIND => format!("{}, up to date", status.height),
        behind => format!("{}, {behind} blocks behind {}", status.height, status.best_known_height),
    };
    let age = now_s.saturating_sub(status.head_timestamp_s);
    let waiting = match status.mempool_transactions {
        1 => "1 transaction waits".to_owned(),
        count => format!("{count} transactions wait"),
    };
    output::columns(&[
        ("Connected", connected),
        ("Voting", voting),
        ("Height", height),
        ("Head", format!("{}, {} ago", status.head_hash, span(age))),
        ("Mempool", waiting),
        (
            "Chain",
            format!(
                "{} (chain id {}), genesis {:#}",
                status.network, status.chain_id, status.genesis
            ),
        ),
        (
            "Node",
            format!("{} {:#}, up {}", status.moniker, status.node_id, span(status.uptime_s)),
        ),
        (
            "Reach it",
            format!("JSON-RPC {}, status {}", shown.running.rpc, shown.running.api),
        ),
    ])
}

fn line(shown: &Shown) -> String {
    let status = &shown.status;
    let voting = if shown.voting { "voting" } else { "not voting" };
    format!(
        "height {}  behind {}  peers {}  {voting}  waiting {}",
        status.height, shown.behind, status.peers, status.mempool_transactions
    )
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use protocol::{BlockHash, NodeId};

    use super::*;

    fn status(peers: u64, height: u64, best: u64, signing: &str) -> Shown {
        let running = Running {
            pid: 7,
            socket: std::path::PathBuf::new(),
            rpc: "http://127.0.0.1:1".to_owned(),
            api: "http://127.0.0.1:2".to_owned(),
            listen: Vec::new(),
        };
        let status = status::Status {
            node_id: NodeId([1; 32]),
            moniker: "alice".to_owned(),
            network: "dev".to_owned(),
            chain_id: 1337,
            genesis: BlockHash([2; 32]),
            height,
            best_known_height: best,
            head_hash: BlockHash([3; 32]),
            state_root: "0x00".to_owned(),
            head_timestamp_s: 100,
            peers,
            round: 0,
            validators: 4,
            signing: signing.to_owned(),
            mempool_transactions: 1,
            mempool_bytes: 100,
            version: "x".to_owned(),
            uptime_s: 61,
        };
        shown(running, status, true)
    }

    #[test]
    fn a_healthy_node_is_reported_in_a_few_lines() {
        let text = text(&status(3, 10, 11, "on"), 102);
        for part in [
            "yes, to 3 peers",
            "yes, one of 4",
            "10, up to date",
            "2s ago",
            "1 transaction waits",
            "up 1m 1s",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_node_without_peers_or_votes_and_behind_reports_each_problem() {
        let shown = status(0, 10, 50, "no validator key");
        assert!(!shown.connected && !shown.voting && shown.behind == 40);
        let text = text(&shown, 102);
        for part in ["no peer is connected", "no: no validator key", "40 blocks behind 50"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(line(&shown), "height 10  behind 40  peers 0  not voting  waiting 1");
    }

    #[test]
    fn a_validator_that_is_not_elected_does_not_vote() {
        let Shown { running, status, .. } = status(1, 5, 5, "on");
        let running = Running {
            pid: running.pid,
            socket: std::path::PathBuf::new(),
            rpc: running.rpc,
            api: running.api,
            listen: running.listen,
        };
        let shown = shown(running, status, false);
        assert!(!shown.voting && text(&shown, 0).contains("no: off: its validator has too little stake"));
    }

    #[test]
    fn the_json_object_has_the_summary_and_the_response_of_the_node() {
        let object = serde_json::to_value(status(1, 5, 5, "on")).unwrap();
        assert_eq!(
            (&object["voting"], &object["height"], &object["pid"]),
            (&true.into(), &5.into(), &7.into())
        );
    }
}

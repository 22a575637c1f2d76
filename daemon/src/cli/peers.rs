//! `openledger peers`: the connected peers, the bootstrap peers, and the nodes that offer work.
//!
//! `peers add` writes the address to the configuration; a running node also dials it at once.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Globals, config,
    data::request,
    exit::{Exit, ended},
    globals::wait,
    output,
};
use base::operator::{
    peer::{DialRequest, PeerLine},
    work::WorkerLine,
};

/// List peers, or add a bootstrap peer
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger peers add /ip4/10.0.0.7/tcp/4001")]
pub(crate) struct Peers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the connected and the configured peers
    #[command(
        after_help = "Example: openledger peers list\n\nJSON: {running, peers: [{id, address, outbound, agent, offence_points}], bootstrap: [ADDR], \
                      listen: [ADDR]}; peers is null if no node is running"
    )]
    List,
    /// List the nodes that offer work: training, inference, audits
    #[command(
        after_help = "Example: openledger peers workers\n\nJSON: [{node, kinds, bases, prices, device, threads, memory_gib, until_ms}]"
    )]
    Workers,
    /// Add a peer to network.bootstrap; a running node dials it at once
    #[command(after_help = "Example: openledger peers add /ip4/10.0.0.7/tcp/4001\n\nJSON: {address, added, dialled}")]
    Add {
        /// Address of the peer, such as /ip4/10.0.0.7/tcp/4001
        #[arg(value_name = "ADDR", value_parser = address)]
        address: String,
    },
}

#[derive(Serialize)]
struct Shown {
    running: bool,
    peers: Option<Vec<PeerLine>>,
    bootstrap: Vec<String>,
    listen: Vec<String>,
}

impl Peers {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List => list(globals)?,
            Verb::Workers => workers(globals)?,
            Verb::Add { address } => add(globals, &address)?,
        }
        Ok(Exit::Done)
    }
}

fn list(globals: &Globals) -> anyhow::Result<()> {
    let bootstrap = globals.config()?.config.network.bootstrap;
    let running = globals.maybe_running();
    let peers = match &running {
        Some(running) => Some(wait(running.operator_client().request("/v1/peers/list", &Value::Null))?),
        None => None,
    };
    let shown = Shown {
        running: running.is_some(),
        peers,
        bootstrap,
        listen: running.map(|running| running.listen).unwrap_or_default(),
    };
    globals.show(&shown, || {
        let connected = match &shown.peers {
            Some(peers) => peers.len().to_string(),
            None => "no node is running".to_owned(),
        };
        let mut rows = vec![("Connected", connected)];
        let line = |peer: &PeerLine| format!("{:#}  {}  {}", peer.id, peer.address, peer.agent);
        rows.extend(shown.peers.iter().flatten().map(|peer| ("Peer", line(peer))));
        rows.extend(shown.bootstrap.iter().map(|peer| ("Bootstrap", peer.clone())));
        rows.extend(shown.listen.iter().map(|address| ("Listening on", address.clone())));
        output::columns(&rows)
    });
    Ok(())
}

fn workers(globals: &Globals) -> anyhow::Result<()> {
    let workers: Vec<WorkerLine> = request(globals, "/v1/work/workers", &Value::Null)?;
    globals.show(&workers, || {
        let line = |worker: &WorkerLine| {
            let price = |kind: &String| match worker.prices.get(kind) {
                Some(price) => format!("{kind} for {price}"),
                None => kind.clone(),
            };
            format!(
                "{}  {}  {} base models  {}, {} threads, {} GiB",
                worker.node,
                worker.kinds.iter().map(price).collect::<Vec<_>>().join(", "),
                worker.bases.len(),
                worker.device,
                worker.threads,
                worker.memory_gib
            )
        };
        match workers.is_empty() {
            true => "no known node offers work; `openledger worker offer` offers some".to_owned(),
            false => workers.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn add(globals: &Globals, address: &str) -> anyhow::Result<()> {
    if !globals.home().root().is_dir() {
        return Err(globals.no_home("there is no configuration").into());
    }
    if globals.config()?.config.network.bootstrap.len() >= 256 {
        return Err(ended(
            Exit::Failed,
            "network.bootstrap has 256 peers; remove some from config.toml",
        )
        .into());
    }
    let added = config::append(&globals.home(), "network.bootstrap", address)?;
    let dialled = match globals.maybe_running() {
        Some(running) => {
            wait(running.operator_client().request::<()>(
                "/v1/peers/dial",
                &DialRequest {
                    address: address.to_owned(),
                },
            ))?;
            true
        }
        None => false,
    };
    let answer = json!({ "address": address, "added": added, "dialled": dialled });
    globals.show(&answer, || match (added, dialled) {
        (true, true) => format!("added {address}; the running node dials it now"),
        (true, false) => format!("added {address}; the node dials it when it starts"),
        (false, true) => format!("{address} is configured already; the running node dials it now"),
        (false, false) => format!("{address} is configured already"),
    });
    Ok(())
}

/// Parses an address that a node can dial: `/ip4/…/tcp/PORT`, `/ip6/…/tcp/PORT` or `/dns/…/tcp/PORT`, optionally with
/// `/p2p/…` at its end.
fn address(text: &str) -> Result<String, String> {
    let wrong = || {
        format!("`{text}` is not an address; write one such as /ip4/10.0.0.7/tcp/4001 or /dns/node.example/tcp/4001")
    };
    let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(wrong)?.split('/').collect();
    let (host, port) = match parts[..] {
        [kind, host, "tcp", port] | [kind, host, "tcp", port, "p2p", _] => ((kind, host), port),
        _ => return Err(wrong()),
    };
    let known = match host {
        ("ip4", host) => host.parse::<std::net::Ipv4Addr>().is_ok(),
        ("ip6", host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        ("dns" | "dns4" | "dns6", host) => !host.is_empty() && !host.contains(char::is_whitespace),
        _ => false,
    };
    let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    if known && has_port {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_a_node_can_dial_is_accepted() {
        for text in [
            "/ip4/10.0.0.7/tcp/4001",
            "/ip6/::1/tcp/1",
            "/dns/node.example/tcp/65535",
            "/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW",
        ] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "10.0.0.7:4001",
            "/ip4/10.0.0/tcp/1",
            "/ip4/10.0.0.7/tcp/0",
            "/ip4/10.0.0.7/udp/1",
            "/ip4/10.0.0.7/tcp/70000",
            "/dns//tcp/1",
            "/ip4/10.0.0.7/tcp/1/p2p",
        ] {
            assert!(address(text).unwrap_err().contains("such as /ip4/"), "{text}");
        }
    }
}

//! `openledger peers`: whom this node is connected to and whom it comes back to.
//!
//! `peers list` prints `{"running", "peers": [{"id", "address", "outbound", "agent", "offence_points"}], "bootstrap":
//! ["/ip4/…"], "listen": ["/ip4/…"]}`; `peers` is null where no node is running. `peers add ADDR` prints `{"address",
//! "added", "dialled"}`: it is remembered, and reached out to at once by a node that runs. `peers workers` prints a list
//! of [`WorkerLine`].

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Place, config,
    data::ask_of,
    exit::{Exit, ended},
    output,
    place::wait,
};
use base::operator::{
    peer::{DialRequest, PeerLine},
    work::WorkerLine,
};

/// Show peers, or add one to come back to
#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the peers that are connected and those that are configured
    #[command(after_help = "Example: openledger peers list")]
    List,
    /// Print the nodes that offer work: training, inference, audits
    #[command(after_help = "Example: openledger peers workers")]
    Workers,
    /// Add a peer to network.bootstrap in the configuration
    #[command(after_help = "Example: openledger peers add /ip4/10.0.0.7/tcp/4001")]
    Add {
        /// Where it listens
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
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List => list(place)?,
            Verb::Workers => workers(place)?,
            Verb::Add { address } => add(place, &address)?,
        }
        Ok(Exit::Done)
    }
}

fn list(place: &Place) -> anyhow::Result<()> {
    let bootstrap = place.config()?.config.network.bootstrap;
    let running = place.maybe_running();
    let peers = match &running {
        Some(running) => Some(wait(running.local().ask("/v1/peers/list", &Value::Null))?),
        None => None,
    };
    let shown = Shown {
        running: running.is_some(),
        peers,
        bootstrap,
        listen: running.map(|running| running.listen).unwrap_or_default(),
    };
    place.show(&shown, || {
        let connected = match &shown.peers {
            Some(peers) => peers.len().to_string(),
            None => "no node is running".to_owned(),
        };
        let mut rows = vec![("Connected", connected)];
        let line = |peer: &PeerLine| format!("{:#}  {}  {}", peer.id, peer.address, peer.agent);
        rows.extend(shown.peers.iter().flatten().map(|peer| ("Peer", line(peer))));
        rows.extend(shown.bootstrap.iter().map(|peer| ("Comes back to", peer.clone())));
        rows.extend(shown.listen.iter().map(|address| ("Listens at", address.clone())));
        output::columns(&rows)
    });
    Ok(())
}

fn workers(place: &Place) -> anyhow::Result<()> {
    let workers: Vec<WorkerLine> = ask_of(place, "/v1/work/workers", &Value::Null)?;
    place.show(&workers, || {
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
            true => "nobody offers work, as far as is known here; `openledger worker offer` does".to_owned(),
            false => workers.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn add(place: &Place, address: &str) -> anyhow::Result<()> {
    if !place.home().root().is_dir() {
        return Err(place.no_home("there is no configuration").into());
    }
    if place.config()?.config.network.bootstrap.len() >= 256 {
        return Err(ended(
            Exit::Failed,
            "network.bootstrap has 256 peers; remove some from config.toml",
        )
        .into());
    }
    let added = config::append(&place.home(), "network.bootstrap", address)?;
    let dialled = match place.maybe_running() {
        Some(running) => {
            wait(running.local().ask::<()>(
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
    place.show(&answer, || match (added, dialled) {
        (true, true) => format!("added {address}; the running node reaches out to it now"),
        (true, false) => format!("added {address}; the node reaches out to it when it starts"),
        (false, true) => format!("{address} was there already; the running node reaches out to it now"),
        (false, false) => format!("{address} was there already"),
    });
    Ok(())
}

/// An address that a node can dial: `/ip4/…/tcp/PORT`, `/ip6/…/tcp/PORT` or `/dns/…/tcp/PORT`, with `/p2p/…` behind it
/// if wanted.
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
    fn an_address_is_what_a_node_can_dial() {
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

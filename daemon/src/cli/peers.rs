//! `openledger peers`: whom this node is connected to and whom it comes back to.
//!
//! `peers list` prints `{"running", "connected", "bootstrap": ["/ip4/…"], "listen": ["/ip4/…"]}`; `connected` is a count,
//! null where no node is running. `peers add ADDR` prints `{"address", "added"}`.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{
    Place, config,
    exit::{Exit, ended},
    output,
    place::wait,
};

/// Show peers, or add one to come back to
#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print how many peers are connected and which are configured
    #[command(after_help = "Example: openledger peers list")]
    List,
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
    connected: Option<u64>,
    bootstrap: Vec<String>,
    listen: Vec<String>,
}

impl Peers {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::List => list(place)?,
            Verb::Add { address } => add(place, &address)?,
        }
        Ok(Exit::Done)
    }
}

fn list(place: &Place) -> anyhow::Result<()> {
    let bootstrap = place.config()?.config.network.bootstrap;
    let running = place.maybe_running();
    let status = running.as_ref().map(|running| wait(running.status())).transpose()?;
    let shown = Shown {
        running: running.is_some(),
        connected: status.map(|status| status.peers),
        bootstrap,
        listen: running.map(|running| running.listen).unwrap_or_default(),
    };
    place.show(&shown, || {
        let connected = shown
            .connected
            .map_or("no node is running".to_owned(), |count| count.to_string());
        let mut rows = vec![("Connected", connected)];
        rows.extend(shown.bootstrap.iter().map(|peer| ("Comes back to", peer.clone())));
        rows.extend(shown.listen.iter().map(|address| ("Listens at", address.clone())));
        output::columns(&rows)
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
    place.show(&json!({ "address": address, "added": added }), || match added {
        true => format!("added {address}"),
        false => format!("{address} was there already"),
    });
    if added && place.maybe_running().is_some() {
        output::note("the running node reaches out to it after a restart");
    }
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

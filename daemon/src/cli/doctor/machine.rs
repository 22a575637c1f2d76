//! Checks of the machine: disk space, ports, the limit on open files, memory and processor.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use compute::{MachineInfo, machine::Memory};
use config::{Config, Size};
use rustix::process::{Resource, getrlimit};
use storage::disk::free_bytes;

use super::Check;
use crate::cli::Globals;

/// Open files that a busy node needs: connections, log segments and databases.
const FILES_MIN: u64 = 2048;
/// Available memory below which a node may run out of it under load, in bytes.
const MEMORY_MIN: u64 = 1 << 30;

pub(super) fn checks(globals: &Globals) -> Vec<Check> {
    let config = globals.config().map(|loaded| loaded.config).unwrap_or_default();
    let mut checks = vec![disk(globals, &config)];
    checks.extend(ports(globals, &config));
    checks.push(files(getrlimit(Resource::Nofile).current));
    checks.extend(host(&MachineInfo::probe()));
    checks
}

fn disk(globals: &Globals, config: &Config) -> Check {
    let home = globals.home();
    // A home that does not exist yet will be created on the disk of its nearest existing parent.
    let there = home.root().ancestors().find(|folder| folder.is_dir());
    let free = free_bytes(there.unwrap_or(home.root()));
    match free {
        Ok(free) => room(free, config.storage.min_free_space.0),
        Err(why) => Check::bad(
            "disk",
            format!("could not measure free space: {why}"),
            "move the home to a local disk",
        ),
    }
}

fn room(free: u64, least: u64) -> Check {
    let shown = |bytes: u64| format!("{} MiB", bytes >> 20);
    let what = format!("{} free, storage.min_free_space is {}", shown(free), Size(least));
    if free < least {
        Check::bad(
            "disk",
            what,
            "free some space, or move the home to a larger disk: the node does not start with less than storage.min_free_space",
        )
    } else if free < least.saturating_mul(2) {
        Check::warning(
            "disk",
            what,
            "free some space soon: the node stops at storage.min_free_space",
        )
    } else {
        Check::good("disk", what)
    }
}

fn ports(globals: &Globals, config: &Config) -> Vec<Check> {
    let ours = globals.maybe_running().is_some();
    let mut listen = vec![("rpc.listen", config.rpc.listen), ("api.listen", config.api.listen)];
    listen.extend(
        config
            .network
            .listen
            .iter()
            .filter_map(|text| Some(("network.listen", socket(text)?))),
    );
    listen
        .into_iter()
        .map(|(key, address)| port(key, address, ours))
        .collect()
}

fn port(key: &'static str, address: SocketAddr, ours: bool) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => Check::good(key, format!("{address} is free")),
        Err(why) if why.kind() == io::ErrorKind::AddrInUse && ours => {
            Check::good(key, format!("{address}, in use by this node"))
        }
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
            let fix = format!("stop that program, or run `openledger config set {key}` with another address");
            Check::bad(key, format!("{address} is in use by another program"), fix)
        }
        Err(why) => {
            let fix = format!("run `openledger config set {key}` with an address of this machine");
            Check::bad(key, format!("could not listen on {address}: {why}"), fix)
        }
    }
}

/// Parses a multiaddress such as `/ip4/127.0.0.1/tcp/4001`; `None` for other kinds.
fn socket(text: &str) -> Option<SocketAddr> {
    let parts: Vec<&str> = text.split('/').collect();
    let ["", "ip4" | "ip6", host, "tcp", port, ..] = parts[..] else {
        return None;
    };
    Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
}

fn files(limit: Option<u64>) -> Check {
    match limit {
        Some(limit) if limit < FILES_MIN => {
            let fix = format!("run: ulimit -n {FILES_MIN}, or LimitNOFILE={FILES_MIN} in the systemd unit");
            Check::warning(
                "open files",
                format!("at most {limit}; a busy node needs {FILES_MIN}"),
                fix,
            )
        }
        Some(limit) => Check::good("open files", format!("at most {limit}")),
        None => Check::good("open files", "no limit"),
    }
}

fn host(host: &MachineInfo) -> Vec<Check> {
    let cores = format!("{} cores, {}", host.cores, host.cpu);
    let processor = match host.cores {
        1 => Check::warning(
            "processor",
            cores,
            "two cores or more keep blocks fast while the node serves requests",
        ),
        _ => Check::good("processor", cores),
    };
    let memory = host.memory.map(|memory| self::memory(&memory));
    [Some(processor), memory].into_iter().flatten().collect()
}

fn memory(memory: &Memory) -> Check {
    let shown = |bytes: u64| format!("{} MiB", bytes >> 20);
    let what = format!(
        "{} of {} available",
        shown(memory.available_bytes),
        shown(memory.total_bytes)
    );
    if memory.available_bytes < MEMORY_MIN {
        Check::warning(
            "memory",
            what,
            "stop other programs, or make storage.cache and mempool.max_bytes smaller",
        )
    } else {
        Check::good("memory", what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn little_room_is_a_warning_and_too_little_is_bad() {
        let state = |free| room(free, 100 << 20).state;
        assert_eq!(
            (state(99 << 20), state(150 << 20), state(200 << 20)),
            (State::Bad, State::Warning, State::Good)
        );
    }

    #[test]
    fn a_port_is_free_ours_or_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("rpc.listen", address, true).state, State::Good);
        let check = port("rpc.listen", address, false);
        assert!(check.state == State::Bad && check.fix.unwrap().contains("config set rpc.listen"));
        drop(taken);
        assert!(port("rpc.listen", address, false).what.ends_with("is free"));
    }

    #[test]
    fn an_address_for_peers_has_a_socket_if_it_names_one() {
        assert_eq!(
            socket("/ip4/127.0.0.1/tcp/4001"),
            Some(SocketAddr::from(([127, 0, 0, 1], 4001)))
        );
        assert_eq!(socket("/dns/node.example/tcp/4001"), None);
    }

    #[test]
    fn few_open_files_are_a_warning() {
        assert_eq!(files(Some(1024)).state, State::Warning);
        assert_eq!(
            (files(Some(FILES_MIN)).state, files(None).state),
            (State::Good, State::Good)
        );
    }
}

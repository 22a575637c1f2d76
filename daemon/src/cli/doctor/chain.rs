//! Checks of the chain's data: the block log belongs to the genesis, can be read, and does not end in the future.

use std::{
    fs::{self, TryLockError},
    sync::Arc,
};

use evm::genesis::ChainGenesis;
use protocol::{BlockHash, Time};

use super::Check;
use crate::cli::{Globals, chain::archive::Archive};
use base::{clock::Clock, home::Home};

/// Seconds that the last block may be ahead of this clock: the tolerance of the validators.
const AHEAD_MAX_S: u64 = evm::block::AHEAD_MAX_S;
/// The year 2024. A clock that shows an earlier time was never set.
const EARLIEST: Time = Time::from_secs(1_704_067_200);

pub(super) fn checks(globals: &Globals) -> Vec<Check> {
    let home = globals.home();
    if !home.root().is_dir() {
        return Vec::new();
    }
    let now = Clock::new().now();
    let mut checks = vec![node_process(&home)];
    match globals.genesis() {
        Ok(genesis) => checks.extend(data(&home, &genesis, now)),
        Err(why) => checks.push(Check::bad(
            "genesis",
            format!("{why:#}"),
            "run `openledger init`, or copy genesis.json again from a node of the chain",
        )),
    }
    checks
}

/// Finds out from the home's lock whether a node runs. A shared lock does not disturb other readers.
fn node_process(home: &Home) -> Check {
    let (name, path) = ("node", home.root().join("lock"));
    let Ok(file) = fs::File::open(&path) else {
        return Check::good(name, "has never run; `openledger daemon` starts it");
    };
    match file.try_lock_shared() {
        Ok(()) => Check::good(name, "stopped; `openledger daemon` starts it"),
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            Check::good(name, format!("running as process {}", pid.trim()))
        }
        Err(TryLockError::Error(why)) => Check::bad(
            name,
            format!("{} cannot be locked: {why}", path.display()),
            "move the home to a file system that supports locks",
        ),
    }
}

fn data(home: &Home, genesis: &Arc<ChainGenesis>, now: Time) -> Vec<Check> {
    let mut checks = vec![Check::good(
        "genesis",
        format!("chain id {}, {}", genesis.spec.chain_id, genesis.hash),
    )];
    let last = Archive::open(home).and_then(|archive| {
        let last = archive.tip().map(|tip| archive.entry(tip)).transpose()?.flatten();
        Ok((archive.first_parent()?, last))
    });
    let (parent, last) = match last {
        Ok(found) => found,
        Err(why) => {
            let fix = "stop the node and run `openledger chain repair`";
            checks.push(Check::bad("block log", format!("{why:#}"), fix));
            return checks;
        }
    };
    checks.push(log(
        parent,
        genesis.hash,
        last.as_ref().map(|(_, block)| block.header.number),
    ));
    checks.push(clock(now, last.map(|(_, block)| block.header.timestamp)));
    checks
}

fn log(parent: Option<BlockHash>, genesis: BlockHash, tip: Option<u64>) -> Check {
    match (parent, tip) {
        (Some(parent), _) if parent != genesis => Check::bad(
            "block log",
            format!("it belongs to the chain with genesis {parent}, but genesis.json is {genesis}"),
            "restore the genesis.json of that chain, or choose another --home for this one",
        ),
        (_, Some(tip)) => Check::good("block log", format!("up to block {tip}")),
        (_, None) => Check::good("block log", "no blocks yet"),
    }
}

fn clock(now: Time, last_s: Option<u64>) -> Check {
    let name = "clock";
    let fix = "set the clock and keep it set (chrony or systemd-timesyncd), then restart the node";
    match last_s {
        _ if now < EARLIEST => Check::bad(name, "it shows a time before 2024, so it was never set", fix),
        Some(last) if last > now.as_secs() + AHEAD_MAX_S => {
            let what = format!("it is {} s behind the time of the last block", last - now.as_secs());
            Check::bad(name, what, fix)
        }
        Some(last) => Check::good(
            name,
            format!("{} s after the last block", now.as_secs().saturating_sub(last)),
        ),
        None => Check::good(name, "plausible"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn a_clock_behind_the_chain_or_never_set_is_bad() {
        let now = Time::from_secs(1_800_000_000);
        assert_eq!(clock(now, Some(now.as_secs() + AHEAD_MAX_S)).state, State::Good);
        assert!(
            clock(now, Some(now.as_secs() + 100))
                .what
                .starts_with("it is 100 s behind")
        );
        assert_eq!(clock(Time::from_secs(5), None).state, State::Bad);
    }

    #[test]
    fn blocks_of_another_chain_are_bad() {
        let (ours, theirs) = (BlockHash([1; 32]), BlockHash([2; 32]));
        assert_eq!(log(Some(theirs), ours, Some(3)).state, State::Bad);
        assert_eq!(log(Some(ours), ours, Some(3)).state, State::Good);
        assert_eq!(log(None, ours, None).state, State::Good);
    }

    #[test]
    fn a_held_lock_names_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert!(node_process(&home).what.contains("has never run"));
        let lock = storage::HomeLock::acquire(home.root()).unwrap();
        assert_eq!(
            node_process(&home).what,
            format!("running as process {}", std::process::id())
        );
        drop(lock);
        assert!(node_process(&home).what.starts_with("stopped"));
    }
}

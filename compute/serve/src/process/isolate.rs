//! What keeps the child apart from the machine. Where the system does not let it, that is told and not passed over.

#![allow(unsafe_code, reason = "leaving the network's name space, see the one call")]

use bincode::{Decode, Encode};

/// Whether something holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Holds {
    /// It does.
    Yes,
    /// It was not asked for.
    NotAsked,
    /// It does not; why.
    No(String),
}

/// What keeps a child apart.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Isolation {
    /// It has no network but its own loopback, which is down.
    pub no_network: Holds,
    /// It is ended with its parent. It also ends by itself when its socket closes.
    pub ends_with_parent: Holds,
    /// It takes no more memory than it may.
    pub memory_limit: Holds,
}

/// Leaves the network and ties the process to its parent. The process must have one thread.
pub(super) fn leave() -> Isolation {
    Isolation {
        no_network: no_network(),
        ends_with_parent: ends_with_parent(),
        memory_limit: Holds::NotAsked,
    }
}

#[cfg(target_os = "linux")]
fn no_network() -> Holds {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    // A privileged process may leave the network as it is; others need a user name space for it.
    let ways = [UnshareFlags::NEWNET, UnshareFlags::NEWUSER | UnshareFlags::NEWNET];
    let mut why = String::new();
    for way in ways {
        // SAFETY: no flag here parts the tables of file descriptors, which is what the call is unsafe for.
        match unsafe { unshare_unsafe(way) } {
            Ok(()) => return Holds::Yes,
            Err(error) => why = format!("the system does not let it leave the network: {error}"),
        }
    }
    Holds::No(why)
}

#[cfg(target_os = "linux")]
fn ends_with_parent() -> Holds {
    use rustix::process::{Signal, set_parent_process_death_signal};

    match set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => Holds::Yes,
        Err(error) => Holds::No(error.to_string()),
    }
}

/// Bounds what the process may take beside mapped files: what is over it ends the process, not the machine.
#[cfg(target_os = "linux")]
pub(super) fn limit_memory(bytes: Option<u64>) -> Holds {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let Some(bytes) = bytes else {
        return Holds::NotAsked;
    };
    // Not the whole address space: weights are mapped, and take none of the machine's memory that others need.
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    match setrlimit(Resource::Data, limit) {
        Ok(()) => Holds::Yes,
        Err(error) => Holds::No(error.to_string()),
    }
}

#[cfg(not(target_os = "linux"))]
fn no_network() -> Holds {
    Holds::No("only Linux lets a process leave the network".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn ends_with_parent() -> Holds {
    Holds::No("only Linux ends a process with its parent".to_owned())
}

/// Bounds what the process may take.
#[cfg(not(target_os = "linux"))]
pub(super) fn limit_memory(bytes: Option<u64>) -> Holds {
    match bytes {
        Some(_) => Holds::No("only on Linux".to_owned()),
        None => Holds::NotAsked,
    }
}

//! The sandbox of the child: no network, a memory limit, death with its parent. A restriction that the system does not
//! allow is reported to the parent, not passed over.

#![allow(unsafe_code, reason = "leaving the network's name space, see the one call")]

use bincode::{Decode, Encode};

/// True, false or not requested: the state of one restriction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Enforcement {
    Yes,
    NotRequested,
    /// Could not be enforced, and why.
    No(String),
}

/// The restrictions of a child process, reported in [`super::Ready`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Isolation {
    /// The child has no network but its own loopback interface, which is down.
    pub no_network: Enforcement,
    /// The kernel kills the child when its parent dies. It also ends by itself when its socket closes.
    pub ends_with_parent: Enforcement,
    /// The child cannot allocate more memory than its limit.
    pub memory_limit: Enforcement,
}

/// Leaves the network namespace and ties the process to its parent. The process must have one thread.
pub(super) fn leave() -> Isolation {
    Isolation {
        no_network: no_network(),
        ends_with_parent: ends_with_parent(),
        memory_limit: Enforcement::NotRequested,
    }
}

#[cfg(target_os = "linux")]
fn no_network() -> Enforcement {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    // A privileged process may unshare the network alone; others need a user namespace for it.
    let ways = [UnshareFlags::NEWNET, UnshareFlags::NEWUSER | UnshareFlags::NEWNET];
    let mut why = String::new();
    for way in ways {
        // SAFETY: neither flag unshares the file descriptor table, which is what makes the call unsafe.
        match unsafe { unshare_unsafe(way) } {
            Ok(()) => return Enforcement::Yes,
            Err(error) => why = format!("the system does not let it leave the network: {error}"),
        }
    }
    Enforcement::No(why)
}

#[cfg(target_os = "linux")]
fn ends_with_parent() -> Enforcement {
    use rustix::process::{Signal, set_parent_process_death_signal};

    match set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => Enforcement::Yes,
        Err(error) => Enforcement::No(error.to_string()),
    }
}

/// Limits the data segment of the process, mapped files excluded: exceeding it ends the process, not the machine.
#[cfg(target_os = "linux")]
pub(super) fn limit_memory(bytes: Option<u64>) -> Enforcement {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let Some(bytes) = bytes else {
        return Enforcement::NotRequested;
    };
    // Not RLIMIT_AS: weights are mapped and can be dropped by the kernel, so they take no memory from others.
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    match setrlimit(Resource::Data, limit) {
        Ok(()) => Enforcement::Yes,
        Err(error) => Enforcement::No(error.to_string()),
    }
}

#[cfg(not(target_os = "linux"))]
fn no_network() -> Enforcement {
    Enforcement::No("only Linux lets a process leave the network".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn ends_with_parent() -> Enforcement {
    Enforcement::No("only Linux ends a process with its parent".to_owned())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn limit_memory(bytes: Option<u64>) -> Enforcement {
    match bytes {
        Some(_) => Enforcement::No("only on Linux".to_owned()),
        None => Enforcement::NotRequested,
    }
}

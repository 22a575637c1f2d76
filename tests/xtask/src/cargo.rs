//! Cargo, called as a person would call it.

use std::process::Command;

/// What cargo tells this program about its own crate would tell the build scripts of others that something changed, and
/// half of the tree would be built anew whenever a chore and a person take turns.
const OWN: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];

/// Cargo without arguments.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if OWN.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

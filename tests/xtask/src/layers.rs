//! The allowed dependencies between the project's crates, compared with the manifests. A new edge needs a new line here.
//!
//! `protocol` is below everything. `net`, `storage` and `compute` meet only in the crates below `daemon/`. Pure crates
//! depend on nothing that reads a clock, a file or a socket.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{circles, documented, unused};

/// Each crate, and the project's crates that it may depend on, in tests and benches too.
const LAYERS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("contracts", &[]),
    ("config", &["protocol"]),
    ("consensus", &["protocol"]),
    ("evm", &["consensus", "contracts", "protocol"]),
    ("net", &["config", "protocol"]),
    ("storage", &["config", "protocol"]),
    ("cube", &[]),
    ("compute", &["cube", "protocol"]),
    ("serve", &["compute", "protocol"]),
    ("train", &["compute", "cube", "protocol"]),
    ("world", &[]),
    ("pico", &["compute", "train", "world"]),
    ("base", &["protocol", "storage"]),
    (
        "chain",
        &["base", "config", "consensus", "evm", "net", "protocol", "storage"],
    ),
    ("data", &["base", "config", "net", "protocol", "storage"]),
    (
        "jobs",
        &[
            "base", "compute", "config", "data", "net", "protocol", "serve", "storage", "train",
        ],
    ),
    (
        "gateway",
        &[
            "base",
            "chain",
            "compute",
            "consensus",
            "data",
            "evm",
            "jobs",
            "net",
            "protocol",
            "serve",
            "storage",
        ],
    ),
    (
        "daemon",
        &[
            "base",
            "chain",
            "compute",
            "config",
            "consensus",
            "contracts",
            "data",
            "evm",
            "gateway",
            "jobs",
            "net",
            "protocol",
            "serve",
            "storage",
            "train",
        ],
    ),
    (
        "tests",
        &[
            "base",
            "chain",
            "compute",
            "config",
            "consensus",
            "contracts",
            "daemon",
            "evm",
            "net",
            "protocol",
            "serve",
            "storage",
            "train",
        ],
    ),
    ("xtask", &[]),
];

/// Crates without I/O: time, randomness and storage are arguments.
const PURE: &[&str] = &["protocol", "contracts", "consensus", "evm", "world"];

/// Dependencies that a pure crate must not have, except in its tests.
const IMPURE: &[&str] = &[
    "tokio",
    "sled",
    "libp2p",
    "iroh",
    "rand",
    "getrandom",
    "fastrand",
    "reqwest",
    "axum",
    "jsonrpsee",
    "rustix",
    "tempfile",
    "chrono",
    "time",
];

/// Fails with a list of forbidden edges, cycles of crates, unused dependencies and public items without docs.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata()?;
    let mut found = check(&metadata);
    found.extend(circles::of_crates(&metadata));
    ensure!(
        found.is_empty(),
        "edges that the layers do not allow:\n  {}",
        found.join("\n  ")
    );
    let unused = unused::check(&metadata)?;
    ensure!(
        unused.is_empty(),
        "dependencies that are not needed where they are listed:\n  {}",
        unused.join("\n  ")
    );
    let bare = documented::check(&metadata)?;
    ensure!(bare.is_empty(), "docs that are missing:\n  {}", bare.join("\n  "));
    Ok(())
}

/// Prints the import cycles of modules inside each crate. They are not a failure.
pub(crate) fn print_circles() -> Result<()> {
    circles::print(&metadata()?)
}

fn metadata() -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("could not run `cargo metadata`")?;
    ensure!(
        output.status.success(),
        "`cargo metadata` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("`cargo metadata` printed no JSON")
}

fn check(metadata: &Value) -> Vec<String> {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = layers.get(name) else {
            found.push(format!("{name} is in no layer: give it a line in LAYERS"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            if layers.contains_key(on) && dependency["path"].is_string() && !allowed.contains(&on) {
                found.push(format!("{name} must not import {on}"));
            }
            if PURE.contains(&name) && IMPURE.contains(&on) && dependency["kind"].is_null() {
                found.push(format!("{name} is pure and must not depend on {on}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_workspace_keeps_its_layers() {
        run().unwrap();
    }

    #[test]
    fn a_forbidden_edge_is_named() {
        let packages = json!({ "packages": [
            { "name": "storage", "dependencies": [{ "name": "net", "path": "x", "kind": null }] },
            { "name": "evm", "dependencies": [{ "name": "tokio", "kind": null }, { "name": "rand", "kind": "dev" }] },
            { "name": "stranger", "dependencies": [] },
        ]});
        assert_eq!(
            check(&packages),
            [
                "storage must not import net",
                "evm is pure and must not depend on tokio",
                "stranger is in no layer: give it a line in LAYERS",
            ]
        );
    }
}

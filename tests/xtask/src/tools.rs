//! Checks with third-party tools: `cargo deny` for licences, sources and advisories, `typos` for spelling.
//!
//! A tool is used if it is on the PATH or was installed by `cargo xtask tools`; CI installs none. A check that is left out,
//! because its tool or its database is missing, prints a line. What a tool finds is a failure.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::programs::{cargo, root, said};

/// The tools, with the version that `cargo xtask tools` installs.
const TOOLS: [(&str, &str); 2] = [("cargo-deny", "0.20.2"), ("typos-cli", "1.52.0")];
/// The database of advisories.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Builds and installs the tools.
pub(crate) fn install() -> Result<()> {
    let folder = folder()?;
    for (name, version) in TOOLS {
        let mut install = cargo();
        install.args(["install", "--locked", "--version", version, "--root"]);
        run(install.arg(&folder).arg(name), &format!("installing {name}"))?;
    }
    Ok(())
}

/// Runs the checks that CI runs.
pub(crate) fn check() -> Result<()> {
    typos()?;
    deny()
}

/// Checks licences, bans and sources of all dependencies, and advisories if their database is reachable or cached.
pub(crate) fn deny() -> Result<()> {
    let Some(program) = find("cargo-deny") else {
        eprintln!(
            "deny: left out licences, bans, sources and advisories: cargo-deny is not installed; `cargo xtask tools` builds it"
        );
        return Ok(());
    };
    let deny = |checks: &[&str], more: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--locked", "--workspace", "--config", ".cargo/deny.toml", "check"]);
        command.args(more).args(checks).current_dir(root());
        command
    };
    let checks = ["licenses", "bans", "sources"];
    run(
        &mut deny(&checks, &["--hide-inclusion-graph"]),
        "checking licences, bans and sources",
    )?;
    if is_reachable() {
        run(&mut deny(&["advisories"], &[]), "checking advisories")
    } else if has_advisories() {
        eprintln!("deny: {ADVISORIES} cannot be reached, so the copy that is here is used");
        run(&mut deny(&["advisories"], &["--disable-fetch"]), "checking advisories")
    } else {
        eprintln!("deny: left out advisories: {ADVISORIES} cannot be reached and there is no copy here");
        Ok(())
    }
}

/// Checks the spelling of all committed files.
pub(crate) fn typos() -> Result<()> {
    let Some(program) = find("typos") else {
        eprintln!("typos: left out spelling: typos is not installed; `cargo xtask tools` builds it");
        return Ok(());
    };
    let mut command = Command::new(program);
    command.args(["--config", ".typos.toml"]).current_dir(root());
    run(&mut command, "checking the spelling")
}

fn run(command: &mut Command, what: &str) -> Result<()> {
    eprintln!("\n$ {what}");
    let status = command.status().with_context(|| format!("could not start {what}"))?;
    ensure!(status.success(), "{what} failed");
    Ok(())
}

/// Folder of the tools, beside the checkout that CI builds.
fn folder() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")));
    Ok(cache.context("there is no home folder")?.join("openledger-ci/tools"))
}

fn find(program: &str) -> Option<PathBuf> {
    let installed = folder().ok()?.join("bin").join(program);
    if installed.is_file() {
        return Some(installed);
    }
    said(program, &["--version"]).map(|_| program.into())
}

fn is_reachable() -> bool {
    let ask = Command::new("timeout")
        .args(["20", "git", "ls-remote", "--exit-code", ADVISORIES, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output();
    ask.is_ok_and(|answer| answer.status.success())
}

fn has_advisories() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    home.is_some_and(|home| fs::read_dir(home.join("advisory-dbs")).is_ok_and(|found| found.count() > 0))
}

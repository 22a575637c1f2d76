//! Programs that others wrote, called as a person would call them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

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

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Does it unless it was done for the same `pins`.
pub(crate) fn once(mark: &Path, pins: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(pins)?;
    if fs::read(mark).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    work()?;
    Ok(fs::write(mark, wanted)?)
}

/// Runs a command that installs something, and says the last line of what it complains about.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let out = command.output().context("could not start")?;
    let why = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "packages could not be installed: {}",
        why.lines().last().unwrap_or("no reason given")
    );
    Ok(())
}

/// What a program prints; none if it is missing or fails.
pub(crate) fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let out = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok().filter(|_| out.status.success())?;
    Some(text.trim().to_owned())
}

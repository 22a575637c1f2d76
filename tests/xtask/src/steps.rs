//! Chores that are a few commands in a row.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::{clients, contracts, kernels, layers};

/// Everything that must hold before a change lands, cheapest first. The test command is the README's.
pub(crate) fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    layers::run()?;
    contracts::run(true, false)?;
    cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ],
        &[],
    )?;
    cargo(&["test", "--workspace", "--locked"], &[])?;
    // A module header may point at a private neighbour: whoever reads it there can follow.
    let strict = "--deny warnings --allow rustdoc::private-intra-doc-links";
    cargo(
        &["doc", "--workspace", "--no-deps", "--locked"],
        &[("RUSTDOCFLAGS", strict)],
    )?;
    cuda()?;
    kernels::run(false)?;
    clients::run(false)
}

/// What computes with a GPU behind it: it type-checks on a machine that has none, and downloads no compiler.
fn cuda() -> Result<()> {
    let built = [
        "--package",
        "compute",
        "--package",
        "serve",
        "--package",
        "train",
        "--features",
        "cuda",
    ];
    // With its benches, which are what somebody who has a GPU runs first.
    cargo(&[&["check"], &built[..], &["--benches", "--locked"]].concat(), &[])?;
    let tree = crate::cargo::cargo()
        .arg("tree")
        .args(built)
        .args(["--invert", "tracel-llvm-bundler"])
        .output()
        .context("could not run `cargo tree`")?;
    ensure!(
        tree.stdout.is_empty(),
        "the engine with `cuda` builds tracel-llvm-bundler, which downloads LLVM; is the stand-in in compute/vendor still used?"
    );
    Ok(())
}

/// Every bench of the workspace, built for speed.
pub(crate) fn bench(filter: Option<&str>) -> Result<()> {
    let mut args = vec!["bench", "--workspace", "--benches"];
    if let Some(filter) = filter {
        args.extend(["--bench", filter]);
    }
    cargo(&args, &[])
}

/// `seeds` simulated networks from seed `from` on.
pub(crate) fn sim(from: u64, seeds: u64) -> Result<()> {
    let (from, seeds) = (from.to_string(), seeds.to_string());
    cargo(
        &[
            "run",
            "--release",
            "--package",
            "tests",
            "--bin",
            "sim",
            "--",
            "--from",
            &from,
            "--seeds",
            &seeds,
        ],
        &[],
    )
}

/// `rounds` kills of real processes.
pub(crate) fn crash(rounds: u64) -> Result<()> {
    let rounds = rounds.to_string();
    cargo(
        &[
            "run",
            "--release",
            "--package",
            "tests",
            "--bin",
            "crash",
            "--",
            "--rounds",
            &rounds,
        ],
        &[],
    )
}

/// The world generator with these arguments.
pub(crate) fn world(args: &[String]) -> Result<()> {
    program(&["run", "--quiet", "--package", "world", "--"], args).context("the world was not written")
}

/// The small model's own program with these arguments.
pub(crate) fn pico(args: &[String]) -> Result<()> {
    program(&["run", "--quiet", "--release", "--package", "pico", "--"], args).context("that was not done")
}

/// From where the caller is: the paths are the caller's.
fn program(cargo: &[&str], args: &[String]) -> Result<()> {
    let all = cargo.iter().copied().chain(args.iter().map(String::as_str));
    let status = crate::cargo::cargo().args(all).status();
    let status = status.context("could not run cargo")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// The development network.
pub(crate) fn dev() -> Result<()> {
    cargo(&["run", "--release", "--bin", "openledger", "--", "devnet"], &[])
}

fn cargo(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("cargo {}", args.join(" "));
    eprintln!("\n$ {line}");
    let begun = Instant::now();
    let status = crate::cargo::cargo()
        .args(args)
        .envs(environment.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status()
        .with_context(|| format!("could not run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed");
    eprintln!("$ {line}: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

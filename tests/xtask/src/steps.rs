//! Tasks that are a few commands in a row.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{budget::Budget, clients, contracts, kernels, layers, programs, tools};

/// Runs every check that a change must pass, cheapest first. The test command is that of the README.
pub(crate) fn ci() -> Result<()> {
    let mut budget = Budget::default();
    budget.step("fmt", || cargo(&["fmt", "--all", "--check"], &[]))?;
    budget.step("layers", layers::run)?;
    budget.step("typos", tools::typos)?;
    budget.step("deny", tools::deny)?;
    budget.step("contracts", || contracts::run(true, false))?;
    budget.step("clippy", clippy)?;
    budget.step("test", || cargo(&["test", "--workspace", "--locked"], &[]))?;
    budget.step("doc", doc)?;
    budget.step("what computes with cuda", cuda)?;
    budget.step("kernels, linted and compiled for GPUs", || kernels::compile_only(false))?;
    budget.step("clients", || clients::run(false))?;
    eprintln!("\nci: what takes long is in `cargo xtask campaign`, kernels run on this processor among it");
    Ok(())
}

fn clippy() -> Result<()> {
    let what = ["clippy", "--workspace", "--all-targets", "--locked"];
    cargo(&[&what[..], &["--", "--deny", "warnings"]].concat(), &[])
}

fn doc() -> Result<()> {
    // A module header may link to a private neighbour, for readers of the source.
    let strict = "--deny warnings --allow rustdoc::private-intra-doc-links";
    cargo(
        &["doc", "--workspace", "--no-deps", "--locked"],
        &[("RUSTDOCFLAGS", strict)],
    )
}

/// Type-checks the `cuda` feature, which needs no GPU, and checks that it does not download LLVM.
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
    // With the benches, which are the first thing to run on a GPU.
    cargo(&[&["check"], &built[..], &["--benches", "--locked"]].concat(), &[])?;
    let tree = programs::cargo()
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

/// Runs the benches in release mode.
pub(crate) fn bench(filter: Option<&str>) -> Result<()> {
    let mut args = vec!["bench", "--workspace", "--benches"];
    if let Some(filter) = filter {
        args.extend(["--bench", filter]);
    }
    cargo(&args, &[])
}

/// Simulates `seeds` networks, starting at seed `from`.
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

/// Kills real processes `rounds` times.
pub(crate) fn crash(rounds: u64) -> Result<()> {
    real_nodes("crash", &["--rounds", &rounds.to_string()])
}

/// Checks subscribers of a node while another is killed.
pub(crate) fn subscribers() -> Result<()> {
    real_nodes("subscribers", &[])
}

/// Runs a program of the `tests` crate, which starts the `openledger` that is built with it.
fn real_nodes(program: &str, arguments: &[&str]) -> Result<()> {
    let release = ["--release", "--package", "tests"];
    cargo(&[&["build"], &release[..], &["--bins"]].concat(), &[])?;
    cargo(
        &[&["run"], &release[..], &["--bin", program, "--"], arguments].concat(),
        &[],
    )
}

/// Gives `inputs` mutated inputs to every decoder of untrusted bytes.
pub(crate) fn fuzz(inputs: u64) -> Result<()> {
    let decoders = [
        "test",
        "--release",
        "--package",
        "tests",
        "--test",
        "bad_input",
        "decoders::",
    ];
    cargo(&decoders, &[("OPENLEDGER_FUZZ_ROUNDS", &inputs.to_string())])
}

/// Runs the world generator.
pub(crate) fn world(args: &[String]) -> Result<()> {
    program(&["run", "--quiet", "--package", "world", "--"], args).context("the world was not written")
}

/// Runs the program that trains `pico`.
pub(crate) fn pico(args: &[String]) -> Result<()> {
    program(&["run", "--quiet", "--release", "--package", "pico", "--"], args).context("pico failed")
}

/// Runs cargo in the caller's folder, so that paths in the arguments are the caller's.
fn program(cargo: &[&str], args: &[String]) -> Result<()> {
    let all = cargo.iter().copied().chain(args.iter().map(String::as_str));
    let status = programs::cargo().args(all).status();
    let status = status.context("could not run cargo")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// Starts the development network.
pub(crate) fn dev() -> Result<()> {
    cargo(&["run", "--release", "--bin", "openledger", "--", "devnet"], &[])
}

fn cargo(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("cargo {}", args.join(" "));
    eprintln!("\n$ {line}");
    let begun = Instant::now();
    let status = programs::cargo()
        .args(args)
        .envs(environment.iter().copied())
        .current_dir(programs::root())
        .status()
        .with_context(|| format!("could not run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed");
    eprintln!("$ {line}: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

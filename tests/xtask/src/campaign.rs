//! What takes long, in one place: more seeds, kills and inputs than a test has time for, and kernels on this processor.
//!
//! Every part has a bound of its own that lets it end within about ten minutes on two cores; more is asked for by number.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{budget::Budget, kernels, steps};

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Whole networks in one thread, each from a seed
    Sim,
    /// Real nodes under load, killed with kill -9
    Crash,
    /// Subscribers of a node while another is killed
    Subscribers,
    /// Mutated input for every decoder of outside bytes
    Fuzz,
    /// Kernels for GPUs, compiled and run on this processor
    Kernels,
}

/// How much of each.
#[derive(Debug, clap::Args)]
pub(crate) struct Campaign {
    /// Only these parts; all without any
    parts: Vec<Part>,
    /// Networks to simulate
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// The first of their seeds
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Nodes to kill
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// Inputs for each decoder
    #[arg(long, default_value_t = 100_000)]
    inputs: u64,
}

/// Runs each part, whatever became of the one before it.
pub(crate) fn run(campaign: &Campaign) -> Result<()> {
    let mut budget = Budget::default();
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !campaign.parts.is_empty() && !campaign.parts.contains(part) {
            continue;
        }
        let name = format!("{part:?}").to_lowercase();
        let done = budget.step(&name, || match part {
            Part::Sim => steps::sim(campaign.from, campaign.seeds),
            Part::Crash => steps::crash(campaign.kills),
            Part::Subscribers => steps::subscribers(),
            Part::Fuzz => steps::fuzz(campaign.inputs),
            Part::Kernels => kernels::run(false),
        });
        if let Err(why) = done {
            eprintln!("{name}: {why:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "these parts failed: {}", failed.join(", "));
    Ok(())
}

//! Long-running checks: more seeds, kills and inputs than CI has time for, and GPU kernels run on this processor.
//!
//! By default each part takes about ten minutes on two cores; flags raise the numbers.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{budget::Budget, kernels, steps};

/// A part of the campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Simulate whole networks, each from a seed
    Sim,
    /// Kill real nodes under load with kill -9
    Crash,
    /// Watch subscribers of a node while another is killed
    Subscribers,
    /// Give mutated input to every decoder of untrusted bytes
    Fuzz,
    /// Compile GPU kernels and run them on this processor
    Kernels,
}

/// The parts to run, and their sizes.
#[derive(Debug, clap::Args)]
pub(crate) struct Campaign {
    /// Parts to run [default: all]
    parts: Vec<Part>,
    /// Number of networks to simulate
    #[arg(long, default_value_t = 5_000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Number of nodes to kill
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// Number of inputs for each decoder
    #[arg(long, default_value_t = 100_000)]
    inputs: u64,
}

/// Runs each part, also after one failed, and fails at the end if any did.
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

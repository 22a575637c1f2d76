//! Simulates many seeds of a whole network and prints what it found: `cargo xtask sim --seeds 10000`.

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use rayon::prelude::*;
use tests::{plan::Plan, world};

/// Simulate whole networks, one per seed
#[derive(Parser)]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Number of seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
}

#[expect(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "this program is its printed figures"
)]
fn main() -> ExitCode {
    let args = Args::parse();
    let begun = Instant::now();
    let runs: Vec<_> = (args.from..args.from + args.seeds)
        .into_par_iter()
        .map(|seed| (seed, world::run(&Plan::random(seed))))
        .collect();
    let mut totals = [0u64; 4];
    let mut failed = 0u64;
    for (seed, run) in runs {
        match run {
            Ok(report) => {
                let of = [report.height, report.events, report.restarts, report.evidence as u64];
                totals.iter_mut().zip(of).for_each(|(total, one)| *total += one);
            }
            Err(failure) => {
                failed += 1;
                println!("seed {seed}: {:?} at {} us", failure.violation, failure.at.0);
                println!("  replay: cargo xtask sim --from {seed} --seeds 1");
            }
        }
    }
    let [heights, events, restarts, evidence] = totals;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds in {took:.1} s: {:.1} seeds/s, {:.0} events/s",
        args.seeds,
        args.seeds as f64 / took,
        events as f64 / took
    );
    println!("{heights} heights, {events} events, {restarts} restarts, {evidence} proofs of lies, {failed} failures");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

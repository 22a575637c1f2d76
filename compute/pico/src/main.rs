//! `pico`: this project's own language model of three and a half million weights. Run as `cargo xtask pico`.
//!
//! Without arguments it trains the model from nothing: a corpus of the generated world, a vocabulary of its words, and a
//! run of full training ([`plan`] has the sizes). The result is a function of `plan.rs`, to the bit, on any machine; a run
//! that is interrupted continues from its last checkpoint with the same command. The trained model is committed in
//! `compute/models/pico`.
//!
//! With `--examine` it fine-tunes the model on the sample datanets of the given worlds, and prints the improvement.
//!
//! # Why a model of our own
//!
//! The devnet, the tests and the first steps of a newcomer need a base model that is small enough for two cores, needs no
//! download, and knows nothing of the sample data, so that everything it answers about them it learned from contributors.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a program that prints a table of what it measured"
)]

mod examine;
mod make;
mod plan;

use std::{path::PathBuf, thread::available_parallelism};

use anyhow::Result;
use clap::Parser;

use plan::Plan;

/// Train `pico` from nothing, or see what a fine-tune teaches it
#[derive(Parser)]
#[command(name = "cargo xtask pico", after_help = EXAMPLES)]
struct Args {
    /// Fine-tune on the sample datanets of these seeds and print a table
    #[arg(long, value_name = "SEED", num_args = 1.., conflicts_with = "out")]
    examine: Vec<u64>,
    /// The model that is examined
    #[arg(
        long,
        value_name = "DIR",
        default_value = "compute/models/pico",
        requires = "examine"
    )]
    model: PathBuf,
    /// Hyper-parameters of the fine-tune; those beside the model if not given
    #[arg(long, value_name = "FILE", requires = "examine")]
    recipe: Option<PathBuf>,
    /// Where a trained model goes
    #[arg(long, value_name = "DIR", default_value = "target/pico/model")]
    out: PathBuf,
    /// Where runs and their checkpoints lie; the same command goes on from there
    #[arg(long, value_name = "DIR", default_value = "target/pico")]
    work: PathBuf,
    /// Threads that compute; all if not given
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask pico --out compute/models/pico
  cargo xtask pico --examine 7 11 12 13";

fn main() -> Result<()> {
    let args = Args::parse();
    let all = || available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or_else(all);
    if args.examine.is_empty() {
        let paths = make::Paths {
            work: args.work,
            out: args.out,
            threads,
        };
        return make::make(&Plan::default(), &paths);
    }
    let paths = examine::Paths {
        recipe: args.recipe.unwrap_or_else(|| args.model.join("recipe.toml")),
        model: args.model,
        work: args.work.join("examine"),
        threads,
    };
    examine::table(&paths, &args.examine)
}

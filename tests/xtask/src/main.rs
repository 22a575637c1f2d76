//! The chores of the house: `cargo xtask help`. Imports none of our crates, so that it builds in a moment.

mod budget;
mod campaign;
mod circles;
mod clients;
mod contracts;
mod documented;
mod kernels;
mod layers;
mod programs;
mod python;
mod sources;
mod steps;
mod tools;
mod unused;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the house")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that CI checks, cheapest first
    Ci,
    /// Who may import whom, and which dependencies nobody needs
    Layers {
        /// Print the circles of modules inside each crate instead
        #[arg(long)]
        circles: bool,
    },
    /// Recompile the Solidity sources and write their artefacts
    Contracts {
        /// Write nothing; fail if a committed artefact differs
        #[arg(long)]
        check: bool,
        /// Fail where node or npm is missing instead of saying so
        #[arg(long)]
        require: bool,
    },
    /// Try clients that others wrote against a development network
    Clients {
        /// Fail where node, python or their packages are missing instead of saying so
        #[arg(long)]
        require: bool,
    },
    /// Compile the kernels for GPUs and run them on this processor
    Kernels {
        /// Fail where python, its packages or a C++ compiler are missing instead of saying so
        #[arg(long)]
        require: bool,
    },
    /// Run the benches, all or those whose name contains FILTER, and print their figures
    Bench {
        /// A part of a bench's name
        filter: Option<String>,
    },
    /// Everything that takes long: many seeds, kills and inputs, and kernels on this processor
    Campaign(campaign::Campaign),
    /// Build the tools that CI uses where they are installed: cargo-deny and typos
    Tools {
        /// Build nothing; check with those that are installed
        #[arg(long)]
        check: bool,
    },
    /// Simulate this many seeds of a whole network
    Sim {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Kill real nodes under load and look for what they lost
    Crash {
        /// How many kills
        #[arg(long, default_value_t = 100)]
        rounds: u64,
    },
    /// Write the sample datanets of a small world, or a corpus to learn its language from
    #[command(disable_help_flag = true)]
    World {
        /// See `cargo xtask world --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Train `pico`, our own small model, from nothing; or see what a fine-tune teaches it
    #[command(disable_help_flag = true)]
    Pico {
        /// See `cargo xtask pico --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A development network of four nodes on this machine
    Dev,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Ci => steps::ci(),
        Chore::Layers { circles: true } => layers::print_circles(),
        Chore::Layers { circles: false } => layers::run(),
        Chore::Contracts { check, require } => contracts::run(check, require),
        Chore::Clients { require } => clients::run(require),
        Chore::Kernels { require } => kernels::run(require),
        Chore::Bench { filter } => steps::bench(filter.as_deref()),
        Chore::Campaign(campaign) => campaign::run(&campaign),
        Chore::Tools { check: true } => tools::check(),
        Chore::Tools { check: false } => tools::install(),
        Chore::Sim { seeds, from } => steps::sim(from, seeds),
        Chore::Crash { rounds } => steps::crash(rounds),
        Chore::World { args } => steps::world(&args),
        Chore::Pico { args } => steps::pico(&args),
        Chore::Dev => steps::dev(),
    }
}

//! Development tasks: `cargo xtask help` lists them. It depends on none of the project's crates, so it builds in seconds.

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
#[command(name = "cargo xtask", about = "Development tasks")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run everything that CI checks, cheapest first
    Ci,
    /// Check which crate may import which, unused dependencies, and missing docs
    Layers {
        /// Print the import cycles of modules inside each crate instead
        #[arg(long)]
        circles: bool,
    },
    /// Recompile the Solidity sources and write the artefacts
    Contracts {
        /// Write nothing; fail if a committed artefact differs
        #[arg(long)]
        check: bool,
        /// Fail if node or npm is missing, instead of leaving the check out
        #[arg(long)]
        require: bool,
    },
    /// Run third-party Ethereum clients against a development network
    Clients {
        /// Fail if node, python or their packages are missing, instead of leaving checks out
        #[arg(long)]
        require: bool,
    },
    /// Compile the GPU kernels with NVRTC, and run them on this processor
    Kernels {
        /// Fail if python, its packages or a C++ compiler are missing, instead of leaving checks out
        #[arg(long)]
        require: bool,
    },
    /// Run the benches whose name contains FILTER, or all, and print their figures
    Bench {
        /// Part of a bench's name
        filter: Option<String>,
    },
    /// Run everything that takes long: many seeds, kills and inputs, and GPU kernels on this processor
    Campaign(campaign::Campaign),
    /// Install the tools that CI uses if they are present: cargo-deny and typos
    Tools {
        /// Install nothing; run the checks with the installed tools
        #[arg(long)]
        check: bool,
    },
    /// Simulate whole networks, one per seed
    Sim {
        /// Number of seeds
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// First seed
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Kill real nodes under load and check that they lost nothing
    Crash {
        /// Number of kills
        #[arg(long, default_value_t = 100)]
        rounds: u64,
    },
    /// Generate the sample datanets of a fictional world, or a corpus in its language
    #[command(disable_help_flag = true)]
    World {
        /// See `cargo xtask world --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Train the small model `pico` from nothing, or examine what a fine-tune teaches it
    #[command(disable_help_flag = true)]
    Pico {
        /// See `cargo xtask pico --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Start a development network of four nodes on this machine
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_that_the_readme_names_is_one_of_these() {
        let readme = std::fs::read_to_string(programs::root().join("README.md")).expect("the README is there");
        let lines: Vec<_> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("$ cargo "))
            .collect();
        let tasks: Vec<_> = lines.into_iter().filter(|line| line.starts_with("xtask ")).collect();
        assert!(tasks.len() > 5, "{tasks:?}");
        for line in tasks {
            let read = Args::try_parse_from(line.split(' '));
            assert!(
                read.is_ok(),
                "cargo {line}: {}",
                read.err().map(|why| why.to_string()).unwrap_or_default()
            );
        }
    }
}

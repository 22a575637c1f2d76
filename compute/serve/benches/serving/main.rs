//! Benchmarks of serving without the model: thousands of adapters, cold adapters, replacements, and a tenant that
//! floods. A toy model takes a fixed time per step, so only scheduler, tiers and channels are measured. With
//! `OPENLEDGER_REAL=1` the model is the decoder, with random weights in the shape of 135 million parameters.
//!
//! `cargo bench -p serve --bench serving [NAME…]`; both sides of each comparison run here, alternating.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a bench prints what it measured"
)]

mod cold;
mod crowd;
mod many;
#[path = "../../tests/toy/mod.rs"]
mod toy;

use std::{sync::Arc, time::Duration};

use compute::{
    decoder::CpuOptions,
    lora::Adapter,
    model::{Config, Model},
    tensors::Dtype,
};
use serve::{
    engine::{Engine, Setup},
    schedule::Limits,
    tier::Tiers,
};
use toy::*;

const MIB: usize = 1 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let benches: [(&str, fn()); 7] = [
        ("registered", many::registered),
        ("adapters", many::adapters),
        ("load", cold::load),
        ("cold", cold::cold),
        ("storm", cold::storm),
        ("flood", crowd::flood),
        ("swaps", crowd::swaps),
    ];
    for (name, bench) in benches {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            bench();
        }
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it is there");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        * 1024
}

fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let last = times.len() - 1;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below the length"
    )]
    let at = (last as f64 * part) as usize;
    times[at]
}

/// Returns true if the model is the decoder, not the toy.
fn is_real() -> bool {
    std::env::var_os("OPENLEDGER_REAL").is_some()
}

/// Adapters of about this many bytes each, for the model that is measured.
fn store(count: u32, bytes: usize) -> tempfile::TempDir {
    if !is_real() {
        return toys(count, bytes);
    }
    let (root, config) = (tempfile::tempdir().expect("tempdir"), Config::smol_135m());
    let rank_bytes = Adapter::random(&config, 1, Dtype::BF16, 0).to_bytes().len();
    for number in 0..count {
        let rank = (bytes / rank_bytes).max(1);
        let adapter = Adapter::random(&config, rank, Dtype::BF16, u64::from(number) + 1);
        write(root.path(), &format!("a{number:05}"), &adapter);
    }
    // Pending writes would be measured together with reads.
    rustix::fs::sync();
    root
}

fn toys(count: u32, bytes: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("tempdir");
    for number in 0..count {
        write(root.path(), &format!("a{number:05}"), &adapter(number, bytes));
    }
    root
}

fn start(tiers: &Arc<Tiers>, limits: Limits, cost: Cost) -> Engine {
    if is_real() {
        let model = Model::random(&Config::smol_135m(), Dtype::BF16, 1);
        let options = CpuOptions {
            slots: 4096,
            ..CpuOptions::default()
        };
        let parts = setup(Arc::clone(tiers), limits, SHAPE, cost, Arc::default());
        let build = Box::new(move || {
            let decoder = model.on_cpu(options).map_err(|error| error.to_string())?;
            Ok(Box::new(decoder) as Box<_>)
        });
        return Engine::start(Setup { build, ..parts }).expect("the model is built");
    }
    Engine::start(setup(Arc::clone(tiers), limits, SHAPE, cost, Arc::default())).expect("the toy is built")
}

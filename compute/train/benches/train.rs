//! Training compared with PEFT and PyTorch: tokens per second and peak memory, each side in a process of its own,
//! alternated, because machines are shared; and the share of a step that hashing the state takes.
//! ```text
//! OPENLEDGER_TORCH=venv/bin/python cargo bench -p train --bench train [-- 256|1024]
//! ```

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and stops where it cannot"
)]

use std::{collections::BTreeMap, env, ffi::OsString, fs, process::Command};

use compute::{
    kernel::Level,
    model::{Config, Model},
    tensors::Dtype,
};
use train::{Corpus, Machine, Recipe, Trainer, Unthrottled};

const ROUNDS: usize = 2;

const STEPS: u64 = 2;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Sequences of a step, and tokens of each.
const SHAPES: [(u32, u32); 2] = [(4, 256), (1, 1024)];

/// Returns the peak memory of this process in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

/// Measures this crate: seconds of the fastest step, peak MiB, and seconds of a step root.
fn one(rows: u32, tokens: u32) {
    let config = Config::smol_135m();
    let recipe = Recipe {
        batch: rows as usize,
        epochs: 1,
        answers_only: false,
        ..Recipe::default()
    };
    let mut corpus = Corpus::default();
    for record in 0..rows * (STEPS as u32 + 1) {
        let text = (0..tokens).map(|i| 3 + (record * 7907 + i * 7919) % 40_000).collect();
        corpus
            .add(text, &vec![true; tokens as usize], "all", &config, &recipe)
            .unwrap();
    }
    let model = Model::random(&config, Dtype::F32, 1);
    let machine = Machine {
        threads: threads(),
        pass_tokens: 1024,
        keep_bytes: env::var("OPENLEDGER_KEEP").map_or(1 << 30, |mib| mib.parse::<usize>().unwrap() << 20),
        ..Machine::default()
    };
    let mut trainer = Trainer::new(&model, corpus, &BTreeMap::new(), recipe, machine).unwrap();
    drop(model);
    let (mut best, mut root) = (f64::INFINITY, f64::INFINITY);
    trainer.step(&mut Unthrottled).unwrap();
    for _ in 0..STEPS {
        let start = std::time::Instant::now();
        let stepped = trainer.step(&mut Unthrottled).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
        root = root.min(stepped.root_seconds);
    }
    println!("{best} {} {root}", peak());
}

fn ask(command: &mut Command) -> Vec<f64> {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<f64> = text
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    assert!(
        found.len() >= 2,
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    found
}

fn beside(rows: u32, tokens: u32, torch: Option<&OsString>) {
    let numbers = [rows.to_string(), tokens.to_string()];
    let (mut ours, mut theirs) = ([f64::INFINITY, 0.0, f64::INFINITY], [f64::INFINITY, 0.0]);
    for _ in 0..ROUNDS {
        let found = ask(Command::new(env::current_exe().unwrap()).arg("one").args(&numbers));
        ours = [ours[0].min(found[0]), ours[1].max(found[1]), ours[2].min(found[2])];
        if let Some(python) = torch {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/torch_train.py");
            let mut command = Command::new(python);
            command
                .arg(script)
                .arg(threads().to_string())
                .args(&numbers)
                .arg(STEPS.to_string());
            let found = ask(command.env("CUDA_VISIBLE_DEVICES", ""));
            theirs = [theirs[0].min(found[0]), theirs[1].max(found[1])];
        }
    }
    let all = f64::from(rows * tokens);
    println!(
        "135m f32, rank 8 on every layer, {rows} × {tokens}: {:.1} tokens/s, {} MiB; a root takes {:.2} % of a step",
        all / ours[0],
        ours[1],
        100.0 * ours[2] / ours[0]
    );
    if theirs[0].is_finite() {
        println!(
            "    torch {:.1} tokens/s, {} MiB: we are {:.2} × as fast with {:.2} × the memory",
            all / theirs[0],
            theirs[1],
            theirs[0] / ours[0],
            ours[1] / theirs[1]
        );
    }
}

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let [what, rows, tokens] = &args[..] {
        assert_eq!(what, "one");
        return one(rows.parse().unwrap(), tokens.parse().unwrap());
    }
    println!("{} threads, {:?}", threads(), Level::detect());
    let torch = env::var_os("OPENLEDGER_TORCH");
    for (rows, tokens) in SHAPES {
        if args.is_empty() || args.contains(&tokens.to_string()) {
            beside(rows, tokens, torch.as_ref());
        }
    }
}

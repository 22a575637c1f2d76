//! Decoding and prefill compared with PyTorch, the throughput with adapters relative to the base, and the cost of
//! verified work. Both sides run alternately in one process run, because machines are shared.
//!
//! ```text
//! OPENLEDGER_TORCH=venv/bin/python cargo bench -p compute --bench speed [-- rivals|adapters|types|verified]
//! ```

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and stops where it cannot"
)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use compute::{
    decoder::{Cpu, CpuOptions, Decoder},
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    kernel::Quantise,
    lora::Adapter,
    model::{Config, Model},
    tensors::Dtype,
};

const ROUNDS: usize = 5;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn options() -> CpuOptions {
    CpuOptions {
        pages: 64 * 16 + 16,
        slots: 64,
        ..CpuOptions::default()
    }
}

/// Returns the seconds of one step of `rows` sequences that have `context` tokens and get `tokens` new ones.
fn step(decoder: &mut Decoder<Cpu>, rows: u32, context: u32, tokens: u32, adapters: u32) -> f64 {
    step_as(decoder, rows, context, tokens, adapters, false)
}

fn step_as(decoder: &mut Decoder<Cpu>, rows: u32, context: u32, tokens: u32, adapters: u32, verified: bool) -> f64 {
    let text: Vec<u32> = (0..tokens).map(|i| 3 + i * 7919 % 40_000).collect();
    let each = (context + tokens).div_ceil(16);
    let pages: Vec<Vec<PageId>> = (0..rows)
        .map(|row| (row * each..(row + 1) * each).map(PageId).collect())
        .collect();
    let mixes: Vec<Vec<Mix>> = (0..rows)
        .map(|row| match adapters {
            0 => Vec::new(),
            some => vec![Mix {
                slot: AdapterSlot(row % some),
                weight: 1.0,
            }],
        })
        .collect();
    let spans: Vec<Span<'_>> = pages
        .iter()
        .zip(&mixes)
        .map(|(pages, adapters)| Span {
            tokens: &text,
            start: context,
            pages,
            adapters,
            wanted: Wanted::Last,
            verified,
        })
        .collect();
    let mut logits = Vec::new();
    let start = Instant::now();
    decoder.step(&spans, &mut logits).unwrap();
    start.elapsed().as_secs_f64()
}

fn best(times: impl IntoIterator<Item = f64>) -> f64 {
    times.into_iter().fold(f64::INFINITY, f64::min)
}

/// Returns the lower quartile: the time of a step that nothing interrupts.
fn quartile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// A program that answers each line with seconds.
struct Rival(Child, ChildStdin, BufReader<ChildStdout>);

impl Rival {
    fn torch(shape: &str) -> Option<Self> {
        let python = std::env::var_os("OPENLEDGER_TORCH")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/torch_speed.py");
        let mut command = Command::new(python);
        command
            .args([script, shape, &threads().to_string()])
            .env("CUDA_VISIBLE_DEVICES", "");
        Some(Self::start(&mut command))
    }

    fn candle(shape: &str) -> Option<Self> {
        let program = std::env::var_os("OPENLEDGER_CANDLE")?;
        Some(Self::start(
            Command::new(program)
                .arg(shape)
                .env("RAYON_NUM_THREADS", threads().to_string()),
        ))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let mut rival = Self(child, to, from);
        rival.line();
        rival
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        line
    }

    fn ask(&mut self, question: &str) -> f64 {
        writeln!(self.1, "{question}").unwrap();
        self.line().trim().parse().unwrap()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits until the threads of the side that ran last have stopped spinning (OpenMP's spin for 0.2 seconds).
fn rest() {
    std::thread::sleep(std::time::Duration::from_millis(400));
}

fn rivals(shape: &str, config: &Config) {
    let mut decoder = Model::random(config, Dtype::F32, 1).on_cpu(options()).unwrap();
    let mut torch = Rival::torch(shape);
    let mut candle = Rival::candle(shape);
    for (what, rows, tokens) in [
        ("decode", 1, 64),
        ("decode", 16, 64),
        ("prefill", 1, 128),
        ("prefill", 16, 64),
    ] {
        let question = format!("{what} {rows} {tokens}");
        let (mut ours, mut theirs) = (f64::INFINITY, [f64::INFINITY; 2]);
        for _ in 0..ROUNDS {
            for (rival, time) in [&mut torch, &mut candle].into_iter().zip(&mut theirs) {
                if let Some(rival) = rival {
                    rest();
                    *time = time.min(rival.ask(&question));
                }
            }
            rest();
            let mine = match what {
                "decode" => {
                    step(&mut decoder, rows, 0, tokens, 0);
                    best((0..6).map(|i| step(&mut decoder, rows, tokens + i, 1, 0)))
                }
                _ => step(&mut decoder, rows, 0, tokens, 0),
            };
            ours = ours.min(mine);
        }
        let done = f64::from(if what == "decode" { rows } else { rows * tokens });
        let beside = |name: &str, time: f64| match time.is_finite() {
            true => format!("; {name} {:.2} ms, we are {:.2} ×", 1e3 * time, time / ours),
            false => String::new(),
        };
        println!(
            "{shape} f32 {what:7} {rows:2} × {tokens:3}: {:8.2} ms, {:7.1} tokens/s{}{}",
            1e3 * ours,
            done / ours,
            beside("torch", theirs[0]),
            beside("candle", theirs[1]),
        );
    }
}

fn types(shape: &str, config: &Config) {
    for (dtype, quantise) in [
        (Dtype::F32, Quantise::No),
        (Dtype::BF16, Quantise::No),
        (Dtype::F16, Quantise::No),
        (Dtype::F32, Quantise::Int8),
        (Dtype::F32, Quantise::Int4),
    ] {
        let model = Model::random(config, dtype, 1);
        let mut decoder = model.on_cpu(CpuOptions { quantise, ..options() }).unwrap();
        drop(model);
        for rows in [1, 16] {
            step(&mut decoder, rows, 0, 64, 0);
            let time = best((0..20).map(|i| step(&mut decoder, rows, 64 + i, 1, 0)));
            let speed = f64::from(rows) / time;
            println!(
                "{shape} {dtype:?} {quantise:?} decode {rows:2}: {:.2} ms, {speed:.1} tokens/s",
                1e3 * time
            );
        }
        let time = best((0..3).map(|_| step(&mut decoder, 1, 0, 128, 0)));
        println!(
            "{shape} {dtype:?} {quantise:?} prefill 128: {:.2} ms, {:.1} tokens/s",
            1e3 * time,
            128.0 / time
        );
    }
}

/// Measures the throughput with adapters relative to the base, steps of both alternated.
fn adapters(config: &Config, dtype: Dtype) {
    let mut decoder = Model::random(config, Dtype::F32, 1).on_cpu(options()).unwrap();
    for slot in 0..64 {
        let adapter = Adapter::random(config, 8 + slot as usize % 9, dtype, u64::from(slot));
        decoder.load(AdapterSlot(slot), &Arc::new(adapter)).unwrap();
    }
    for (rows, distinct) in [(64, 1), (64, 4), (64, 16), (64, 64), (1, 1), (4, 4), (16, 16)] {
        step(&mut decoder, rows, 0, 64, 0);
        let (mut base, mut adapted) = (Vec::new(), Vec::new());
        for i in 0..24 {
            base.push(step(&mut decoder, rows, 64 + i, 1, 0));
            adapted.push(step(&mut decoder, rows, 64 + i, 1, distinct));
        }
        let (base, adapted) = (quartile(base), quartile(adapted));
        println!(
            "135m, adapters in {dtype:?} of ranks 8 to 16: {rows} rows, {distinct} distinct: {:.1} % of base ({:.2} and {:.2} ms)",
            100.0 * base / adapted,
            1e3 * adapted,
            1e3 * base
        );
    }
}

/// Measures verified work relative to the same work without the flag, steps of both alternated.
fn verified(config: &Config) {
    let mut decoder = Model::random(config, Dtype::F32, 1).on_cpu(options()).unwrap();
    for slot in 0..16 {
        let adapter = Adapter::random(config, 16, Dtype::F32, u64::from(slot));
        decoder.load(AdapterSlot(slot), &Arc::new(adapter)).unwrap();
    }
    for (rows, tokens, distinct) in [(1, 1, 0), (16, 1, 0), (16, 1, 16), (1, 128, 0)] {
        step(&mut decoder, rows, 0, 64, 0);
        let (mut plain, mut exact) = (Vec::new(), Vec::new());
        for _ in 0..24 {
            plain.push(step_as(&mut decoder, rows, 64, tokens, distinct, false));
            exact.push(step_as(&mut decoder, rows, 64, tokens, distinct, true));
        }
        let (plain, exact) = (quartile(plain), quartile(exact));
        println!(
            "135m, {rows} rows of {tokens} tokens, {distinct} adapters: verified takes {:.3} of the time ({:.2} and {:.2} ms)",
            exact / plain,
            1e3 * exact,
            1e3 * plain
        );
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    let (small, large) = (Config::smol_135m(), Config::qwen_half_billion());
    println!("{} threads, {:?}", threads(), compute::kernel::Level::detect());
    if wants("rivals") {
        rivals("135m", &small);
        rivals("0.5b", &large);
    }
    if wants("types") {
        types("135m", &small);
        types("0.5b", &large);
    }
    if wants("adapters") {
        adapters(&small, Dtype::F32);
        adapters(&small, Dtype::BF16);
    }
    if wants("verified") {
        verified(&small);
    }
}

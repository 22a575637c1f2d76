//! What serving costs beside the model: thousands of adapters, cold ones, swaps, and a tenant that floods. The model is one
//! that only remembers and takes as long as it is told, so that what is seen is scheduler, tiers and channels. With
//! `OPENLEDGER_REAL=1` it is the decoder, with random weights in the shape of 135 million.
//!
//! `cargo bench -p compute --bench serving [NAME…]`; both sides of each comparison run here, alternating.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    reason = "a bench prints what it measured"
)]

#[path = "../tests/toy/mod.rs"]
mod toy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use compute::{
    decoder::CpuOptions,
    engine::{Engine, Event, Request, Setup},
    lora::Adapter,
    model::{Config, Model},
    schedule::Limits,
    tensors::Dtype,
    tier::Tiers,
};
use toy::*;

const MIB: usize = 1 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let benches: [(&str, fn()); 5] = [
        ("registered", registered),
        ("adapters", adapters),
        ("cold", cold),
        ("storm", storm),
        ("flood", flood),
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

/// Whether the model is the decoder.
fn is_real() -> bool {
    std::env::var_os("OPENLEDGER_REAL").is_some()
}

/// Adapters of about so many bytes each, for the model that is measured.
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

/// Ten thousand directories: time to start, and memory.
fn registered() {
    // Of a directory only its name and times are looked at: which model it is for makes no difference.
    let root = toys(10_000, 8 << 10);
    let before = resident();
    let began = Instant::now();
    let tiers = tiers(64 << 20);
    let scan = tiers.register_all(root.path()).expect("scanned");
    let took = began.elapsed();
    assert_eq!(scan.registered, 10_000);
    let grown = resident() - before;
    let began = Instant::now();
    let page = tiers.list(Some("a05000"), 100);
    println!(
        "registered: 10,000 directories in {took:?}, {:.1} MB",
        grown as f64 / 1e6
    );
    println!(
        "registered: a page of {} with their headers in {:?}",
        page.len(),
        began.elapsed()
    );
}

/// Tokens in a second with `distinct` adapters in turn, 16 clients.
fn rate(engine: &Engine, distinct: u64, zipf: bool) -> f64 {
    const CLIENTS: u64 = 16;
    let each = if is_real() { 6 } else { 60 };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut random = Random(client + 1);
                for number in 0..each {
                    let which = match zipf {
                        // The inverse of the harmonic sum is near an exponential of a uniform number.
                        true => {
                            let uniform = random.below(1 << 30) as f64 / (1u64 << 30) as f64;
                            #[allow(
                                clippy::cast_possible_truncation,
                                clippy::cast_sign_loss,
                                reason = "below distinct"
                            )]
                            let which = ((distinct as f64).powf(uniform) - 1.0) as u64;
                            which
                        }
                        false => random.below(distinct),
                    };
                    let prompt = format!("client {client} asks {number}");
                    answer(engine, with(&format!("a{which:05}"), &prompt, 24)).expect("served");
                }
            });
        }
    });
    (CLIENTS * each * 24) as f64 / began.elapsed().as_secs_f64()
}

/// Throughput with 5 and with 2,000 adapters, uniform and Zipf, all on the same engine.
fn adapters() {
    let root = store(2_000, 64 << 10);
    let tiers = tiers(64 << 20);
    tiers.register_all(root.path()).expect("scanned");
    let cost = Cost {
        step: Duration::from_millis(4),
        token: Duration::from_micros(100),
        load: Duration::from_micros(20),
    };
    let engine = start(&tiers, Limits::default(), cost);
    rate(&engine, 5, false);
    for (name, zipf) in [("uniform", false), ("Zipf", true)] {
        let (mut few, mut many) = (0.0, 0.0);
        for _ in 0..3 {
            few += rate(&engine, 5, zipf) / 3.0;
            many += rate(&engine, 2_000, zipf) / 3.0;
        }
        let loss = (1.0 - many / few) * 100.0;
        println!("adapters, {name}: {few:.0} tokens/s with 5, {many:.0} with 2,000: {loss:.1} % lost");
    }
    let metrics = engine.metrics();
    println!("adapters: {:?}", metrics.tiers);
}

fn first_token(engine: &Engine, request: Request) -> Duration {
    let (events, said) = listen();
    let began = Instant::now();
    engine.ask(request, events).expect("taken");
    let first = said.recv().expect("an answer");
    assert!(matches!(first, Event::Token { .. }), "{first:?}");
    began.elapsed()
}

/// What a cold adapter of 10 MB adds to the first token: from disk (cached by the system), and from memory.
fn cold() {
    let root = store(40, 10 * MIB);
    let step = Cost {
        step: Duration::from_millis(5),
        ..Cost::default()
    };
    let tiers = tiers(1 << 30);
    tiers.register_all(root.path()).expect("scanned");
    // Slots for four: the others are in memory and no longer in a slot when they are asked for again.
    let limits = Limits {
        slot_bytes: 42 << 20,
        ..Limits::default()
    };
    let engine = start(&tiers, limits, step);
    let ask = |number: u64, round: u64| with(&format!("a{number:05}"), &format!("{round} of {number}"), 1);
    let (mut disk, mut host, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..40 {
        disk.push(first_token(&engine, ask(number, 0)));
        warm.push(first_token(&engine, ask(number, 1)));
    }
    for number in 0..40 {
        host.push(first_token(&engine, ask(number, 2)));
    }
    let [warm, host, disk] =
        [&mut warm, &mut host, &mut disk].map(|times| (quantile(times, 0.5), quantile(times, 0.99)));
    println!("cold, 10 MB: first token {warm:?} warm, {host:?} from memory, {disk:?} from disk (median, p99)");
}

fn gaps(engine: &Engine, clients: u64, over: &AtomicBool) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let client = |client: u64| {
            scope.spawn(move || {
                let mut gaps = Vec::new();
                let mut round = 0;
                while !over.load(Ordering::Relaxed) {
                    round += 1;
                    let request = Request {
                        tenant: format!("other {client}"),
                        ..request(&format!("{client} in {round}"), 100)
                    };
                    let (events, said) = listen();
                    engine.ask(request, events).expect("taken");
                    let mut last = None;
                    for event in said {
                        if matches!(event, Event::Token { .. })
                            && let Some(before) = last.replace(Instant::now())
                        {
                            gaps.push(before.elapsed());
                        }
                    }
                }
                gaps
            })
        };
        let running: Vec<_> = (0..clients).map(client).collect();
        running
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    })
}

/// Time between tokens of four streams, while a hundred cold adapters of 10 MB are asked for at once.
fn storm() {
    let root = store(100, 10 * MIB);
    let cost = Cost {
        step: Duration::from_millis(20),
        token: Duration::from_micros(200),
        load: Duration::from_micros(200),
    };
    let (mut quiet, mut stormy) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let tiers = tiers(512 << 20);
        tiers.register_all(root.path()).expect("scanned");
        let engine = start(&tiers, Limits::default(), cost);
        for (times, calm) in [(&mut quiet, true), (&mut stormy, false)] {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let others = scope.spawn(|| gaps(&engine, 4, &over));
                let waiting: Vec<_> = (0..if calm { 0 } else { 100 })
                    .map(|number| {
                        let engine = &engine;
                        let request = with(&format!("a{number:05}"), "cold", 1);
                        scope.spawn(move || answer(engine, request).expect("served"))
                    })
                    .collect();
                if calm {
                    std::thread::sleep(Duration::from_secs(3));
                }
                waiting.into_iter().for_each(|one| drop(one.join().expect("a client")));
                over.store(true, Ordering::Relaxed);
                times.extend(others.join().expect("the others"));
            });
        }
    }
    let [quiet, stormy] = [&mut quiet, &mut stormy].map(|times| (quantile(times, 0.5), quantile(times, 0.99)));
    let ratio = stormy.1.as_secs_f64() / quiet.1.as_secs_f64();
    println!(
        "storm of 100 cold adapters: next token {quiet:?} quiet, {stormy:?} stormy (median, p99): p99 × {ratio:.2}"
    );
}

/// Eight tenants that ask one after another, alone and beside one that asks for five hundred at once.
fn flood() {
    let cost = Cost {
        step: Duration::from_millis(10),
        token: Duration::from_micros(100),
        ..Cost::default()
    };
    let limits = Limits {
        rows_max: 16,
        step_prompt_tokens: 32,
        ..Limits::default()
    };
    let one = |engine: &Engine, tenant: u64| {
        let mut times = Vec::new();
        for round in 0..20 {
            let began = Instant::now();
            let request = Request {
                tenant: format!("tenant {tenant}"),
                ..request(&format!("{tenant} asks {round}"), 16)
            };
            answer(engine, request).expect("served");
            times.push(began.elapsed());
        }
        times
    };
    let eight = |engine: &Engine| -> Vec<Duration> {
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..8).map(|tenant| scope.spawn(move || one(engine, tenant))).collect();
            running
                .into_iter()
                .flat_map(|tenant| tenant.join().expect("a tenant"))
                .collect()
        })
    };
    let quiet_engine = start(&tiers(0), limits, cost);
    let mut quiet = eight(&quiet_engine);
    let engine = start(&tiers(0), limits, cost);
    let mut listeners = Vec::new();
    for number in 0..500 {
        let (events, said) = listen();
        let request = Request {
            tenant: "flood".to_owned(),
            ..request(&format!("{number} {}", "flood ".repeat(20)), 300)
        };
        engine.ask(request, events).expect("taken");
        listeners.push(said);
    }
    let mut flooded = eight(&engine);
    assert!(engine.metrics().census.ready > 0, "the flood goes on to the end");
    let [quiet, flooded] = [&mut quiet, &mut flooded].map(|times| (quantile(times, 0.5), quantile(times, 0.99)));
    let ratio = flooded.1.as_secs_f64() / quiet.1.as_secs_f64();
    println!("flood: an answer takes others {quiet:?} quiet, {flooded:?} beside it (median, p99): p99 × {ratio:.2}");
}

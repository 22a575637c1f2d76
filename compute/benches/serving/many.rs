//! Thousands of adapters: what they take when nobody asks for them, and what they cost when everybody asks for another.

use std::time::{Duration, Instant};

use compute::{engine::Engine, schedule::Limits};

use super::{is_real, resident, start, store, toy::*, toys};

/// Ten thousand directories: time to start, and memory.
pub(super) fn registered() {
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

/// Tokens in a second with `distinct` adapters, 16 clients. No two rounds ask for the same.
fn rate(engine: &Engine, distinct: u64, zipf: bool, round: u64) -> f64 {
    const CLIENTS: u64 = 16;
    let each = if is_real() { 6 } else { 60 };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut random = Random(round * CLIENTS + client + 1);
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
                    let prompt = format!("client {client} asks {number:03} in {round:03}");
                    answer(engine, with(&format!("a{which:05}"), &prompt, 24)).expect("served");
                }
            });
        }
    });
    (CLIENTS * each * 24) as f64 / began.elapsed().as_secs_f64()
}

/// Throughput with 5 and with 2,000 adapters, uniform and Zipf, all on the same engine, in pairs.
pub(super) fn adapters() {
    let pairs = std::env::var("OPENLEDGER_PAIRS").map_or(5, |pairs| pairs.parse().expect("a number of pairs"));
    let root = store(2_000, 64 << 10);
    let tiers = tiers(64 << 20);
    tiers.register_all(root.path()).expect("scanned");
    let cost = Cost {
        step: Duration::from_millis(4),
        token: Duration::from_micros(100),
        load: Duration::from_micros(20),
    };
    let engine = start(&tiers, Limits::default(), cost);
    rate(&engine, 5, false, 0);
    let mut round = 0;
    for (name, zipf) in [("uniform", false), ("Zipf", true)] {
        let before = engine.metrics();
        let mut losses: Vec<(f64, f64, f64)> = (0..pairs)
            .map(|_| {
                round += 2;
                let few = rate(&engine, 5, zipf, round);
                let many = rate(&engine, 2_000, zipf, round + 1);
                ((1.0 - many / few) * 100.0, few, many)
            })
            .collect();
        losses.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (loss, few, many) = losses[losses.len() / 2];
        let ((least, ..), (most, ..)) = (losses[0], losses[losses.len() - 1]);
        println!(
            "adapters, {name}: {few:.0} tokens/s with 5, {many:.0} with 2,000: {loss:.1} % lost in the median of {pairs} pairs ({least:.1} to {most:.1})"
        );
        let metrics = engine.metrics();
        println!(
            "adapters, {name}: {} steps, {} loads from disk, {} into slots",
            metrics.step.count() - before.step.count(),
            metrics.tiers.disk_loads - before.tiers.disk_loads,
            metrics.slot_loads - before.slot_loads
        );
    }
}

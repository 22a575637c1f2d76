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
pub(super) fn adapters() {
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

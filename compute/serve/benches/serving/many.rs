//! Thousands of adapters: what they take when nobody asks for them, and what they cost when everybody asks for another.

use std::time::{Duration, Instant};

use serve::{engine::Engine, schedule::Limits, tier::Budget};

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

/// Which adapters are asked for.
#[derive(Clone, Copy)]
struct Demand {
    distinct: u64,
    zipf: bool,
    clients: u64,
    /// Each client always asks for its own.
    own: bool,
}

impl Demand {
    fn next(self, client: u64, random: &mut Random) -> u64 {
        if self.own {
            return client;
        }
        if !self.zipf {
            return random.below(self.distinct);
        }
        // The inverse of the harmonic sum is near an exponential of a uniform number.
        let uniform = random.below(1 << 30) as f64 / (1u64 << 30) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below distinct")]
        let which = ((self.distinct as f64).powf(uniform) - 1.0) as u64;
        which
    }
}

/// Tokens in a second. No two rounds ask for the same.
fn rate(engine: &Engine, demand: Demand, round: u64) -> f64 {
    let each = match is_real() {
        true => 96 / demand.clients,
        false => 960 / demand.clients,
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..demand.clients {
            scope.spawn(move || {
                let mut random = Random(round * demand.clients + client + 1);
                for number in 0..each {
                    let which = demand.next(client, &mut random);
                    // It begins as no other does, or what is known of that one would be measured.
                    let begin = (round << 32 | client << 16 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let prompt = format!("{begin:016x} asks this");
                    answer(engine, with(&format!("a{which:05}"), &prompt, 24)).expect("served");
                }
            });
        }
    });
    (demand.clients * each * 24) as f64 / began.elapsed().as_secs_f64()
}

/// Throughput with 5 and with 2,000 adapters, uniform and Zipf, all on the same engine, in pairs: with as many of them in a
/// step on both sides, so that only what keeps them costs, and with more of them in a step where there are more.
pub(super) fn adapters() {
    let pairs = std::env::var("OPENLEDGER_PAIRS").map_or(5, |pairs| pairs.parse().expect("a number of pairs"));
    let root = store(2_000, 64 << 10);
    let tiers = tiers(Budget::default().host_bytes);
    tiers.register_all(root.path()).expect("scanned");
    let cost = Cost {
        step: Duration::from_millis(4),
        token: Duration::from_micros(100),
        load: Duration::from_micros(20),
    };
    let engine = start(&tiers, Limits::default(), cost);
    // Each was asked for before, as where there are many users: what came first from disk stays in memory, as far as an
    // engine keeps it there unless told otherwise.
    let began = Instant::now();
    let asked: Vec<_> = (0..2_000)
        .map(|which| {
            let (events, said) = listen();
            engine
                .submit(with(&format!("a{which:05}"), "once", 1), events)
                .map(|_| said)
                .expect("taken")
        })
        .collect();
    asked.into_iter().for_each(|said| drop(said.into_iter().last()));
    println!(
        "adapters: each of 2,000 answered once, from disk, in {:.1?}",
        began.elapsed()
    );
    let mut round = 0;
    let mut next = |demand| {
        round += 1;
        rate(&engine, demand, round)
    };
    for (name, zipf) in [("uniform", false), ("Zipf", true)] {
        for (kind, clients) in [("one adapter a client", 5), ("whichever", 16)] {
            let demand = |distinct| Demand {
                distinct,
                zipf,
                clients,
                own: clients == distinct,
            };
            next(demand(5));
            let before = engine.metrics();
            let mut losses: Vec<(f64, f64, f64)> = (0..pairs)
                .map(|_| {
                    let (few, many) = (next(demand(5)), next(demand(2_000)));
                    ((1.0 - many / few) * 100.0, few, many)
                })
                .collect();
            losses.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (loss, few, many) = losses[losses.len() / 2];
            let ((least, ..), (most, ..)) = (losses[0], losses[losses.len() - 1]);
            let metrics = engine.metrics();
            println!(
                "adapters, {name}, {clients} clients, {kind} of 5: {few:.0} tokens/s, of 2,000: {many:.0}; {loss:.1} % lost in the median of {pairs} pairs ({least:.1} to {most:.1}); {} steps, {} loads from disk, {} into slots",
                metrics.step.count() - before.step.count(),
                metrics.tiers.disk_loads - before.tiers.disk_loads,
                metrics.slot_loads - before.slot_loads
            );
        }
    }
}

//! Adapters that are not there yet: how long whoever wants one waits, and what the others notice.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use compute::lora::Adapter;
use serve::{
    engine::{Engine, Event, Request},
    schedule::Limits,
};

use super::{MIB, quantile, start, store, toy::*};

fn first_token(engine: &Engine, request: Request) -> Duration {
    let (events, said) = listen();
    let began = Instant::now();
    engine.submit(request, events).expect("taken");
    let first = said.recv().expect("an answer");
    assert!(matches!(first, Event::Token { .. }), "{first:?}");
    began.elapsed()
}

/// What reading an adapter takes by itself: 10 MB, and 64 KB.
pub(super) fn load() {
    for bytes in [10 * MIB, 64 << 10] {
        let root = store(8, bytes);
        let mut times = Vec::new();
        for round in 0..5 {
            for number in 0..8 {
                let dir = root.path().join(format!("a{number:05}"));
                let began = Instant::now();
                let adapter = Adapter::load(&dir).expect("written above");
                if round > 0 {
                    times.push(began.elapsed());
                }
                drop(adapter);
            }
        }
        println!(
            "load: {:.1} MB in {:?} (median), {:?} (p99), cached by the system",
            bytes as f64 / 1e6,
            quantile(&mut times, 0.5),
            quantile(&mut times, 0.99)
        );
    }
}

/// Lets the system forget what it has of a file.
fn forget(dir: &Path) {
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let file = std::fs::File::open(dir.join(file)).expect("written above");
        file.sync_all().expect("on the disk");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("the system forgets");
    }
}

/// What a cold adapter of 10 MB adds to the first token: from disk, cached by the system or not, and from memory. Each
/// cold request is followed by a warm one.
pub(super) fn cold() {
    const ADAPTERS: u64 = 40;
    let root = store(40, 10 * MIB);
    let step = Cost {
        step: Duration::from_millis(5),
        ..Cost::default()
    };
    // Slots for four: the others are in memory and no longer in a slot when they are asked for again.
    let limits = Limits {
        slot_bytes: 42 << 20,
        ..Limits::default()
    };
    for (name, cached) in [("cached by the system", true), ("not cached", false)] {
        let tiers = tiers(1 << 30);
        tiers.register_all(root.path()).expect("scanned");
        let engine = start(&tiers, limits, step);
        // Everything that is made once is made now.
        for round in 0..3 {
            first_token(&engine, request(&format!("{round} before"), 1));
        }
        let ask = |number: u64, round: u64| with(&format!("a{number:05}"), &format!("{round} of {number}"), 1);
        let (mut disk, mut host, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..ADAPTERS {
            if !cached {
                forget(&root.path().join(format!("a{number:05}")));
            }
            disk.push(first_token(&engine, ask(number, 0)));
            warm.push(first_token(&engine, ask(number, 1)));
        }
        for number in 0..ADAPTERS {
            host.push(first_token(&engine, ask(number, 2)));
            warm.push(first_token(&engine, ask(number, 3)));
        }
        let more = |cold: &mut [Duration], warm: &mut [Duration], part| {
            1e3 * (quantile(cold, part).as_secs_f64() - quantile(warm, part).as_secs_f64())
        };
        println!(
            "cold, 10 MB, {name}: first token {:?} warm; over it {:+.1} ms from memory, {:+.1} ms from disk (medians; p99 {:+.1}, {:+.1})",
            quantile(&mut warm, 0.5),
            more(&mut host, &mut warm, 0.5),
            more(&mut disk, &mut warm, 0.5),
            more(&mut host, &mut warm, 0.99),
            more(&mut disk, &mut warm, 0.99),
        );
    }
}

/// Times between tokens of some streams until it is over; the rest of their answers is not counted.
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
                    engine.submit(request, events).expect("taken");
                    let mut last = None;
                    for event in said {
                        if matches!(event, Event::Token { .. })
                            && let Some(before) = last.replace(Instant::now())
                            && !over.load(Ordering::Relaxed)
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

/// Time between tokens of four streams, by themselves, while a hundred requests of the base are asked for at once, and while
/// a hundred cold adapters of 10 MB are, with the bounds that an engine has by itself.
pub(super) fn storm() {
    let root = store(100, 10 * MIB);
    let cost = Cost {
        step: Duration::from_millis(20),
        token: Duration::from_micros(200),
        load: Duration::from_micros(200),
    };
    let mut times = [const { Vec::new() }; 3];
    let mut whole = [Duration::ZERO; 3];
    for _ in 0..3 {
        let tiers = tiers(512 << 20);
        tiers.register_all(root.path()).expect("scanned");
        let engine = start(&tiers, Limits::default(), cost);
        for (kind, times) in times.iter_mut().enumerate() {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let others = scope.spawn(|| gaps(&engine, 4, &over));
                let began = Instant::now();
                let stormy = |number: u32| match kind {
                    1 => request(&format!("{number:04}"), 1),
                    _ => with(&format!("a{number:05}"), "cold", 1),
                };
                // By one thread, which then sleeps: a hundred that begin at once are a storm of their own.
                let waiting: Vec<_> = (0..if kind == 0 { 0 } else { 100 })
                    .map(|number| {
                        let (events, said) = listen();
                        engine.submit(stormy(number), events).expect("taken");
                        said
                    })
                    .collect();
                if kind == 0 {
                    std::thread::sleep(Duration::from_secs(4));
                }
                for said in waiting {
                    let last = said.into_iter().last();
                    assert!(matches!(last, Some(Event::Done { .. })), "{last:?}");
                }
                whole[kind] += began.elapsed() / 3;
                over.store(true, Ordering::Relaxed);
                times.extend(others.join().expect("the others"));
            });
        }
    }
    let shown = times
        .each_mut()
        .map(|times| (quantile(times, 0.5), quantile(times, 0.99)));
    let over = |storm: usize| shown[storm].1.as_secs_f64() / shown[0].1.as_secs_f64();
    println!(
        "storm: next token {:.1?} quiet, {:.1?} beside 100 requests of the base in {:.1?} (p99 × {:.2}), {:.1?} beside 100 cold adapters in {:.1?} (p99 × {:.2}) (median, p99)",
        shown[0],
        shown[1],
        whole[1],
        over(1),
        shown[2],
        whole[2],
        over(2)
    );
}

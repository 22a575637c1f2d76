//! Others beside a request: a tenant that floods, and somebody who replaces its adapter all the time.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use compute::{decoder::CpuOptions, lora::Adapter, model::Model};
use serve::{
    engine::{Engine, Request, Setup},
    schedule::{Finish, Limits},
    tier::{Generation, Source},
};

use super::{quantile, start, toy::*};

/// Eight tenants that ask one after another, alone and beside one that asks for five hundred at once.
pub(super) fn flood() {
    let cost = Cost {
        step: Duration::from_millis(10),
        token: Duration::from_micros(100),
        ..Cost::default()
    };
    let limits = Limits::default();
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
        engine.submit(request, events).expect("taken");
        listeners.push(said);
    }
    let mut flooded = eight(&engine);
    assert!(engine.metrics().occupancy.ready > 0, "the flood goes on to the end");
    let [quiet, flooded] = [&mut quiet, &mut flooded].map(|times| (quantile(times, 0.5), quantile(times, 0.99)));
    let ratio = flooded.1.as_secs_f64() / quiet.1.as_secs_f64();
    println!("flood: an answer takes others {quiet:?} quiet, {flooded:?} beside it (median, p99): p99 × {ratio:.2}");
}

/// Swaps of the adapter that four clients ask for all the time, with the decoder on a small model whatever else is
/// measured: who is answered with the wrong content, and who is not answered.
pub(super) fn swaps() {
    const SWAPS: u64 = 10_000;
    const TOKENS: u32 = 8;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/llama-1");
    let dirs: Vec<_> = (0..4).map(|number| fixture.join(format!("adapter{number}"))).collect();
    let contents: Vec<_> = dirs.iter().map(|dir| Adapter::load(dir).expect("a fixture")).collect();
    // Room for two contents: the others come back from disk for those who began with them.
    let tiers = tiers(contents.iter().take(2).map(Adapter::bytes).sum());
    let shape = setup(
        Arc::clone(&tiers),
        Limits::default(),
        SHAPE,
        Cost::default(),
        Arc::default(),
    );
    let model = Model::read(&fixture).expect("a fixture");
    let build = Box::new(move || {
        let decoder = model.on_cpu(CpuOptions::default()).map_err(|error| error.to_string())?;
        Ok(Box::new(decoder) as Box<_>)
    });
    let engine = Engine::start(Setup { build, ..shape }).expect("the model is built");
    let ask = |adapter: &str, prompt: &[u32]| Request {
        adapters: vec![(adapter.to_owned(), 1.0)],
        ignore_eos: true,
        ..tokens_request(prompt, TOKENS)
    };
    let prompts: Vec<Vec<u32>> = (0..4u32)
        .map(|number| (0..20).map(|at| 3 + (number * 31 + at * 7) % 90).collect())
        .collect();
    // What each content says to each prompt, by itself.
    let mut expected = BTreeMap::new();
    for (number, (dir, adapter)) in dirs.iter().zip(&contents).enumerate() {
        let name = format!("alone{number}");
        tiers
            .register(&name, Source::Dir(dir.as_path().into()), None)
            .expect("registered");
        for (index, prompt) in prompts.iter().enumerate() {
            let whole = answer(&engine, ask(&name, prompt)).expect("served");
            expected.insert((adapter.hash().to_string(), index), whole.tokens);
        }
    }
    let told: std::collections::BTreeSet<_> = expected.values().collect();
    assert!(told.len() > prompts.len(), "contents can be told apart");
    let Generation(first) = tiers
        .register("live", Source::Dir(dirs[0].as_path().into()), None)
        .expect("registered");
    let (over, current) = (AtomicBool::new(false), AtomicU64::new(first));
    let (served, wrong, dropped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..4u64 {
            let (engine, over, current, ask, prompts, expected) = (&engine, &over, &current, &ask, &prompts, &expected);
            let (served, wrong, dropped) = (&served, &wrong, &dropped);
            scope.spawn(move || {
                let mut random = Random(client);
                while !over.load(Ordering::Acquire) {
                    let index = usize::try_from(random.below(4)).expect("small");
                    let before = current.load(Ordering::Acquire);
                    let whole = match answer(engine, ask("live", &prompts[index])) {
                        Ok(whole) if whole.finish == Finish::Length => whole,
                        _ => {
                            dropped.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                    };
                    let one = &whole.adapters[0];
                    let right = one.generation >= before && expected[&(one.hash.clone(), index)] == whole.tokens;
                    wrong.fetch_add(u64::from(!right), Ordering::Relaxed);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut generation = first;
        for swap in 1..=SWAPS {
            let dir = &dirs[usize::try_from(swap).expect("small") % dirs.len()];
            let next = tiers.register("live", Source::Dir(dir.as_path().into()), Some(generation));
            generation = next.expect("nobody else swaps").0;
            current.store(generation, Ordering::Release);
            // Someone asks between two swaps now and then, whatever the speed of this machine.
            let seen = served.load(Ordering::Relaxed);
            while swap % 4 == 0 && served.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Release);
    });
    let [served, wrong, dropped] = [&served, &wrong, &dropped].map(|count| count.load(Ordering::Relaxed));
    println!(
        "swaps: {SWAPS} in {:.1?} while {served} were answered by the decoder: {wrong} wrong, {dropped} dropped",
        began.elapsed()
    );
}

fn tokens_request(prompt: &[u32], tokens: u32) -> Request {
    Request {
        tokens_max: Some(tokens),
        ..Request::new(serve::engine::Prompt::Tokens(prompt.to_vec()))
    }
}

//! The engine around a model that only remembers: what it says, to whom, and what happens when things go wrong.

mod toy;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use serve::{
    engine::{Event, Prompt, Request, SubmitError},
    sample::Params,
    schedule::{Finish, Refusal},
    tier::{Generation, Source},
};
use toy::*;

fn slow() -> Cost {
    Cost {
        step: Duration::from_millis(2),
        ..Cost::default()
    }
}

#[test]
fn every_request_of_a_mixed_batch_gets_its_own_answer() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(1 << 20);
    for number in 0..12 {
        write(root.path(), &format!("a{number}"), &adapter(number, 256));
    }
    tiers.register_all(root.path()).expect("registered");
    let engine = engine(tiers, Cost::default(), Arc::default());
    let (events, _said) = listen();
    assert!(
        matches!(engine.submit(with("a99", "hi", 3), events), Err(SubmitError::Unknown { name, .. }) if name == "a99")
    );
    std::thread::scope(|scope| {
        for client in 0..24u32 {
            let engine = &engine;
            scope.spawn(move || {
                let prompt = format!("prompt of {client}");
                let (request, adapters) = match client % 3 {
                    0 => (request(&prompt, 20), vec![]),
                    _ => (
                        with(&format!("a{}", client % 12), &prompt, 20),
                        vec![(adapter(client % 12, 256).hash(), 1.0)],
                    ),
                };
                let whole = answer(engine, request).expect("served");
                assert_eq!(whole.tokens, alone(&adapters, &tokens(&prompt), 20));
                assert_eq!(tokens(&whole.text), whole.tokens);
                assert_eq!((whole.finish, whole.usage.completion), (Finish::Length, 20));
                assert_eq!(whole.adapters.len(), adapters.len());
            });
        }
    });
    let metrics = engine.metrics();
    assert_eq!((metrics.finished, metrics.completion_tokens), (24, 24 * 20));
    assert_eq!(metrics.first_token.count(), 24);
}

#[test]
fn a_stop_text_ends_an_answer_before_it_is_shown() {
    let engine = engine(tiers(0), Cost::default(), Arc::default());
    let text = answer(&engine, request("once", 40)).expect("served").text;
    let stop = &text[10..13];
    let end = text.find(stop).expect("said");
    let stopped = |keep_stop| {
        let request = Request {
            stop: vec![stop.to_owned()],
            keep_stop,
            ..request("once", 40)
        };
        let whole = answer(&engine, request).expect("served");
        assert_eq!((whole.finish, whole.usage.completion), (Finish::Stop, end + 3));
        whole.text
    };
    assert_eq!(stopped(false), text[..end]);
    assert_eq!(stopped(true), text[..end + 3]);
}

#[test]
fn logprobs_come_for_the_prompt_and_for_the_answer() {
    let engine = engine(tiers(0), Cost::default(), Arc::default());
    let request = Request {
        prompt_logprobs: Some(2),
        sampling: Params {
            logprobs: Some(3),
            ..Params::default()
        },
        ..request(&"x".repeat(100), 5)
    };
    let whole = answer(&engine, request).expect("served");
    let mut scored = Vec::new();
    for event in &whole.events {
        match event {
            Event::Prompt(some) => scored.extend(some.iter().map(|one| one.token.token)),
            Event::Token { token, logprobs, .. } => {
                let logprobs = logprobs.as_ref().expect("asked for");
                assert_eq!((logprobs.token.token, logprobs.top.len()), (*token, 3));
                assert_eq!(logprobs.top[0], logprobs.token, "greedy takes the likeliest");
            }
            Event::Refused(_) | Event::Done { .. } => (),
        }
    }
    assert_eq!(scored, tokens(&"x".repeat(99)));
}

#[test]
fn verified_work_is_refused_where_sums_depend_on_company_and_the_rest_is_served() {
    let controls = Arc::new(Controls::default());
    controls.unverified.store(true, Ordering::Relaxed);
    let engine = engine(tiers(0), Cost::default(), controls);
    let verified = Request {
        verified: true,
        ..request("x", 4)
    };
    match answer(&engine, verified) {
        Err(SubmitError::InvalidArgument { field, why }) => {
            assert_eq!(field, "verified");
            assert!(why.contains("--device cpu"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(answer(&engine, request("x", 4)).expect("served").usage.completion, 4);
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    let engine = engine(tiers(0), Cost::default(), Arc::default());
    let field = |request: Request| match answer(&engine, request) {
        Err(SubmitError::InvalidArgument { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let plain = || request("x", 4);
    assert_eq!(
        field(Request {
            stop: vec!["x".repeat(2000)],
            ..plain()
        }),
        "stop"
    );
    assert_eq!(
        field(Request {
            tokens_min: 5,
            ..plain()
        }),
        "min_tokens"
    );
    assert_eq!(
        field(Request {
            prompt: Prompt::Tokens(vec![256]),
            ..plain()
        }),
        "prompt"
    );
    assert_eq!(
        field(Request {
            adapters: vec![("a".into(), f32::NAN)],
            ..plain()
        }),
        "model"
    );
    let sampling = Params {
        temperature: -1.0,
        ..Params::default()
    };
    assert_eq!(field(Request { sampling, ..plain() }), "temperature");
    let long = answer(&engine, request(&"x".repeat(600), 4));
    assert!(
        matches!(
            long,
            Err(SubmitError::Refused(Refusal::PromptTooLong { tokens: 600, most: 511 }))
        ),
        "{long:?}"
    );
    let empty = answer(&engine, request("", 4));
    assert!(matches!(empty, Err(SubmitError::Refused(Refusal::EmptyPrompt))));
}

#[test]
fn an_adapter_that_cannot_be_used_fails_its_request_alone() {
    let root = tempfile::tempdir().expect("tempdir");
    let tiers = tiers(1 << 20);
    write(root.path(), "gone", &adapter(1, 256));
    tiers.register_all(root.path()).expect("registered");
    std::fs::remove_dir_all(root.path().join("gone")).expect("removed");
    let engine = engine(tiers, Cost::default(), Arc::default());
    let failed = answer(&engine, with("gone", "x", 3));
    assert!(matches!(failed, Err(SubmitError::Refused(Refusal::Adapter(why))) if why.contains("gone")));
    assert!(answer(&engine, request("x", 3)).is_ok());
}

#[test]
fn whoever_stops_listening_stops_costing() {
    let engine = engine(tiers(0), slow(), Arc::default());
    let (events, said) = listen();
    engine.submit(request("x", 400), events).expect("taken");
    said.recv().expect("a first token");
    drop(said);
    engine.drain();
    let metrics = engine.metrics();
    assert_eq!(metrics.cancelled, 1);
    assert!(metrics.completion_tokens < 100);
}

#[test]
fn a_request_that_is_cancelled_says_so() {
    let engine = engine(tiers(0), slow(), Arc::default());
    let (events, said) = listen();
    let id = engine.submit(request("x", 400), events).expect("taken");
    said.recv().expect("a first token");
    engine.cancel(id);
    let whole = whole(said).expect("served in part");
    assert_eq!(whole.finish, Finish::Cancelled);
}

#[test]
fn who_drains_lets_everyone_finish_and_nobody_begin() {
    let engine = engine(tiers(0), slow(), Arc::default());
    let (all, said) = mpsc::channel();
    let events = || {
        let all = all.clone();
        Box::new(move |event| all.send(event).is_ok())
    };
    for number in 0..50 {
        engine
            .submit(request(&format!("x{number}"), 5), events())
            .expect("taken");
    }
    engine.drain();
    assert!(matches!(
        engine.submit(request("x", 1), events()),
        Err(SubmitError::Refused(Refusal::Draining))
    ));
    drop(all);
    let whole = said
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Done {
                    finish: Finish::Length,
                    ..
                }
            )
        })
        .count();
    assert_eq!(whole, 50);
}

#[test]
fn a_step_that_panics_costs_the_requests_in_it_and_no_others() {
    let controls = Arc::new(Controls::default());
    let engine = engine(tiers(0), slow(), Arc::clone(&controls));
    for _ in 0..5 {
        let (events, said) = listen();
        engine.submit(request("first", 400), events).expect("taken");
        said.recv().expect("a first token");
        controls.panic.store(true, Ordering::Relaxed);
        let failed = whole(said).expect("served in part");
        assert!(matches!(failed.finish, Finish::Failed(why) if why.contains("told to panic")));
        let next = answer(&engine, request("second", 30)).expect("served");
        assert_eq!(next.tokens, alone(&[], &tokens("second"), 30));
    }
    assert_eq!(engine.metrics().rebuilds, 5);
}

/// How many swaps; 10,000 in the long campaign.
fn swaps() -> u64 {
    std::env::var("OPENLEDGER_SWAPS").map_or(400, |count| count.parse().expect("OPENLEDGER_SWAPS is a number"))
}

#[test]
fn a_swap_under_load_drops_nobody_and_nobody_gets_the_wrong_generation() {
    const CONTENTS: u32 = 8;
    let root = tempfile::tempdir().expect("tempdir");
    let dirs: Vec<_> = (0..CONTENTS)
        .map(|number| write(root.path(), &number.to_string(), &adapter(number, 512)))
        .collect();
    let known = hashes(0..CONTENTS, 512);
    let source = |dir: &Path| Source::Dir(dir.into());
    // Room for three contents: the old ones must come back from disk for those who began with them.
    let tiers = tiers(3 * adapter(0, 512).bytes());
    let Generation(first) = tiers.register("live", source(&dirs[0]), None).expect("registered");
    let engine = engine(Arc::clone(&tiers), Cost::default(), Arc::default());
    let (current, over, served) = (AtomicU64::new(first), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..4u64 {
            let (engine, known, current, over, served) = (&engine, &known, &current, &over, &served);
            scope.spawn(move || {
                let mut random = Random(client);
                while !over.load(Ordering::Acquire) {
                    let prompt = format!("{} and {}", random.below(4), "same ".repeat(10));
                    let before = current.load(Ordering::Acquire);
                    let whole = answer(engine, with("live", &prompt, 12)).expect("nobody is dropped");
                    let [one] = &whole.adapters[..] else {
                        panic!("one adapter took part: {:?}", whole.adapters);
                    };
                    assert_eq!(whole.finish, Finish::Length);
                    assert!(
                        one.generation >= before,
                        "who asks after a swap gets what was swapped in"
                    );
                    assert_eq!(whole.tokens, alone(&[(known[&one.hash], 1.0)], &tokens(&prompt), 12));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut generation = first;
        for swap in 1..=swaps() {
            let dir = &dirs[usize::try_from(swap).expect("small") % dirs.len()];
            let next = tiers
                .register("live", source(dir), Some(generation))
                .expect("nobody else swaps");
            generation = next.0;
            current.store(generation, Ordering::Release);
            // Let someone ask between two swaps now and then, whatever the speed of this machine.
            let seen = served.load(Ordering::Relaxed);
            while swap % 4 == 0 && served.load(Ordering::Relaxed) == seen {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Release);
    });
    assert!(served.load(Ordering::Relaxed) * 4 >= swaps());
    assert_eq!((engine.metrics().failed, engine.metrics().refused), (0, 0));
}

//! A thousand networks, and the networks that must fail.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use tests::{
    byzantine::Behaviour,
    check::Violation,
    plan::{Plan, Sabotage},
    progress::say,
    world::{self, Failure},
};

const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_seeds_keep_every_promise() {
    say(format_args!("simulating {SEEDS} networks"));
    let done = AtomicU64::new(0);
    let failures: Vec<String> = (0..SEEDS)
        .into_par_iter()
        .filter_map(|seed| {
            let failed = world::run(&Plan::random(seed)).err().map(|failure| (seed, failure));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(200) {
                say(format_args!("{done} of {SEEDS} networks simulated"));
            }
            failed
        })
        .map(|(seed, Failure { violation, at })| {
            format!(
                "seed {seed}: {violation:?} at {} us; replay: cargo xtask sim --from {seed} --seeds 1",
                at.0
            )
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {SEEDS} seeds failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let (one, two) = (world::run(&Plan::random(seed)), world::run(&Plan::random(seed)));
        assert_eq!(one, two, "seed {seed}");
        assert_ne!(
            one.unwrap().digest,
            world::run(&Plan::random(seed + 1000)).unwrap().digest
        );
    }
}

#[test]
fn two_liars_of_four_fork_the_chain_and_the_checks_say_so() {
    for seed in 0..4 {
        let run = world::run(&Plan::two_liars_of_four(seed));
        assert!(
            matches!(
                run,
                Err(Failure {
                    violation: Violation::Fork(_),
                    ..
                })
            ),
            "seed {seed}: {run:?}"
        );
    }
}

#[test]
fn one_twin_of_four_forks_nothing_and_is_proven_a_liar() {
    let evidence: usize = (0..4)
        .map(|seed| world::run(&Plan::one_twin(seed)).unwrap().evidence)
        .sum();
    assert!(
        evidence > 0,
        "a validator that runs twice contradicts itself sooner or later"
    );
}

#[test]
fn every_planted_bug_is_found() {
    for sabotage in Sabotage::ALL {
        let found = (0..400).into_par_iter().find_map_any(|seed| {
            let failure = world::run(&Plan::sabotaged(seed, sabotage)).err()?;
            Some((seed, failure.violation))
        });
        assert!(found.is_some(), "400 seeds with {sabotage:?} and nobody noticed");
    }
}

#[test]
fn who_stakes_votes_from_the_next_epoch_until_it_leaves() {
    let plan = Plan::newcomer(3);
    let report = world::run(&plan).unwrap();
    let (first, last) = report.newcomer.expect("it staked, so it votes");
    assert!(
        first > plan.epoch_length,
        "nobody votes in the epoch in which it stakes: {first}"
    );
    assert!(
        last > first && last < report.height,
        "it left at {last} of {}",
        report.height
    );
    let edge = last.next_multiple_of(plan.epoch_length);
    assert!(
        edge + plan.epoch_length < report.height,
        "epochs pass without it: {edge} of {}",
        report.height
    );
}

#[test]
fn each_liar_alone_stops_nothing() {
    for liar in Behaviour::LIARS {
        for seed in 0..3 {
            let mut plan = Plan::quiet(seed);
            plan.hosts[usize::try_from(seed).unwrap()] = liar;
            let report = world::run(&plan).unwrap_or_else(|failure| panic!("{liar:?}, seed {seed}: {failure:?}"));
            let proven = report.evidence > 0;
            assert!(proven || liar != Behaviour::Equivocator, "an equivocator leaves proof");
        }
    }
}

#[test]
fn a_quorum_that_is_away_stops_the_chain_and_the_checks_say_so() {
    let mut plan = Plan::quiet(7);
    plan.hosts[0] = Behaviour::Silent;
    plan.hosts[1] = Behaviour::Silent;
    plan.until = protocol::Time(20_000_000);
    let run = world::run(&plan);
    assert!(
        matches!(
            run,
            Err(Failure {
                violation: Violation::Stall(_),
                ..
            })
        ),
        "{run:?}"
    );
}

//! Every decoder of bytes from outside against thousands of mutated inputs: it answers or refuses, and never panics.
//!
//! `OPENLEDGER_FUZZ_ROUNDS` makes it thorough, `OPENLEDGER_FUZZ_SEED` replays a failure.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

use alloy_primitives::hex;
use rayon::prelude::*;
use tests::{
    dice::Dice,
    fuzz::{TARGETS, Target, mutate::mutate},
    progress::say,
};

const ROUNDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, not a number"))
    })
}

/// The inputs of these seeds; what breaks the target first.
fn try_seeds(target: &Target, seeds: std::ops::Range<u64>) -> Result<(), String> {
    say(format_args!("{}: {} inputs", target.name, seeds.end - seeds.start));
    let samples = (target.samples)();
    for sample in &samples {
        (target.run)(sample);
    }
    for seed in seeds {
        let bytes = mutate(&samples, &mut Dice::new(seed, target.name));
        catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).map_err(|_| {
            let replay = format!("OPENLEDGER_FUZZ_SEED={seed} cargo test -p tests --test bad_input decoders");
            format!(
                "{} broke on {} (replay with {replay})",
                target.name,
                hex::encode(&bytes)
            )
        })?;
    }
    Ok(())
}

#[test]
fn no_decoder_panics_on_mutated_input() {
    let seeds = match number("OPENLEDGER_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OPENLEDGER_FUZZ_ROUNDS").unwrap_or(ROUNDS),
    };
    let broken: Vec<_> = TARGETS
        .par_iter()
        .filter_map(|target| try_seeds(target, seeds.clone()).err())
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_mutation_is_the_same_for_the_same_seed_and_mostly_changes_something() {
    let samples = [vec![7; 100], vec![8; 10]];
    let mutated = |seed| mutate(&samples, &mut Dice::new(seed, "test"));
    assert_eq!(mutated(1), mutated(1));
    let changed = (0..100).filter(|seed| !samples.contains(&mutated(*seed))).count();
    assert!(changed > 90, "{changed} of 100 were changed");
}

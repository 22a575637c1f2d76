//! Runs that stop early and are resumed.

use std::{env, fs, time::Duration};

use compute::{kernel::Level, lora::Adapter};
use train::{CheckpointError, Event, Machine, Proceed, Throttle, TrainError, Unthrottled, run};

use super::{machine, output, short, trainer};

/// Least number of passes of the whole run below.
const PASSES: u64 = 36;

/// A throttle that stops after this many passes.
struct After(u64);

impl Throttle for After {
    fn after_pass(&mut self, _: Duration) -> Proceed {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Proceed::Stop } else { Proceed::Continue }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_and_resumed_ends_with_the_same_bits() {
    let machine = machine(2, Level::detect(), 1 << 20, 24);
    let whole = tempfile::tempdir().unwrap();
    let expected = {
        let mut trainer = trainer("llama-1", short(), machine);
        run(&mut trainer, &output(whole.path()), &mut Unthrottled, &mut |_| ()).unwrap()
    };
    // The first pass, one that belongs to a validation, and three more that the seed selects.
    let seed: u64 = env::var("OPENLEDGER_SEED").map_or(1, |seed| seed.parse().unwrap());
    let many: u64 = env::var("OPENLEDGER_STOPS").map_or(3, |stops| stops.parse().unwrap());
    let mut state = seed;
    let anywhere = (0..many).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) % PASSES
    });
    let replay =
        format!("OPENLEDGER_SEED={seed} OPENLEDGER_STOPS={many} cargo test -p train --test train -- stopped_anywhere");
    for passes in [1, 18].into_iter().chain(anywhere) {
        let dir = tempfile::tempdir().unwrap();
        let out = output(dir.path());
        let mut first = trainer("llama-1", short(), machine);
        let stopped = run(&mut first, &out, &mut After(passes), &mut |_| ());
        assert!(
            matches!(stopped, Err(TrainError::Stopped(_))),
            "{replay}: after {passes}: {stopped:?}"
        );
        let mut again = trainer("llama-1", short(), machine);
        if let Some((step, last)) = out.checkpoints().last() {
            again.resume(last).unwrap();
            assert_eq!((again.step_number(), *step), (first.step_number(), first.step_number()));
        }
        let mut seen = Vec::new();
        let mut hear = |event: &Event| match event {
            Event::Step { stepped, .. } => seen.push(stepped.step),
            Event::Begun { .. } | Event::Validation { .. } | Event::Checkpoint { .. } => (),
        };
        let outcome = run(&mut again, &out, &mut Unthrottled, &mut hear).unwrap();
        assert_eq!(
            (outcome.root, outcome.adapter),
            (expected.root.clone(), expected.adapter.clone()),
            "{replay}: after {passes}"
        );
        assert_eq!(seen, (first.step_number() + 1..=again.steps()).collect::<Vec<_>>());
        for file in [
            "adapter_model.safetensors",
            "adapter_config.json",
            "training.json",
            "step-roots.bin",
        ] {
            let (ours, theirs) = (fs::read(dir.path().join(file)), fs::read(whole.path().join(file)));
            assert_eq!(ours.unwrap(), theirs.unwrap(), "{replay}: {file} after {passes}");
        }
    }
    let written = Adapter::load(whole.path()).unwrap();
    assert_eq!(Some(written.hash().to_string()), expected.adapter);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut first = trainer("llama-1", short(), Machine::default());
    first.step(&mut Unthrottled).unwrap();
    first.checkpoint(&path).unwrap();
    let before = fs::read(&path).unwrap();
    first.step(&mut Unthrottled).unwrap();
    // A folder is in the way of the unfinished file; the write fails as on a full disk.
    fs::create_dir(dir.path().join("state.unfinished")).unwrap();
    assert!(matches!(
        first.checkpoint(&path),
        Err(TrainError::Checkpoint(CheckpointError::Write { .. }))
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
    for length in [0, 7, 100, before.len() - 1] {
        fs::write(&path, &before[..length]).unwrap();
        let refused = trainer("llama-1", short(), Machine::default()).resume(&path);
        assert!(
            matches!(refused, Err(TrainError::Checkpoint(CheckpointError::Damaged { .. }))),
            "{length}: {refused:?}"
        );
    }
}

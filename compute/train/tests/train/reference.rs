//! The steps of a run compared with those of PEFT and PyTorch.

use compute::{lora::Adapter, model::Model};
use serde::Deserialize;
use train::{Machine, StepReport, Trainer, Unthrottled};

use super::{corpus, fixture, read, recipe, training, weights};

#[derive(Deserialize)]
struct Curve {
    losses: Vec<f64>,
    lengths: Vec<f64>,
}

fn cosine<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in pairs.map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

#[test]
fn fifty_steps_end_where_peft_and_torch_end_in_three_families() {
    for name in ["llama-1", "qwen2-3", "qwen3-5"] {
        let dir = fixture(name);
        let model = Model::read(&dir).unwrap();
        let before = Adapter::load(&training(&dir).join("before")).unwrap();
        let corpus = corpus(&dir, model.config(), &recipe());
        let machine = Machine::default();
        let mut trainer = Trainer::from_adapter(&model, &before, corpus, &weights(), recipe(), machine).unwrap();
        let curve: Curve = read(training(&dir).join("curve.json"));
        assert_eq!(trainer.steps(), curve.losses.len() as u64);
        for (theirs, length) in curve.losses.iter().zip(&curve.lengths) {
            let step: StepReport = trainer.step(&mut Unthrottled).unwrap();
            let (off, length_off) = ((step.loss - theirs).abs(), (step.length - length).abs() / length);
            assert!(
                off <= 1e-3,
                "{name} step {}: loss {} and theirs {theirs}",
                step.step,
                step.loss
            );
            assert!(
                length_off <= 1e-3,
                "{name} step {}: {} and {length}",
                step.step,
                step.length
            );
        }
        let (ours, theirs) = (
            trainer.adapter().unwrap(),
            Adapter::load(&training(&dir).join("after")).unwrap(),
        );
        let (mut a, mut b) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (site, low) in ours.sites() {
            let other = &theirs.sites()[site];
            assert_eq!(low.scale, other.scale);
            for (all, pair) in [(&mut a, (&low.a, &other.a)), (&mut b, (&low.b, &other.b))] {
                all[0].extend(pair.0.to_f32());
                all[1].extend(pair.1.to_f32());
            }
        }
        for (factor, [ours, theirs]) in [("A", a), ("B", b)] {
            let cosine = cosine(ours.iter().zip(&theirs));
            assert!(cosine >= 0.9999, "{name} {factor}: {cosine}");
        }
    }
}

//! Logits compared with transformers and PEFT, on fixtures that `fixtures/make.py` made.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a test computes, and stops where it cannot"
)]

mod fixture;

use std::path::Path;

use compute::{
    decoder::{Cpu, CpuOptions, Decoder},
    logits::logits,
    model::Model,
};
use fixture::{assert_greedy, error, expected, fixtures, loaded, mixed, requests};

fn decoder(dir: &Path) -> Decoder<Cpu> {
    let options = CpuOptions {
        page_tokens: 8,
        ..CpuOptions::default()
    };
    loaded(dir, Model::read(dir).unwrap().on_cpu(options).unwrap())
}

#[test]
fn logits_of_a_mixed_batch_are_those_of_transformers_and_peft() {
    for dir in fixtures() {
        let answers = logits(&dir, &requests(&dir)).unwrap();
        let ours: Vec<f32> = answers.into_iter().flat_map(|answer| answer.logits).flatten().collect();
        let error = error(&ours, &expected(&dir, "logits"));
        assert!(error <= 1e-4, "{}: off by {error}", dir.display());
    }
}

#[test]
fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
    for dir in fixtures() {
        let error = error(&mixed(&dir, &mut decoder(&dir)), &expected(&dir, "mixed"));
        assert!(error <= 1e-4, "{}: off by {error}", dir.display());
    }
}

#[test]
fn sixty_four_greedy_tokens_are_those_of_transformers_and_peft() {
    for dir in fixtures() {
        assert_greedy(&dir, &mut decoder(&dir), 64);
    }
}

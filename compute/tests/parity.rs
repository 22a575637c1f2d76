//! Numbers beside transformers and PEFT: the fixtures were made by `fixtures/make.py`.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a test computes, and stops where it cannot"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use compute::{
    decoder::{Cpu, CpuOptions, Decoder},
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    logits::{Request, logits},
    lora::Adapter,
    model::Model,
};
use safetensors::SafeTensors;

/// Directories of fixtures: those beside this crate, and more where the environment says so.
fn fixtures() -> Vec<PathBuf> {
    let mut roots = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")];
    roots.extend(std::env::var_os("OPENLEDGER_FIXTURES").map(PathBuf::from));
    let mut dirs: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| fs::read_dir(root).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("greedy.json").exists())
        .collect();
    dirs.sort();
    assert!(dirs.len() >= 6);
    dirs
}

fn requests(dir: &Path) -> Vec<Request> {
    let mut requests: Vec<Request> = serde_json::from_slice(&fs::read(dir.join("requests.json")).unwrap()).unwrap();
    for request in &mut requests {
        request.adapter = request.adapter.as_ref().map(|name| dir.join(name));
    }
    requests
}

fn expected(dir: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(dir.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    data.as_chunks()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

fn error(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
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

/// A model with the eight adapters in their slots.
fn loaded(dir: &Path) -> Decoder<Cpu> {
    let options = CpuOptions {
        page_tokens: 8,
        ..CpuOptions::default()
    };
    let mut decoder = Model::read(dir).unwrap().on_cpu(options).unwrap();
    for index in 0..8 {
        let adapter = Adapter::load(&dir.join(format!("adapter{index}"))).unwrap();
        decoder.load(AdapterSlot(index), &Arc::new(adapter)).unwrap();
    }
    decoder
}

#[test]
fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
    for dir in fixtures() {
        let mut decoder = loaded(&dir);
        let tokens = requests(&dir)[0].tokens.clone();
        let adapters = [(0, 0.75), (3, -0.5)].map(|(slot, weight)| Mix {
            slot: AdapterSlot(slot),
            weight,
        });
        let span = Span {
            tokens: &tokens,
            start: 0,
            pages: &[PageId(5), PageId(3)],
            adapters: &adapters,
            wanted: Wanted::All,
            verified: false,
        };
        let mut ours = Vec::new();
        decoder.step(&[span], &mut ours).unwrap();
        let error = error(&ours, &expected(&dir, "mixed"));
        assert!(error <= 1e-4, "{}: off by {error}", dir.display());
    }
}

#[test]
fn sixty_four_greedy_tokens_are_those_of_transformers_and_peft() {
    for dir in fixtures() {
        let theirs: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(dir.join("greedy.json")).unwrap()).unwrap();
        if theirs.iter().all(Vec::is_empty) {
            continue;
        }
        let (mut decoder, requests) = (loaded(&dir), requests(&dir));
        let vocabulary = decoder.shape().vocabulary;
        let mut texts: Vec<Vec<u32>> = requests.iter().map(|request| request.tokens.clone()).collect();
        let mut done = vec![0; texts.len()];
        let pages: Vec<Vec<PageId>> = (0..9).map(|i| (i * 10..i * 10 + 10).map(PageId).collect()).collect();
        let mixes: Vec<Vec<Mix>> = (0..9)
            .map(|slot| {
                (slot < 8)
                    .then_some(Mix {
                        slot: AdapterSlot(slot),
                        weight: 1.0,
                    })
                    .into_iter()
                    .collect()
            })
            .collect();
        for _ in 0..theirs[0].len() {
            let spans: Vec<Span<'_>> = (0..9)
                .map(|i| Span {
                    tokens: &texts[i][done[i]..],
                    start: u32::try_from(done[i]).unwrap(),
                    pages: &pages[i],
                    adapters: &mixes[i],
                    wanted: Wanted::Last,
                    verified: false,
                })
                .collect();
            let mut logits = Vec::new();
            decoder.step(&spans, &mut logits).unwrap();
            for (i, row) in logits.chunks_exact(vocabulary).enumerate() {
                done[i] = texts[i].len();
                let best = (0..vocabulary).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
                texts[i].push(u32::try_from(best).unwrap());
            }
        }
        for (i, (text, theirs)) in texts.iter().zip(&theirs).enumerate() {
            assert_eq!(
                text[requests[i].tokens.len()..],
                theirs[..],
                "{} request {i}",
                dir.display()
            );
        }
    }
}

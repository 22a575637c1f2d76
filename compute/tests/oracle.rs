//! Logits compared with a decoder in doubles that shares no code with the crate, and the error of quantised bases.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a test computes, and stops where it cannot"
)]

#[path = "reference/factors.rs"]
mod factors;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use compute::{
    decoder::CpuOptions,
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    kernel::Quantise,
    logits::{Request, logits},
    lora::Adapter,
    model::Model,
};
use factors::factors;
use reference::Reference;

const MODELS: [&str; 6] = ["llama-1", "llama-2", "qwen2-3", "qwen2-4", "qwen3-5", "qwen3-6"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn tokens(name: &str) -> Vec<u32> {
    let requests: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture(name).join("requests.json")).unwrap()).unwrap();
    serde_json::from_value(requests[0]["tokens"].clone()).unwrap()
}

/// Largest and mean error of a model's logits, and their largest magnitude.
fn errors(name: &str, quantise: Quantise, adapter: Option<u32>) -> (f64, f64, f64) {
    let (dir, tokens) = (fixture(name), tokens(name));
    let adapter_dir = adapter.map(|index| dir.join(format!("adapter{index}")));
    let exact = Reference::read(&dir).logits(&tokens, &adapter_dir.as_deref().map(factors).unwrap_or_default());
    let options = CpuOptions {
        quantise,
        ..CpuOptions::default()
    };
    let mut decoder = Model::read(&dir).unwrap().on_cpu(options).unwrap();
    let mut mix = Vec::new();
    if let Some(dir) = adapter_dir {
        decoder
            .load(AdapterSlot(0), &Arc::new(Adapter::load(&dir).unwrap()))
            .unwrap();
        mix.push(Mix {
            slot: AdapterSlot(0),
            weight: 1.0,
        });
    }
    let span = Span {
        tokens: &tokens,
        start: 0,
        pages: &[PageId(0)],
        adapters: &mix,
        wanted: Wanted::All,
        verified: true,
    };
    let mut ours = Vec::new();
    decoder.step(&[span], &mut ours).unwrap();
    let exact: Vec<f64> = exact.into_iter().flatten().collect();
    assert_eq!(exact.len(), ours.len());
    let errors: Vec<f64> = ours
        .iter()
        .zip(&exact)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .collect();
    let most = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    (
        most(&mut errors.into_iter()),
        mean,
        most(&mut exact.into_iter().map(f64::abs)),
    )
}

#[test]
fn logits_are_those_of_the_reference_in_doubles() {
    for name in MODELS {
        for adapter in [None, Some(0), Some(2), Some(3), Some(6)] {
            let (most, _, largest) = errors(name, Quantise::No, adapter);
            assert!(
                most <= 1e-5 * largest.max(1.0),
                "{name} {adapter:?}: off by {most} at logits up to {largest}"
            );
        }
    }
}

#[test]
fn a_quantised_base_stays_near_its_original() {
    // Relative to the largest logit, in the mean over all positions. Random weights have no outliers, so this is the
    // error of rounding alone.
    for (quantise, bound) in [(Quantise::Int8, 0.01), (Quantise::Int4, 0.15)] {
        for name in MODELS {
            let (most, mean, largest) = errors(name, quantise, Some(0));
            eprintln!(
                "{name} {quantise:?}: mean {:.4}, most {:.4} of the largest logit",
                mean / largest,
                most / largest
            );
            assert!(
                mean <= bound * largest,
                "{name} {quantise:?}: off by {mean} in the mean at logits up to {largest}"
            );
        }
    }
}

/// Compares this crate and PyTorch's singles with doubles, for the models in `OPENLEDGER_MODELS`.
#[test]
fn more_models_are_as_close_to_doubles_as_transformers() {
    let Some(root) = std::env::var_os("OPENLEDGER_MODELS").map(PathBuf::from) else {
        eprintln!("no more models: OPENLEDGER_MODELS names none");
        return;
    };
    let mut dirs: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let (mut worst, mut means) = ([0.0f64; 3], [0.0f64; 3]);
    for dir in &dirs {
        let text = fs::read(dir.join("requests.json")).unwrap();
        let mut requests: Vec<Request> = serde_json::from_slice(&text).unwrap();
        let reference = Reference::read(dir);
        let mut exact = Vec::new();
        for request in &mut requests {
            request.adapter = request.adapter.as_ref().map(|name| dir.join(name));
            let adapter = request.adapter.as_deref().map(factors).unwrap_or_default();
            exact.extend(reference.logits(&request.tokens, &adapter).into_iter().flatten());
        }
        let answers = logits(dir, &requests).unwrap();
        let ours: Vec<f32> = answers.into_iter().flat_map(|answer| answer.logits).flatten().collect();
        let bytes = fs::read(dir.join("expected.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor("logits").unwrap().data().as_chunks().0;
        let theirs: Vec<f32> = data.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        assert_eq!((ours.len(), theirs.len()), (exact.len(), exact.len()));
        let apart = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
            let errors = (0..exact.len()).map(|i| (a(i) - b(i)).abs());
            let (most, sum) = errors.fold((0.0f64, 0.0), |(most, sum), error| (most.max(error), sum + error));
            [most, sum / exact.len() as f64]
        };
        let (ours, theirs) = (|i: usize| f64::from(ours[i]), |i: usize| f64::from(theirs[i]));
        let doubles = |i: usize| exact[i];
        let errors = [apart(&ours, &doubles), apart(&theirs, &doubles), apart(&ours, &theirs)];
        let largest = apart(&doubles, &|_| 0.0)[0];
        let name = dir.file_name().unwrap().display();
        let [[a, am], [b, bm], [c, cm]] = errors;
        eprintln!(
            "{name}: logits up to {largest:.0}; most and mean: ours {a:.1e} {am:.1e} from doubles, transformers {b:.1e} {bm:.1e}; apart {c:.1e} {cm:.1e}"
        );
        for i in 0..3 {
            worst[i] = worst[i].max(errors[i][0]);
            means[i] += errors[i][1] / dirs.len() as f64;
        }
    }
    let [a, b, c] = worst;
    let [am, bm, cm] = means;
    eprintln!(
        "worst of {}: ours {a:.1e}, transformers {b:.1e}, apart {c:.1e}; means: {am:.1e}, {bm:.1e}, {cm:.1e}",
        dirs.len()
    );
    // One position may be so badly conditioned that any rounding shows; the mean of all decides.
    assert!(
        am <= bm,
        "ours are {am} from doubles in the mean, those of transformers {bm}"
    );
}

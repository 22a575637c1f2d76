//! A decoder on kernels beside transformers and PEFT: the same fixtures as the processor's. The kernels' text runs on the
//! processor with `--features host`, and on a GPU with `--features cuda`; where there is no GPU, that half says so.

#![cfg(feature = "gpu")]
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "a test computes, tells what it met, and stops where it cannot"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use compute::{
    decoder::{Decoder, Gpu, GpuOptions},
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    logits::Request,
    lora::Adapter,
    model::Model,
};
use cube::{Element, Machine};
use safetensors::SafeTensors;

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut dirs: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("greedy.json").exists())
        .collect();
    dirs.sort();
    assert!(dirs.len() >= 6);
    dirs
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

/// Singles are kept as such, and no activation is rounded: what transformers computes.
fn exact() -> GpuOptions {
    GpuOptions {
        page_tokens: 8,
        pages: 100,
        slots: 16,
        adapter_bytes: 8 << 20,
        kept: Some(Element::F32),
        tensor_rows_min: usize::MAX,
    }
}

/// As it is served: keys, values and adapters of the weights' type, and tensor cores.
fn served() -> GpuOptions {
    GpuOptions {
        kept: None,
        tensor_rows_min: GpuOptions::default().tensor_rows_min,
        ..exact()
    }
}

fn loaded<M: Machine>(dir: &Path, machine: M, options: GpuOptions) -> Decoder<Gpu<M>> {
    let mut decoder = Model::read(dir).unwrap().on_gpu(machine, options).unwrap();
    for index in 0..8 {
        let adapter = Adapter::load(&dir.join(format!("adapter{index}"))).unwrap();
        decoder.load(AdapterSlot(index), &Arc::new(adapter)).unwrap();
    }
    decoder
}

struct Batch {
    texts: Vec<Vec<u32>>,
    mixes: Vec<Vec<Mix>>,
    pages: Vec<Vec<PageId>>,
}

impl Batch {
    /// The fixture's requests, each with the adapter that it names.
    fn of(dir: &Path) -> Self {
        let requests: Vec<Request> = serde_json::from_slice(&fs::read(dir.join("requests.json")).unwrap()).unwrap();
        let mix = |request: &Request| {
            let name = request
                .adapter
                .as_ref()?
                .to_str()
                .unwrap()
                .trim_start_matches("adapter")
                .parse()
                .unwrap();
            Some(Mix {
                slot: AdapterSlot(name),
                weight: 1.0,
            })
        };
        Self {
            mixes: requests
                .iter()
                .map(|request| mix(request).into_iter().collect())
                .collect(),
            pages: (0..9).map(|i| (i * 10..i * 10 + 10).map(PageId).collect()).collect(),
            texts: requests.into_iter().map(|request| request.tokens).collect(),
        }
    }

    fn spans<'a>(&'a self, done: &[usize], wanted: Wanted) -> Vec<Span<'a>> {
        let span = |i: usize| Span {
            tokens: &self.texts[i][done[i]..],
            start: u32::try_from(done[i]).unwrap(),
            pages: &self.pages[i],
            adapters: &self.mixes[i],
            wanted,
            verified: false,
        };
        (0..self.texts.len()).map(span).collect()
    }
}

fn error(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let errors = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    errors.fold(
        0.0,
        |most: f32, error| if error > most || error.is_nan() { error } else { most },
    )
}

/// What may be off, as a part of the largest logit, where keys, values, adapters or activations are rounded to the type of
/// a fixture's weights. Rounding grows through attention of random weights, and eight times as much with three bits less.
fn tolerance(dir: &Path) -> f32 {
    let config: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    match config["dtype"].as_str().unwrap() {
        "float32" => EXACT,
        "float16" => 0.015,
        _ => 0.12,
    }
}

/// The same where nothing is rounded but sums of singles, in another order.
const EXACT: f32 = 1e-5;

fn logits<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let batch = Batch::of(&dir);
        let tensor_rows_min = GpuOptions::default().tensor_rows_min;
        let kept = GpuOptions { kept: None, ..exact() };
        let cores = GpuOptions {
            tensor_rows_min,
            ..exact()
        };
        for (what, options, allowed) in [
            ("exact", exact(), EXACT),
            ("as it is kept", kept, tolerance(&dir)),
            ("on tensor cores", cores, tolerance(&dir)),
            ("as served", served(), tolerance(&dir)),
        ] {
            let mut decoder = loaded(&dir, machine(), options);
            let mut ours = Vec::new();
            decoder
                .step(&batch.spans(&vec![0; batch.texts.len()], Wanted::All), &mut ours)
                .unwrap();
            let theirs = expected(&dir, "logits");
            let largest = theirs.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
            let error = error(&ours, &theirs);
            println!(
                "{} {what}: off by {error:e} of {largest}",
                dir.file_name().unwrap().display()
            );
            let allowed = allowed * largest;
            assert!(
                error <= allowed,
                "{} {what}: off by {error}, allowed are {allowed}",
                dir.display()
            );
        }
    }
}

fn mixed<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let mut decoder = loaded(&dir, machine(), exact());
        let adapters = [(0, 0.75), (3, -0.5)].map(|(slot, weight)| Mix {
            slot: AdapterSlot(slot),
            weight,
        });
        let span = Span {
            tokens: &Batch::of(&dir).texts[0],
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

/// The first tokens that a whole batch goes on with, a token at a time; where transformers' are sixty-four, `tokens` of
/// them.
fn greedy<M: Machine>(machine: impl Fn() -> M, tokens: usize) {
    for dir in fixtures() {
        let theirs: Vec<Vec<u32>> = serde_json::from_slice(&fs::read(dir.join("greedy.json")).unwrap()).unwrap();
        if theirs.iter().all(Vec::is_empty) {
            continue;
        }
        let (mut decoder, mut batch) = (loaded(&dir, machine(), exact()), Batch::of(&dir));
        let asked: Vec<usize> = batch.texts.iter().map(Vec::len).collect();
        let vocabulary = decoder.shape().vocabulary;
        let mut done = vec![0; batch.texts.len()];
        for _ in 0..tokens.min(theirs[0].len()) {
            let mut logits = Vec::new();
            decoder.step(&batch.spans(&done, Wanted::Last), &mut logits).unwrap();
            for (i, row) in logits.chunks_exact(vocabulary).enumerate() {
                done[i] = batch.texts[i].len();
                let best = (0..vocabulary).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
                batch.texts[i].push(u32::try_from(best).unwrap());
            }
        }
        for (i, (text, theirs)) in batch.texts.iter().zip(&theirs).enumerate() {
            let ours = &text[asked[i]..];
            assert_eq!(ours, &theirs[..ours.len()], "{} request {i}", dir.display());
        }
    }
}

#[cfg(feature = "host")]
mod on_the_processor {
    use cube::host::Host;

    use super::*;

    fn machine() -> Host {
        Host::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host-kernels"))
    }

    #[test]
    fn logits_of_a_mixed_batch_are_those_of_transformers_and_peft() {
        logits(machine);
    }

    #[test]
    fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
        mixed(machine);
    }

    #[test]
    fn greedy_tokens_are_those_of_transformers_and_peft() {
        greedy(machine, 6);
    }

    #[test]
    fn a_warm_decoder_answers_as_one_that_is_not() {
        let dir = &fixtures()[0];
        let mut cold = loaded(dir, machine(), served());
        let mut warm = Model::read(dir).unwrap().on_gpu(machine(), served()).unwrap();
        warm.warm().unwrap();
        for index in 0..8 {
            let adapter = Adapter::load(&dir.join(format!("adapter{index}"))).unwrap();
            warm.load(AdapterSlot(index), &Arc::new(adapter)).unwrap();
        }
        let batch = Batch::of(dir);
        let spans = batch.spans(&vec![0; batch.texts.len()], Wanted::All);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        cold.step(&spans, &mut a).unwrap();
        warm.step(&spans, &mut b).unwrap();
        assert_eq!(a, b);
    }
}

#[cfg(feature = "cuda")]
mod on_a_gpu {
    use cube::cuda::{Cuda, devices};

    use super::*;

    /// Runs it if there is a GPU, and says so if there is none.
    fn with(check: impl Fn(&dyn Fn() -> Cuda)) {
        if devices() == 0 {
            println!("left out: there is no CUDA device here");
            return;
        }
        check(&|| Cuda::open(0).unwrap());
    }

    #[test]
    fn logits_of_a_mixed_batch_are_those_of_transformers_and_peft() {
        with(|machine| logits(machine));
    }

    #[test]
    fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
        with(|machine| mixed(machine));
    }

    #[test]
    fn sixty_four_greedy_tokens_are_those_of_transformers_and_peft() {
        with(|machine| greedy(machine, 64));
    }

    #[test]
    fn a_device_that_is_not_there_is_told() {
        let error = Cuda::open(4096).err().unwrap().to_string();
        assert!(error.contains("there is no CUDA device 4096"), "{error}");
    }
}

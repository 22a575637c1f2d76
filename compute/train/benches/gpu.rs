//! Decoding and training on a GPU: tokens per second of a model in the shape of Llama 3.1 8B with random weights, the
//! fraction of the memory bandwidth that this is, the cost of thousands of adapters, resident or copied from host
//! memory, and the speed of training an adapter.
//!
//! ```text
//! cargo bench -p train --features cuda --bench gpu [-- half-billion|smoke]
//! cargo bench -p train --features host --bench gpu
//! ```
//!
//! `OPENLEDGER_GPU_GBS` is the bandwidth to compare with, in gigabytes a second: 4,800 (H200) if not given. Without CUDA
//! compiled in, or without a GPU, it says so and succeeds. `smoke` does everything with a tiny model and a few adapters, and
//! with `--features host` it does so on the processor, where times say nothing.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and stops where it cannot"
)]

fn main() {
    let asked = |what: &str| std::env::args().any(|argument| argument == what);
    run(asked("half-billion"), asked("smoke"));
}

#[cfg(not(feature = "gpu"))]
fn run(_: bool, _: bool) {
    println!("gpu: left out: built without `--features cuda`");
}

#[cfg(all(feature = "host", not(feature = "cuda")))]
fn run(_: bool, _: bool) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/host-kernels");
    measured::all(&measured::Size::smoke(), "this processor", || {
        cube::emulator::Emulator::new(&folder)
    });
}

#[cfg(feature = "cuda")]
fn run(small: bool, smoke: bool) {
    if cube::cuda::devices() == 0 {
        println!("gpu: left out: there is no CUDA device here");
        return;
    }
    let size = match (smoke, small) {
        (true, _) => measured::Size::smoke(),
        (false, true) => measured::Size::half_billion(),
        (false, false) => measured::Size::eight_billion(),
    };
    let name = cube::cuda::Cuda::open(0).unwrap().name();
    measured::all(&size, &name, || cube::cuda::Cuda::open(0).unwrap());
}

#[cfg(feature = "gpu")]
mod measured {
    use std::{collections::BTreeMap, sync::Arc, time::Instant};

    use compute::{
        decoder::{Decoder, Gpu, GpuOptions},
        forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
        lora::{Adapter, Projection},
        model::{Config, Model},
        tensors::Dtype,
    };
    use cube::Machine;
    use train::{Corpus, Machine as Processor, Recipe, Trainer, Unthrottled};

    const PAGE_TOKENS: u32 = 16;
    const RANK: usize = 8;

    /// Sizes of the benchmark.
    pub(crate) struct Size {
        config: Config,
        /// Positions before the first measured step.
        context: u32,
        steps: u32,
        adapters: u32,
        /// Sequences at once, beside a single one.
        rows: u32,
        /// Tokens of a training record.
        record_tokens: u32,
    }

    impl Size {
        /// The shape of Llama 3.1 with eight billion weights.
        #[cfg(feature = "cuda")]
        pub(crate) fn eight_billion() -> Self {
            Self {
                config: Config {
                    vocabulary: 128_256,
                    hidden: 4096,
                    intermediate: 14_336,
                    layers: 32,
                    heads: 32,
                    kv_heads: 8,
                    head: 128,
                    rope_theta: 500_000.0,
                    tied: false,
                    ..Config::smol_135m()
                },
                ..Self::half_billion()
            }
        }

        #[cfg(feature = "cuda")]
        pub(crate) fn half_billion() -> Self {
            Self {
                config: Config::qwen_half_billion(),
                context: 256,
                steps: 64,
                adapters: 2000,
                rows: 64,
                record_tokens: 1024,
            }
        }

        pub(crate) fn smoke() -> Self {
            Self {
                config: Config {
                    vocabulary: 256,
                    hidden: 64,
                    intermediate: 128,
                    layers: 2,
                    heads: 4,
                    kv_heads: 2,
                    head: 16,
                    ..Config::smol_135m()
                },
                context: 20,
                steps: 3,
                adapters: 12,
                rows: 4,
                record_tokens: 24,
            }
        }

        /// Number of pages of a sequence.
        fn pages(&self) -> u32 {
            (self.context + 2 * self.steps).div_ceil(PAGE_TOKENS)
        }

        fn weight_bytes(&self) -> f64 {
            // A step reads one row of the embedding for each token.
            let numbers: usize = self
                .config
                .tensors()
                .iter()
                .filter(|(name, _)| self.config.tied || *name != "model.embed_tokens.weight")
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum();
            numbers as f64 * 2.0
        }
    }

    /// Adapters on queries and values that share their numbers and differ in scale.
    fn adapters(size: &Size) -> Vec<Arc<Adapter>> {
        let one = Adapter::random(&size.config, RANK, Dtype::BF16, 3);
        let of = |index: u32| {
            let sites = one
                .sites()
                .iter()
                .filter(|(site, _)| matches!(site.projection, Projection::Q | Projection::V));
            let sites = sites.map(|(site, low)| {
                let mut low = low.clone();
                low.scale = 1.0 + f32::from(u16::try_from(index).unwrap()) / 4096.0;
                (*site, low)
            });
            Arc::new(Adapter::new(sites.collect()))
        };
        (0..size.adapters).map(of).collect()
    }

    /// Returns the seconds of a step of `rows` rows, each with the adapter that `whose` returns.
    fn step<M: Machine>(
        decoder: &mut Decoder<Gpu<M>>,
        size: &Size,
        rows: u32,
        context: u32,
        whose: impl Fn(u32) -> Option<u32>,
    ) -> f64 {
        let each = size.pages();
        let pages: Vec<Vec<PageId>> = (0..rows)
            .map(|row| (row * each..(row + 1) * each).map(PageId).collect())
            .collect();
        let mixes: Vec<Vec<Mix>> = (0..rows)
            .map(|row| {
                let slot = whose(row).map(AdapterSlot);
                slot.map(|slot| Mix { slot, weight: 1.0 }).into_iter().collect()
            })
            .collect();
        let spans: Vec<Span<'_>> = pages
            .iter()
            .zip(&mixes)
            .map(|(pages, adapters)| Span {
                tokens: &[17],
                start: context,
                pages,
                adapters,
                wanted: Wanted::Last,
                verified: false,
            })
            .collect();
        let mut logits = Vec::new();
        let begun = Instant::now();
        decoder.step(&spans, &mut logits).unwrap();
        begun.elapsed().as_secs_f64()
    }

    /// Returns the median time of a step in seconds.
    fn decode<M: Machine>(
        decoder: &mut Decoder<Gpu<M>>,
        size: &Size,
        rows: u32,
        whose: impl Fn(u32, u32) -> Option<u32>,
    ) -> f64 {
        let mut times: Vec<f64> = (0..size.steps)
            .map(|at| step(decoder, size, rows, size.context + at, |row| whose(row, at)))
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn say(what: &str, rows: u32, seconds: f64, bytes: f64) {
        let bandwidth = std::env::var("OPENLEDGER_GPU_GBS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(4800.0);
        println!(
            "{what}: {rows} rows: {:.0} tokens/s, {:.2} ms a step, {:.0} % of what reading the weights allows at {bandwidth} GB/s",
            f64::from(rows) / seconds,
            seconds * 1e3,
            bytes / (bandwidth * 1e9) / seconds * 100.0
        );
    }

    pub(crate) fn all<M: Machine + 'static>(size: &Size, name: &str, open: impl Fn() -> M) {
        let begun = Instant::now();
        let model = Model::random(&size.config, Dtype::BF16, 1);
        println!("{name}: random weights after {:.0} s", begun.elapsed().as_secs_f64());
        serve(size, &model, &open);
        learn(size, &model, open());
    }

    fn serve<M: Machine>(size: &Size, model: &Model, open: &impl Fn() -> M) {
        let (adapters, weights) = (adapters(size), size.weight_bytes());
        let (count, bytes) = (size.adapters, adapters[0].bytes());
        println!("{count} adapters of rank {RANK} on queries and values, {bytes} bytes each");
        for (kind, held) in [
            ("resident", u64::from(count) + 1),
            // The adapters that one step uses have to fit the pool.
            ("paged, a tenth fits", u64::from((count / 10).max(size.rows + 1))),
        ] {
            let options = GpuOptions {
                pages: size.rows * size.pages(),
                slots: count,
                adapter_bytes: bytes * held,
                ..GpuOptions::default()
            };
            println!("adapters {kind}");
            let begun = Instant::now();
            let mut decoder = model.on_gpu(open(), options).unwrap();
            println!("  on the device after {:.1} s", begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            decoder.warm().unwrap();
            println!("  warm after {:.1} s more", begun.elapsed().as_secs_f64());
            for (slot, adapter) in (0..).zip(&adapters) {
                decoder.load(AdapterSlot(slot), adapter).unwrap();
            }
            for rows in [1, size.rows] {
                let seconds = decode(&mut decoder, size, rows, |_, _| None);
                say("  base", rows, seconds, weights);
                for distinct in [1, 16, 64].into_iter().filter(|distinct| *distinct <= rows) {
                    let seconds = decode(&mut decoder, size, rows, |row, _| Some(row % distinct));
                    let bytes = weights + f64::from(distinct) * bytes as f64;
                    say(&format!("  {distinct} adapters"), rows, seconds, bytes);
                }
            }
            // A completion has 32 tokens, so of 64 rows two get another adapter in each step.
            let whose = |row: u32, at: u32| Some((row * 31 + (at + row / 2) / 32 * 977) % count);
            let seconds = decode(&mut decoder, size, size.rows, whose);
            let bytes = weights + f64::from(size.rows) * bytes as f64;
            say(
                &format!("  any of {count} adapters, new ones at every step"),
                size.rows,
                seconds,
                bytes,
            );
        }
    }

    /// Trains four records per step on every linear layer.
    fn learn<M: Machine + 'static>(size: &Size, model: &Model, machine: M) {
        let recipe = Recipe {
            rank: RANK,
            batch: 4,
            epochs: 1,
            tokens_max: size.record_tokens as usize,
            ..Recipe::default()
        };
        let mut corpus = Corpus::default();
        for record in 0..4 * (size.steps / 8 + 2) {
            let token = |i: u32| (record * 131 + i * 37 + 5) % 256;
            let tokens: Vec<u32> = (0..size.record_tokens).map(token).collect();
            let counts = vec![true; tokens.len()];
            corpus.add(tokens, &counts, "one", &size.config, &recipe).unwrap();
        }
        let processor = Processor {
            pass_tokens: 4096,
            keep_bytes: 16 << 30,
            ..Processor::default()
        };
        let trainer = Trainer::new(model, corpus, &BTreeMap::new(), recipe, processor).unwrap();
        let mut trainer = trainer.on_gpu(model, machine).unwrap();
        println!("learning, as `{}`", trainer.class());
        // Kernels are compiled in the first step.
        trainer.step(&mut Unthrottled).unwrap();
        let (begun, mut tokens, mut hashing) = (Instant::now(), 0, 0.0);
        while trainer.step_number() < trainer.steps() {
            let stepped = trainer.step(&mut Unthrottled).unwrap();
            tokens += stepped.tokens;
            hashing += stepped.root_seconds;
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "  {:.0} tokens/s in records of {}, {:.1} % of the time for roots",
            tokens as f64 / seconds,
            size.record_tokens,
            hashing / seconds * 100.0
        );
    }
}

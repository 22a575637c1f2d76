//! Decoding on a GPU: tokens a second of a model in the shape of Llama 3.1 8B with random weights, what part of the
//! memory's bandwidth that is, and what thousands of adapters cost, resident or paged in from the host.
//!
//! ```text
//! cargo bench -p compute --features cuda --bench gpu [-- half-billion]
//! ```
//!
//! `OPENLEDGER_GPU_GBS` is the bandwidth to compare with, in gigabytes a second: 4,800 (H200) if not given. Without CUDA
//! compiled in, or without a GPU, it says so and succeeds.

#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and stops where it cannot"
)]

#[cfg(not(feature = "cuda"))]
fn main() {
    println!("gpu: left out: built without `--features cuda`");
}

#[cfg(feature = "cuda")]
fn main() {
    let found = cube::cuda::devices();
    if found == 0 {
        println!("gpu: left out: there is no CUDA device here");
        return;
    }
    let small = std::env::args().any(|argument| argument == "half-billion");
    measured::all(small);
}

#[cfg(feature = "cuda")]
mod measured {
    use std::{sync::Arc, time::Instant};

    use compute::{
        decoder::{Decoder, Gpu, GpuOptions},
        forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
        lora::{Adapter, Projection},
        model::{Config, Model},
        tensors::Dtype,
    };
    use cube::cuda::Cuda;

    const CONTEXT: u32 = 256;
    const STEPS: u32 = 64;
    const ADAPTERS: u32 = 2000;
    const RANK: usize = 8;

    /// The shape of Llama 3.1 with eight billion weights.
    fn eight_billion() -> Config {
        Config {
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
        }
    }

    fn weight_bytes(config: &Config) -> f64 {
        // A step reads one row of the embedding for each token.
        let numbers: usize = config
            .tensors()
            .iter()
            .filter(|(name, _)| config.tied || *name != "model.embed_tokens.weight")
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        numbers as f64 * 2.0
    }

    /// Adapters on queries and values, all of one's numbers and each of another scale.
    fn adapters(config: &Config) -> Vec<Arc<Adapter>> {
        let one = Adapter::random(config, RANK, Dtype::BF16, 3);
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
        (0..ADAPTERS).map(of).collect()
    }

    /// Seconds of a step of so many rows, each with the adapter that `whose` tells.
    fn step(decoder: &mut Decoder<Gpu<Cuda>>, rows: u32, context: u32, whose: impl Fn(u32) -> Option<u32>) -> f64 {
        let each = (CONTEXT + 2 * STEPS).div_ceil(16);
        let pages: Vec<Vec<PageId>> = (0..rows)
            .map(|row| (row * each..(row + 1) * each).map(PageId).collect())
            .collect();
        let mixes: Vec<Vec<Mix>> = (0..rows)
            .map(|row| {
                whose(row)
                    .map(|slot| Mix {
                        slot: AdapterSlot(slot),
                        weight: 1.0,
                    })
                    .into_iter()
                    .collect()
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

    /// The median step in seconds.
    fn decode(decoder: &mut Decoder<Gpu<Cuda>>, rows: u32, whose: impl Fn(u32, u32) -> Option<u32>) -> f64 {
        let mut times: Vec<f64> = (0..STEPS)
            .map(|at| step(decoder, rows, CONTEXT + at, |row| whose(row, at)))
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

    pub(crate) fn all(small: bool) {
        let config = if small {
            Config::qwen_half_billion()
        } else {
            eight_billion()
        };
        let begun = Instant::now();
        let model = Model::random(&config, Dtype::BF16, 1);
        println!("random weights after {:.0} s", begun.elapsed().as_secs_f64());
        let adapters = adapters(&config);
        let bytes = adapters[0].bytes();
        println!("{ADAPTERS} adapters of rank {RANK} on queries and values, {bytes} bytes each");
        for (kind, held) in [
            ("resident", u64::from(ADAPTERS) + 1),
            ("paged, a tenth fits", u64::from(ADAPTERS) / 10),
        ] {
            let options = GpuOptions {
                pages: 64 * (CONTEXT + 2 * STEPS).div_ceil(16),
                slots: ADAPTERS,
                adapter_bytes: bytes * held,
                ..GpuOptions::default()
            };
            let cuda = Cuda::open(0).unwrap();
            println!("{}: adapters {kind}", cuda.name());
            let begun = Instant::now();
            let mut decoder = model.on_gpu(cuda, options).unwrap();
            println!("  on the device after {:.1} s", begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            decoder.warm().unwrap();
            println!("  warm after {:.1} s more", begun.elapsed().as_secs_f64());
            for (slot, adapter) in (0..).zip(&adapters) {
                decoder.load(AdapterSlot(slot), adapter).unwrap();
            }
            let weights = weight_bytes(&config);
            for rows in [1, 64] {
                let seconds = decode(&mut decoder, rows, |_, _| None);
                say("  base", rows, seconds, weights);
                for distinct in [1, 16, 64].into_iter().filter(|distinct| *distinct <= rows) {
                    let seconds = decode(&mut decoder, rows, |row, _| Some(row % distinct));
                    say(
                        &format!("  {distinct} adapters"),
                        rows,
                        seconds,
                        weights + f64::from(distinct) * bytes as f64,
                    );
                }
            }
            // A row's answer is 32 tokens long: at every step two of 64 rows go on with an adapter of the 2,000.
            let whose = |row: u32, at: u32| Some((row * 31 + (at + row / 2) / 32 * 977) % ADAPTERS);
            let seconds = decode(&mut decoder, 64, whose);
            say(
                "  64 of 2,000 adapters, two new each step",
                64,
                seconds,
                weights + 64.0 * bytes as f64,
            );
        }
    }
}

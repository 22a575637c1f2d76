//! Each operation compared with the processor's on the same rows, with the kernels in the emulator. `--nocapture`
//! prints the differences.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test tells what it met, and stops where it cannot"
)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use cube::{
    Element,
    emulator::{Buffer, Emulator},
};

use super::*;
use crate::{
    decoder::{Cpu, CpuOptions, Norm, Ops, Step},
    forward::{Forward, Mix, PageId, Span, Wanted},
    lora::{Adapter, Projection},
    model::{Family, Model},
    tensors::Dtype,
};

/// An emulator that keeps compiled kernels between runs.
fn emulator() -> Emulator {
    Emulator::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host-kernels"))
}

/// Largest differences by operation.
static MET: Mutex<BTreeMap<(String, &'static str), f32>> = Mutex::new(BTreeMap::new());

/// A model of one block on both devices, with the same adapters and pages.
struct Pair {
    what: String,
    cpu: Cpu,
    gpu: Gpu<Emulator>,
    shape: Shape,
    tolerance: f32,
}

struct Case {
    dtype: Dtype,
    head: usize,
    heads: usize,
    kv_heads: usize,
    hidden: usize,
    family: Family,
    page_tokens: usize,
    options: GpuOptions,
}

const RANKS: [usize; 4] = [1, 8, 17, 64];

fn close(pair: &str, operation: &'static str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{pair} {operation}");
    let error = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    // NaN must not count as a small difference.
    let error = error.fold(
        0.0,
        |most: f32, error| if error > most || error.is_nan() { error } else { most },
    );
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let known = met.entry((pair.to_owned(), operation)).or_insert(0.0);
    *known = known.max(error);
    assert!(
        error <= tolerance,
        "{pair}: {operation} is off by {error}, allowed are {tolerance}"
    );
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

impl Pair {
    fn new(case: &Case) -> Self {
        let config = Config {
            family: case.family,
            vocabulary: 203,
            hidden: case.hidden,
            intermediate: 2 * case.hidden + 8,
            layers: 1,
            heads: case.heads,
            kv_heads: case.kv_heads,
            head: case.head,
            context_tokens_max: 1024,
            qkv_bias: case.family == Family::Qwen2,
            ..Config::smol_135m()
        };
        let model = Model::random(&config, case.dtype, 7);
        let (page_tokens, pages, slots) = (
            case.page_tokens,
            1024 / u32::try_from(case.page_tokens).unwrap() + 32,
            4,
        );
        let cpu = CpuOptions {
            page_tokens,
            pages,
            slots,
            threads: 2,
            ..CpuOptions::default()
        };
        let options = GpuOptions {
            page_tokens,
            pages,
            slots,
            ..case.options
        };
        let (mut cpu, mut gpu) = (model.on_cpu(cpu).unwrap(), model.on_gpu(emulator(), options).unwrap());
        for (slot, rank) in RANKS.into_iter().enumerate() {
            let adapter = Arc::new(Adapter::random(&config, rank, case.dtype, 11 + slot as u64));
            let slot = crate::forward::AdapterSlot(u32::try_from(slot).unwrap());
            cpu.load(slot, &adapter).unwrap();
            gpu.load(slot, &adapter).unwrap();
        }
        let rounded = options.kept.is_none() || options.tensor_rows_min < usize::MAX;
        Self {
            what: format!("{:?} weights, heads of {}", case.dtype, case.head),
            shape: cpu.shape,
            cpu: cpu.ops,
            gpu: gpu.ops,
            tolerance: match (case.dtype, rounded) {
                (Dtype::F32, _) | (_, false) => 5e-5,
                (Dtype::F16, true) => 4e-3,
                (Dtype::BF16, true) => 3e-2,
            },
        }
    }

    fn up(&mut self, rows: usize, x: &[f32]) -> Rows<Buffer> {
        let bytes: Vec<u8> = x.iter().flat_map(|number| number.to_le_bytes()).collect();
        Rows {
            buffer: self.gpu.machine.upload(&bytes),
            rows,
        }
    }

    fn down(&mut self, rows: &Rows<Buffer>, width: usize) -> Vec<f32> {
        singles(
            &self
                .gpu
                .machine
                .read(&rows.buffer, (rows.rows * width * 4) as u64)
                .unwrap(),
        )
    }

    fn check(&self, operation: &'static str, ours: &[f32], theirs: &[f32], tolerance: f32) {
        close(&self.what, operation, ours, theirs, tolerance);
    }

    /// Runs every operation of a step, each on the processor's result of the one before.
    fn step(&mut self, spans: &[Span<'_>]) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let step = Step::of(spans, &self.shape, |slot| self.cpu.loaded(slot)).unwrap();
        self.cpu.begin(&step).unwrap();
        self.gpu.begin(&step).unwrap();
        let (rows, config) = (step.tokens.len(), self.gpu.config.clone());
        let exact = 5e-5;
        let embedded = self.cpu.embed(&step);
        let ours = self.gpu.embed(&step);
        let ours = self.down(&ours, config.hidden);
        self.check("embed", &ours, &embedded, 0.0);

        let x = self.up(rows, &embedded);
        let normed = self.cpu.norm(Norm::Attention(0), &embedded);
        let ours = self.gpu.norm(Norm::Attention(0), &x);
        let ours = self.down(&ours, config.hidden);
        self.check("norm", &ours, &normed, exact);

        let y = self.up(rows, &normed);
        let qkv = self.cpu.linear(&step, 0, [Q, K, V], &normed);
        let ours = self.gpu.linear(&step, 0, [Q, K, V], &y);
        let side: Vec<f32> = (0..rows)
            .flat_map(|row| {
                qkv.iter()
                    .flat_map(move |part| part[row * part.len() / rows..][..part.len() / rows].to_vec())
            })
            .collect();
        let width = side.len() / rows;
        let ours = self.down(&ours[0], width);
        self.check("linear with adapters", &ours, &side, self.tolerance);

        let ours = [0; 3].map(|_| self.up(rows, &side));
        let attended = self.cpu.attend(&step, 0, qkv);
        let ours = self.gpu.attend(&step, 0, ours);
        let ours = self.down(&ours, config.heads * config.head);
        self.check("attention", &ours, &attended, self.tolerance);

        let (z, mut onto) = (self.up(rows, &attended), self.up(rows, &embedded));
        let mut theirs = embedded.clone();
        self.cpu.linear_onto(&step, 0, O, &attended, &mut theirs);
        self.gpu.linear_onto(&step, 0, O, &z, &mut onto);
        let ours = self.down(&onto, config.hidden);
        self.check("linear onto", &ours, &theirs, self.tolerance);

        let both = self.cpu.linear(&step, 0, [Gate, Up], &normed);
        let inner = config.intermediate;
        let side: Vec<f32> = (0..rows)
            .flat_map(|row| both.iter().flat_map(move |part| part[row * inner..][..inner].to_vec()))
            .collect();
        let ours = [0; 2].map(|_| self.up(rows, &side));
        let gated = self.cpu.swiglu(both);
        let ours = self.gpu.swiglu(ours);
        let ours = self.down(&ours, inner);
        self.check("gate", &ours, &gated, exact);

        let (z, mut onto) = (self.up(rows, &gated), self.up(rows, &embedded));
        let mut theirs = embedded.clone();
        self.cpu.linear_onto(&step, 0, Down, &gated, &mut theirs);
        self.gpu.linear_onto(&step, 0, Down, &z, &mut onto);
        let ours = self.down(&onto, config.hidden);
        self.check("linear onto", &ours, &theirs, self.tolerance);

        let wanted = self.cpu.wanted(&step, &embedded);
        let ours = self.gpu.wanted(&step, &x);
        let got = self.down(&ours, config.hidden);
        self.check("wanted", &got, &wanted, 0.0);
        let (mut theirs, mut mine) = (Vec::new(), Vec::new());
        self.cpu.logits(&wanted, &mut theirs).unwrap();
        self.gpu.logits(&ours, &mut mine).unwrap();
        self.check("logits", &mine, &theirs, self.tolerance);
    }

    /// Prompts of odd lengths, then one more token each; some rows with several adapters, some without.
    fn run(&mut self, lengths: &[usize]) {
        let text: Vec<u32> = (0..1024).map(|i| (i * 37 + 5) % 203).collect();
        let each = self
            .shape
            .context_tokens_max
            .div_ceil(self.shape.page_tokens)
            .min(lengths.iter().sum::<usize>() + 2);
        let mix = |slot: u32, weight| Mix {
            slot: crate::forward::AdapterSlot(slot),
            weight,
        };
        let mixes: [&[Mix]; 5] = [
            &[mix(0, 1.0)],
            &[],
            &[mix(1, 0.75), mix(2, -0.5)],
            &[mix(3, 1.0)],
            &[mix(2, 0.25), mix(3, 0.5), mix(0, 1.0)],
        ];
        let mut next = 0;
        // Pages in no particular order.
        let mut page = || {
            next += 7;
            PageId(next % self.shape.pages)
        };
        let pages: Vec<Vec<PageId>> = lengths
            .iter()
            .map(|length| {
                (0..(length + 2).div_ceil(self.shape.page_tokens).min(each))
                    .map(|_| page())
                    .collect()
            })
            .collect();
        let span = |i: usize, start: usize, end: usize| Span {
            tokens: &text[start..end],
            start: u32::try_from(start).unwrap(),
            pages: &pages[i],
            adapters: mixes[i % mixes.len()],
            wanted: if i.is_multiple_of(2) { Wanted::Last } else { Wanted::All },
            verified: false,
        };
        let spans: Vec<Span<'_>> = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| span(i, 0, *length))
            .collect();
        self.step(&spans);
        let spans: Vec<Span<'_>> = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| span(i, *length, *length + 1))
            .collect();
        self.step(&spans);
    }
}

fn case(dtype: Dtype, head: usize) -> Case {
    Case {
        dtype,
        head,
        heads: 4,
        kv_heads: 2,
        hidden: 80,
        family: Family::Llama,
        page_tokens: 16,
        options: GpuOptions {
            adapter_bytes: 4 << 20,
            ..GpuOptions::default()
        },
    }
}

fn say() {
    for ((what, operation), error) in MET.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{what}: {operation}: {error:e}");
    }
}

/// Usual widths of heads, batches of 1, 3 and 16 rows, and prompts that fill pages partly.
fn widths(dtype: Dtype) {
    for head in [16, 64, 128] {
        let mut pair = Pair::new(&case(dtype, head));
        pair.run(&[5]);
        pair.run(&[1, 21, 2]);
        if head == 64 {
            pair.run(&[1; 16]);
        }
    }
    say();
}

#[test]
fn singles_match_the_processor() {
    widths(Dtype::F32);
}

#[test]
fn halves_match_the_processor_up_to_rounding() {
    widths(Dtype::F16);
}

#[test]
fn bfloat16_matches_the_processor_up_to_rounding() {
    widths(Dtype::BF16);
}

#[test]
fn sixteen_bit_weights_match_the_processor_without_rounding() {
    let options = GpuOptions {
        kept: Some(Element::F32),
        tensor_rows_min: usize::MAX,
        ..case(Dtype::BF16, 64).options
    };
    Pair::new(&Case {
        options,
        ..case(Dtype::BF16, 64)
    })
    .run(&[3, 11, 1]);
    Pair::new(&Case {
        options,
        ..case(Dtype::F16, 64)
    })
    .run(&[3, 11, 1]);
    say();
}

#[test]
fn widths_that_are_no_multiple_of_a_load_match_the_processor() {
    for (family, hidden, head, heads, kv_heads) in [
        (Family::Qwen3, 36, 12, 3, 1),
        (Family::Qwen2, 44, 20, 6, 2),
        (Family::Qwen3, 48, 8, 2, 2),
    ] {
        let case = Case {
            family,
            hidden,
            head,
            heads,
            kv_heads,
            page_tokens: 5,
            ..case(Dtype::F32, head)
        };
        Pair::new(&case).run(&[3, 13, 1]);
    }
    say();
}

#[test]
fn long_texts_attend_in_parts() {
    let mut pair = Pair::new(&Case {
        kv_heads: 1,
        ..case(Dtype::F32, 16)
    });
    pair.run(&[600, 3]);
    say();
}

#[test]
fn many_columns_are_summed_in_parts() {
    let mut pair = Pair::new(&Case {
        hidden: 1096,
        ..case(Dtype::F16, 16)
    });
    pair.run(&[1, 20]);
    say();
}

#[test]
fn a_copied_page_holds_what_it_was_copied_from() {
    let mut pair = Pair::new(&case(Dtype::BF16, 16));
    pair.run(&[13]);
    pair.cpu.copy_page(7, 40, 13).unwrap();
    pair.gpu.copy_page(7, 40, 13).unwrap();
    let span = Span {
        tokens: &[9],
        start: 13,
        pages: &[PageId(40)],
        adapters: &[],
        wanted: Wanted::Last,
        verified: false,
    };
    pair.step(&[span]);
}

#[test]
fn adapters_are_evicted_from_a_pool_that_holds_two() {
    let mut pair = {
        let mut case = case(Dtype::F32, 16);
        // The largest adapter takes a little less than this, the others far less.
        case.options.adapter_bytes = 400 << 10;
        Pair::new(&case)
    };
    let pool = pair.gpu.adapters.bytes_resident();
    assert_eq!(pool, 0);
    for slot in [3, 0, 2, 3, 1, 3] {
        let mix = [Mix {
            slot: crate::forward::AdapterSlot(slot),
            weight: 1.0,
        }];
        let span = Span {
            tokens: &[1, 2, 3],
            start: 0,
            pages: &[PageId(0)],
            adapters: &mix,
            wanted: Wanted::Last,
            verified: false,
        };
        pair.step(&[span]);
        assert!(pair.gpu.adapters.bytes_resident() <= 400 << 10);
    }
}

#[test]
fn an_adapter_that_the_pool_cannot_hold_is_refused_by_its_size() {
    let mut pair = {
        let mut case = case(Dtype::F32, 16);
        case.options.adapter_bytes = 4 << 20;
        Pair::new(&case)
    };
    pair.gpu.adapters = Adapters::new(&mut pair.gpu.machine, &pair.gpu.config, Element::F32, 4, 1 << 10);
    let adapter = Arc::new(Adapter::random(&pair.gpu.config, 8, Dtype::F32, 1));
    let error = pair.gpu.load(0, &adapter).unwrap_err().to_string();
    assert!(error.contains("has 1024 for adapters"), "{error}");
}

#[test]
fn verified_work_is_refused() {
    let model = Model::random(
        &Config {
            layers: 1,
            vocabulary: 64,
            hidden: 64,
            intermediate: 64,
            heads: 1,
            kv_heads: 1,
            ..Config::smol_135m()
        },
        Dtype::F32,
        1,
    );
    let mut decoder = model
        .on_gpu(
            emulator(),
            GpuOptions {
                pages: 1,
                slots: 1,
                ..GpuOptions::default()
            },
        )
        .unwrap();
    let span = Span {
        tokens: &[1],
        start: 0,
        pages: &[PageId(0)],
        adapters: &[],
        wanted: Wanted::Last,
        verified: true,
    };
    let error = decoder.step(&[span], &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("no verified work"), "{error}");
}

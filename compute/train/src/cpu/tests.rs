use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use compute::{
    decoder::CpuOptions,
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    kernel::backward::cross_entropy,
    lora::Adapter,
    random::{Random, Stream},
};

use super::*;
use crate::parameters::Parameters;

#[path = "../../../tests/reference/mod.rs"]
mod reference;

use reference::{Matrix, Reference};

const FIXTURES: [&str; 6] = ["llama-1", "llama-2", "qwen2-3", "qwen2-4", "qwen3-5", "qwen3-6"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

fn options() -> NetworkOptions {
    NetworkOptions {
        threads: 2,
        level: Level::detect(),
        keep_bytes: usize::MAX,
    }
}

/// Tokens, and positions with the weight of the token after each.
type Sequence = (Vec<u32>, Vec<(usize, f32)>);

/// Three sequences with some tokens that count.
fn sequences(vocabulary: usize) -> Vec<Sequence> {
    let random = Random::new(9, Stream::Split);
    let lengths = [9, 2, 14];
    (0..)
        .zip(lengths)
        .map(|(index, length)| {
            let token = |i: usize| u32::try_from(random.bits((100 * index + i) as u64) % vocabulary as u64).unwrap();
            let weight = |i: usize| 0.1 + 0.05 * (i % 3) as f32;
            let targets = (0..length - 1).filter(|i| i % 4 != 1 || length < 3);
            (
                (0..length).map(token).collect(),
                targets.map(|i| (i, weight(i))).collect(),
            )
        })
        .collect()
}

fn pack(sequences: &[Sequence]) -> Pack {
    let mut pack = Pack::default();
    for (tokens, targets) in sequences {
        pack.push(tokens, tokens, targets.iter().copied());
    }
    pack
}

/// A network on a frozen base with the adapter that acts on every layer.
fn adapted(name: &str, options: NetworkOptions) -> (Network, Parameters) {
    let model = Model::read(&fixture(name)).unwrap();
    let adapter = Adapter::load(&fixture(name).join("adapter0")).unwrap();
    let parameters = Parameters::of_adapter(model.config(), &adapter).unwrap();
    let mut net = Network::frozen(&model, Quantise::No, parameters.gradient_slots(), options).unwrap();
    let (weights, lora) = parameters.bound();
    net.bind(weights, lora);
    (net, parameters)
}

fn gradients(net: &mut Network, parameters: &Parameters, packs: &[Pack]) -> (Vec<Vec<f32>>, Vec<f64>) {
    let mut gradients = parameters.gradients();
    let losses = packs
        .iter()
        .flat_map(|pack| net.losses_and_gradients(pack, &mut gradients))
        .collect();
    parameters.join(&mut gradients);
    (gradients, losses)
}

/// The weighted loss in doubles.
fn loss(reference: &Reference, adapter: &reference::Adapter, sequences: &[Sequence]) -> f64 {
    let mut sum = 0.0;
    for (tokens, targets) in sequences {
        let logits = reference.logits(tokens, adapter);
        for (position, weight) in targets {
            let row = &logits[*position];
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            sum += f64::from(*weight) * (total.ln() - row[tokens[position + 1] as usize]);
        }
    }
    sum
}

/// Compares some elements of a gradient with slopes of the loss in doubles.
fn compare(what: &str, gradient: &[f32], mut slope: impl FnMut(usize) -> f64) {
    let most = gradient.iter().fold(0f32, |a, b| a.max(b.abs()));
    let largest = gradient.iter().position(|x| x.abs() == most).unwrap();
    for index in [largest, gradient.len() / 3, gradient.len() - 1] {
        let (ours, exact) = (f64::from(gradient[index]), slope(index));
        let off = (ours - exact).abs();
        assert!(
            off <= 2e-5 * f64::from(most) + 1e-8,
            "{what}[{index}]: {ours} where the slope is {exact}"
        );
    }
}

/// Returns the slope of `f` at a number, which is restored.
fn slope(at: &mut f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let before = *at;
    let step = 1e-5 * before.abs().max(1.0);
    (f(before + step) - f(before - step)) / (2.0 * step)
}

fn doubles(numbers: &[f32], columns: usize) -> Matrix {
    Matrix {
        columns,
        numbers: numbers.iter().map(|x| f64::from(*x)).collect(),
    }
}

fn transposed(matrix: Matrix) -> Matrix {
    let rows = matrix.numbers.len() / matrix.columns;
    let at = |i: usize| matrix.numbers[i % rows * matrix.columns + i / rows];
    Matrix {
        columns: rows,
        numbers: (0..matrix.numbers.len()).map(at).collect(),
    }
}

#[test]
fn gradients_of_adapters_are_the_slopes_of_the_loss_in_every_family() {
    for name in FIXTURES {
        let (mut net, parameters) = adapted(name, options());
        let sequences = sequences(net.config.vocabulary);
        let (gradients, _) = gradients(&mut net, &parameters, &[pack(&sequences)]);
        let reference = Reference::read(&fixture(name));
        let scale = parameters.to_adapter().unwrap().sites().values().next().unwrap().scale;
        let mut adapter = reference::Adapter::new();
        for pair in parameters.tensors().chunks(2) {
            let path = pair[0].name.strip_suffix(".lora_A").unwrap().to_owned();
            let (a, b) = (
                doubles(pair[0].values(), pair[0].columns),
                doubles(pair[1].values(), pair[1].columns),
            );
            adapter.insert(path, (f64::from(scale), a, transposed(b)));
        }
        for (index, tensor) in parameters.tensors().iter().enumerate() {
            let (path, factor) = tensor.name.rsplit_once('.').unwrap();
            compare(&format!("{name} {}", tensor.name), &gradients[index], |i| {
                let set = |adapter: &mut reference::Adapter, x: f64| {
                    let (_, a, b) = adapter.get_mut(path).unwrap();
                    let at = match factor {
                        "lora_A" => &mut a.numbers[i],
                        // The parameter is B transposed.
                        _ => &mut b.numbers[i % tensor.columns * b.columns + i / tensor.columns],
                    };
                    std::mem::replace(at, x)
                };
                let mut before = set(&mut adapter, 0.0);
                let found = slope(&mut before, |x| {
                    set(&mut adapter, x);
                    loss(&reference, &adapter, &sequences)
                });
                set(&mut adapter, before);
                found
            });
        }
    }
}

#[test]
fn gradients_of_whole_models_are_the_slopes_of_the_loss_in_every_family() {
    for name in FIXTURES {
        let model = Model::read(&fixture(name)).unwrap();
        let parameters = Parameters::model(&model).unwrap();
        let mut net = Network::bare(model.config(), parameters.gradient_slots(), options());
        let (weights, lora) = parameters.bound();
        net.bind(weights, lora);
        let sequences = sequences(net.config.vocabulary);
        let (gradients, _) = gradients(&mut net, &parameters, &[pack(&sequences)]);
        let mut reference = Reference::read(&fixture(name));
        let none = BTreeMap::new();
        for (index, tensor) in parameters.tensors().iter().enumerate() {
            compare(&format!("{name} {}", tensor.name), &gradients[index], |i| {
                let mut before = reference.tensors[&tensor.name].numbers[i];
                let found = slope(&mut before, |x| {
                    reference.tensors.get_mut(&tensor.name).unwrap().numbers[i] = x;
                    loss(&reference, &none, &sequences)
                });
                reference.tensors.get_mut(&tensor.name).unwrap().numbers[i] = before;
                found
            });
        }
    }
}

#[test]
fn neither_threads_nor_instructions_nor_memory_nor_passes_change_a_bit() {
    for name in ["llama-2", "qwen3-5"] {
        let sequences = sequences(130);
        let one = [pack(&sequences)];
        let three: Vec<Pack> = sequences
            .iter()
            .map(|sequence| pack(std::slice::from_ref(sequence)))
            .collect();
        let mut first: Option<(Vec<Vec<f32>>, Vec<f64>)> = None;
        let mut check = |options: NetworkOptions, packs: &[Pack]| {
            let (mut net, parameters) = adapted(name, options);
            let found = gradients(&mut net, &parameters, packs);
            let bits = |(gradients, losses): &(Vec<Vec<f32>>, Vec<f64>)| -> Vec<u64> {
                let gradients = gradients.iter().flatten().map(|x| u64::from(x.to_bits()));
                gradients.chain(losses.iter().map(|x| x.to_bits())).collect()
            };
            let expected = first.get_or_insert_with(|| found.clone());
            assert_eq!(
                bits(&found),
                bits(expected),
                "{name} with {options:?} in {} passes",
                packs.len()
            );
        };
        for level in Level::available() {
            for threads in [1, 2, 4] {
                for keep_bytes in [0, 40_000, usize::MAX] {
                    let options = NetworkOptions {
                        threads,
                        level,
                        keep_bytes,
                    };
                    check(options, &one);
                    check(options, &three);
                }
            }
        }
    }
}

#[test]
fn losses_have_the_bits_of_serving() {
    for name in FIXTURES {
        let (mut net, parameters) = adapted(name, options());
        let sequences = sequences(net.config.vocabulary);
        let losses = net.losses(&pack(&sequences));
        let mut decoder = Model::read(&fixture(name))
            .unwrap()
            .on_cpu(CpuOptions::default())
            .unwrap();
        decoder
            .load(AdapterSlot(0), &parameters.to_adapter().unwrap().into())
            .unwrap();
        let mut expected = Vec::new();
        for (tokens, targets) in &sequences {
            let mut logits = Vec::new();
            let span = Span {
                tokens,
                start: 0,
                pages: &[PageId(0)],
                adapters: &[Mix {
                    slot: AdapterSlot(0),
                    weight: 1.0,
                }],
                wanted: Wanted::All,
                verified: true,
            };
            decoder.step(&[span], &mut logits).unwrap();
            let rows = logits.chunks_exact_mut(net.config.vocabulary);
            let by_position: BTreeMap<usize, &mut [f32]> = rows.enumerate().collect();
            for (position, row) in by_position {
                if targets.iter().any(|(at, _)| *at == position) {
                    expected.push(cross_entropy(Level::Portable, row, tokens[position + 1] as usize, 1.0));
                }
            }
        }
        let bits = |losses: &[f64]| -> Vec<u64> { losses.iter().map(|x| x.to_bits()).collect() };
        assert_eq!(bits(&losses), bits(&expected), "{name}");
    }
}

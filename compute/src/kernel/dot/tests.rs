use super::*;
use crate::{
    kernel::{Level, Quantise},
    tensors::Matrix,
};

/// Reproducible pseudo-random numbers between -1 and 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

fn weight(rows: usize, columns: usize, dtype: Dtype, how: Quantise) -> Weight {
    let bytes: Vec<u8> = numbers(rows * columns, 7)
        .into_iter()
        .flat_map(|x| match dtype {
            Dtype::F32 => x.to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
            Dtype::BF16 => half::bf16::from_f32(x).to_le_bytes().to_vec(),
        })
        .collect();
    Weight::stored(&Matrix::new(rows, columns, dtype, bytes.into())).quantised(how)
}

fn multiply(level: Level, x: &[f32], weight: &Weight) -> Vec<f32> {
    let rows = Rows::of(x, weight.columns);
    let mut y = vec![0.0; rows.count * weight.rows];
    let output = Output {
        to: y.as_mut_ptr(),
        stride: weight.rows,
        store: Store::Set,
        bias: None,
    };
    // SAFETY: `y` is this test's and has a number for every pair of rows.
    unsafe { product(level, rows, weight, 0, weight.rows, output, &mut Prefetch::nothing()) };
    y
}

const FORMS: [(Dtype, Quantise); 5] = [
    (Dtype::F32, Quantise::No),
    (Dtype::F16, Quantise::No),
    (Dtype::BF16, Quantise::No),
    (Dtype::F32, Quantise::Int8),
    (Dtype::F32, Quantise::Int4),
];

#[test]
fn products_are_right_in_every_form_and_shape() {
    for (dtype, how) in FORMS {
        for (m, n, k) in [(1, 9, 16), (3, 13, 37), (4, 8, 64), (11, 5, 100), (21, 17, 576)] {
            let (weight, x) = (weight(n, k, dtype, how), numbers(m * k, 3));
            let y = multiply(Level::detect(), &x, &weight);
            for row in 0..n {
                let mut w = Vec::new();
                weight.row(row, &mut w);
                for i in 0..m {
                    let exact: f64 = (0..k).map(|c| f64::from(w[c]) * f64::from(x[i * k + c])).sum();
                    let error = (f64::from(y[i * n + row]) - exact).abs();
                    assert!(
                        error < 2e-5,
                        "{dtype:?} {how:?} {m}×{n}×{k} at {i},{row}: off by {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_bits_of_an_output_depend_on_its_two_rows_alone() {
    for (dtype, how) in FORMS {
        let (m, n, k) = (23, 21, 197);
        let (weight, x) = (weight(n, k, dtype, how), numbers(m * k, 5));
        let expected = multiply(Level::Portable, &x, &weight);
        for level in Level::available() {
            for batch in [1, 2, 3, 5, 8, 9, 23] {
                let y: Vec<f32> = x
                    .chunks(batch * k)
                    .flat_map(|rows| multiply(level, rows, &weight))
                    .collect();
                let same = y.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{dtype:?} {how:?} {level:?} in batches of {batch}");
            }
        }
    }
}

#[test]
fn quantised_rows_stay_within_half_a_step() {
    let exact = weight(4, 96, Dtype::F32, Quantise::No);
    for (how, step) in [(Quantise::Int8, 1.0 / 127.0), (Quantise::Int4, 1.0 / 8.0)] {
        let rough = exact.clone().quantised(how);
        for row in 0..4 {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            exact.row(row, &mut a);
            rough.row(row, &mut b);
            let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Four bits clip the far end by a whole step.
            assert!(error <= step, "{how:?}: off by {error}");
        }
    }
}

use super::*;
use crate::{kernel::Quantise, tensors::Matrix};

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 8_388_608.0) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn weight(rows: usize, columns: usize, dtype: Dtype, values: &[f32]) -> Weight {
    let bytes: Vec<u8> = match dtype {
        Dtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F16 => values
            .iter()
            .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
            .collect(),
        Dtype::BF16 => values
            .iter()
            .flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())
            .collect(),
    };
    Weight::stored(&Matrix::new(rows, columns, dtype, bytes.into()))
}

/// The chain that the module promises, in plain code.
fn chain(left: Left<'_>, right: &[f32], inner: usize, rows: usize, to: &mut [f32]) {
    let columns = to.len() / rows;
    for m in 0..rows {
        for n in 0..columns {
            for k in 0..inner {
                let a = left.from[m * left.row + k * left.column];
                to[m * columns + n] = a.mul_add(right[k * columns + n], to[m * columns + n]);
            }
        }
    }
}

#[test]
fn every_output_is_one_chain_at_every_size_level_and_number_of_threads() {
    for (rows, inner, columns) in [(1, 1, 1), (7, 130, 83), (13, 5, 64), (130, 257, 100), (6, 300, 47)] {
        let (a, b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
        let before = numbers(rows * columns, 3);
        for left in [Left::rows(&a, inner), Left::transposed(&a, rows)] {
            let mut expected = before.clone();
            chain(left, &b, inner, rows, &mut expected);
            for level in Level::available() {
                for threads in [1, 3] {
                    let mut to = before.clone();
                    let right = Right::Singles(&b, columns);
                    multiply(
                        &mut ThreadPool::new(threads),
                        level,
                        left,
                        right,
                        inner,
                        rows,
                        &mut to,
                        Store::Add,
                    );
                    let same = to.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{rows} {inner} {columns} at {level:?}");
                }
            }
        }
    }
}

#[test]
fn a_matrix_in_any_form_gives_the_product_of_its_singles() {
    let (rows, inner, columns) = (15, 140, 75);
    let (a, b) = (numbers(rows * inner, 4), numbers(inner * columns, 5));
    let forms = [
        weight(inner, columns, Dtype::F32, &b),
        weight(inner, columns, Dtype::F16, &b),
        weight(inner, columns, Dtype::BF16, &b),
        weight(inner, columns, Dtype::F32, &b).quantised(Quantise::Int8),
        weight(inner, columns, Dtype::F32, &b).quantised(Quantise::Int4),
    ];
    for form in &forms {
        let mut singles = Vec::new();
        (0..inner).for_each(|row| form.row(row, &mut singles));
        let mut expected = vec![0.0; rows * columns];
        let left = Left::rows(&a, inner);
        chain(left, &singles, inner, rows, &mut expected);
        for level in Level::available() {
            let mut to = vec![f32::NAN; rows * columns];
            multiply(
                &mut ThreadPool::new(2),
                level,
                left,
                Right::Weight(form),
                inner,
                rows,
                &mut to,
                Store::Set,
            );
            assert_eq!(to, expected, "{level:?}");
        }
    }
}

#[test]
fn a_chain_cut_in_two_has_the_bits_of_the_whole() {
    let (rows, inner, columns) = (9, 300, 70);
    let (a, b) = (numbers(rows * inner, 6), numbers(inner * columns, 7));
    let (mut whole, mut cut) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
    let (mut pool, level) = (ThreadPool::new(2), Level::detect());
    let left = |from| Left::transposed(&a[from * rows..], rows);
    let right = |from| Right::Singles(&b[from * columns..], columns);
    multiply(&mut pool, level, left(0), right(0), inner, rows, &mut whole, Store::Set);
    multiply(&mut pool, level, left(0), right(0), 101, rows, &mut cut, Store::Set);
    multiply(
        &mut pool,
        level,
        left(101),
        right(101),
        inner - 101,
        rows,
        &mut cut,
        Store::Add,
    );
    assert!(whole.iter().zip(&cut).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn ones_sum_the_rows() {
    let b = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0];
    let mut sums = [0.0; 2];
    let (mut pool, level) = (ThreadPool::new(1), Level::detect());
    multiply(
        &mut pool,
        level,
        Left::ones(),
        Right::Singles(&b, 2),
        3,
        1,
        &mut sums,
        Store::Set,
    );
    assert_eq!(sums, [111.0, 222.0]);
}

//! Numbers as they are stored, and what they mean.

use std::sync::Arc;

use half::{bf16, f16};

use super::Bytes;

/// How a number is written in memory and in files, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of a single.
    BF16,
}

impl Dtype {
    /// The type that a tensor file calls so.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::BF16),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Reads numbers into singles, which hold all of the three types exactly.
    pub fn read(self, bytes: &[u8], into: &mut Vec<f32>) {
        match self {
            Self::F32 => into.extend(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk))),
            Self::F16 => into.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|chunk| f16::from_le_bytes(*chunk).to_f32()),
            ),
            Self::BF16 => into.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|chunk| bf16::from_le_bytes(*chunk).to_f32()),
            ),
        }
    }

    /// Whether no number is infinite or not a number: all exponent bits set.
    pub fn all_finite(self, bytes: &[u8]) -> bool {
        fn halves(bytes: &[u8], exponent: u16) -> bool {
            let set = |chunk: &[u8; 2]| u16::from_le_bytes(*chunk) & exponent == exponent;
            // Whole blocks without a branch, so that the check runs at the speed of memory.
            let blocks = bytes.as_chunks::<2>().0.chunks(512);
            blocks
                .map(|block| block.iter().fold(false, |any, chunk| any | set(chunk)))
                .all(|any| !any)
        }
        match self {
            Self::F32 => {
                let set = |chunk: &[u8; 4]| u32::from_le_bytes(*chunk) & 0x7f80_0000 == 0x7f80_0000;
                let blocks = bytes.as_chunks::<4>().0.chunks(512);
                blocks
                    .map(|block| block.iter().fold(false, |any, chunk| any | set(chunk)))
                    .all(|any| !any)
            }
            Self::F16 => halves(bytes, 0x7c00),
            Self::BF16 => halves(bytes, 0x7f80),
        }
    }
}

/// A matrix in row-major order.
#[derive(Clone)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The type of its numbers.
    pub dtype: Dtype,
    bytes: Bytes,
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Self) -> bool {
        let shape = |matrix: &Self| (matrix.rows, matrix.columns, matrix.dtype);
        shape(self) == shape(other) && self.bytes() == other.bytes()
    }
}

impl Eq for Matrix {}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({}×{} {:?})", self.rows, self.columns, self.dtype)
    }
}

impl Matrix {
    /// Wraps numbers as stored.
    ///
    /// # Panics
    ///
    /// If the bytes are not exactly `rows × columns` numbers.
    pub fn new(rows: usize, columns: usize, dtype: Dtype, bytes: Arc<[u8]>) -> Self {
        Self::held(rows, columns, dtype, Arc::new(bytes))
    }

    /// Numbers as stored, in memory that the holder keeps.
    ///
    /// # Panics
    ///
    /// If the bytes are not exactly `rows × columns` numbers.
    pub fn held(rows: usize, columns: usize, dtype: Dtype, holder: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self::part(rows, columns, dtype, Bytes::all(holder))
    }

    /// Numbers as stored, in a part of something larger.
    pub(crate) fn part(rows: usize, columns: usize, dtype: Dtype, bytes: Bytes) -> Self {
        assert_eq!(
            Some(bytes.get().len()),
            rows.checked_mul(columns).and_then(|n| n.checked_mul(dtype.bytes()))
        );
        Self {
            rows,
            columns,
            dtype,
            bytes,
        }
    }

    /// A matrix of singles.
    pub fn of_f32(rows: usize, columns: usize, numbers: &[f32]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::new(rows, columns, Dtype::F32, bytes.into())
    }

    /// Its numbers as stored, shared.
    pub(crate) fn share(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Its numbers as stored.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// Its numbers.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.rows * self.columns);
        self.dtype.read(self.bytes(), &mut numbers);
        numbers
    }

    /// Rows as columns.
    pub fn transposed(&self) -> Self {
        let mut bytes = vec![0; self.bytes().len()];
        transpose(self.dtype, self.rows, self.columns, self.bytes(), &mut bytes);
        Self::new(self.columns, self.rows, self.dtype, bytes.into())
    }
}

/// Writes the columns of a matrix as rows.
pub(crate) fn transpose(dtype: Dtype, rows: usize, columns: usize, from: &[u8], to: &mut [u8]) {
    match dtype {
        Dtype::F32 => turn::<4>(rows, columns, from, to),
        Dtype::F16 | Dtype::BF16 => turn::<2>(rows, columns, from, to),
    }
}

fn turn<const BYTES: usize>(rows: usize, columns: usize, from: &[u8], to: &mut [u8]) {
    let (from, to) = (from.as_chunks::<BYTES>().0, to.as_chunks_mut::<BYTES>().0);
    // Square blocks, so that neither side walks out of the cache, through registers.
    const SIDE: usize = 8;
    if rows < SIDE || columns < SIDE {
        for row in 0..rows {
            for column in 0..columns {
                to[column * rows + row] = from[row * columns + column];
            }
        }
        return;
    }
    // The last of each direction reaches back over the one before it: ranks are of any size.
    let starts = |length: usize| (0..length).step_by(SIDE).map(move |start| start.min(length - SIDE));
    for row0 in starts(rows) {
        for column0 in starts(columns) {
            let block: [[[u8; BYTES]; SIDE]; SIDE] = std::array::from_fn(|i| {
                let at = (row0 + i) * columns + column0;
                from[at..at + SIDE].try_into().expect("eight columns")
            });
            for i in 0..SIDE {
                let at = (column0 + i) * rows + row0;
                let turned = block.map(|row| row[i]);
                to[at..at + SIDE].copy_from_slice(&turned);
            }
        }
    }
}

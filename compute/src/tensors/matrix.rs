//! Number types and matrices as they are stored in files.

use std::sync::Arc;

use half::{bf16, f16};

use super::Bytes;

/// The type of stored numbers, little-endian in memory and in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
}

impl Dtype {
    /// Returns the type with this safetensors name; `None` if it is not supported.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::BF16),
            _ => None,
        }
    }

    /// Returns the number of bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Appends the numbers to `into` as singles, which hold all three types exactly.
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

    /// True if no number is infinite or NaN, that is, has all exponent bits set.
    pub fn all_finite(self, bytes: &[u8]) -> bool {
        fn halves(bytes: &[u8], exponent: u16) -> bool {
            let set = |chunk: &[u8; 2]| u16::from_le_bytes(*chunk) & exponent == exponent;
            // Blocks without a branch inside, so that the check runs at the speed of memory.
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

/// A matrix as stored, in row-major order. Clones share the bytes.
///
/// ```
/// use compute::tensors::Matrix;
///
/// let matrix = Matrix::of_f32(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// assert_eq!(matrix.transposed().to_f32(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// ```
#[derive(Clone)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
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
    /// Makes a matrix of bytes as stored.
    ///
    /// # Panics
    ///
    /// If the bytes are not exactly `rows × columns` numbers.
    pub fn new(rows: usize, columns: usize, dtype: Dtype, bytes: Arc<[u8]>) -> Self {
        Self::held(rows, columns, dtype, Arc::new(bytes))
    }

    /// Makes a matrix of the owner's bytes, without a copy.
    ///
    /// # Panics
    ///
    /// If the bytes are not exactly `rows × columns` numbers.
    pub fn held(rows: usize, columns: usize, dtype: Dtype, holder: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self::part(rows, columns, dtype, Bytes::all(holder))
    }

    /// Makes a matrix of a range of bytes.
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

    /// Makes a matrix of singles.
    pub fn of_f32(rows: usize, columns: usize, numbers: &[f32]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::new(rows, columns, Dtype::F32, bytes.into())
    }

    /// Returns the bytes, sharing them.
    pub(crate) fn share(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Returns the bytes as stored.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// Returns the numbers as singles.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.rows * self.columns);
        self.dtype.read(self.bytes(), &mut numbers);
        numbers
    }

    /// Returns a transposed copy.
    pub fn transposed(&self) -> Self {
        let mut bytes = vec![0; self.bytes().len()];
        transpose(self.dtype, self.rows, self.columns, self.bytes(), &mut bytes);
        Self::new(self.columns, self.rows, self.dtype, bytes.into())
    }
}

/// Writes the transpose of a matrix to `to`.
pub(crate) fn transpose(dtype: Dtype, rows: usize, columns: usize, from: &[u8], to: &mut [u8]) {
    match dtype {
        Dtype::F32 => transpose_blocks::<4>(rows, columns, from, to),
        Dtype::F16 | Dtype::BF16 => transpose_blocks::<2>(rows, columns, from, to),
    }
}

fn transpose_blocks<const BYTES: usize>(rows: usize, columns: usize, from: &[u8], to: &mut [u8]) {
    let (from, to) = (from.as_chunks::<BYTES>().0, to.as_chunks_mut::<BYTES>().0);
    // Square blocks through registers, so that neither side leaves the cache.
    const SIDE: usize = 8;
    if rows < SIDE || columns < SIDE {
        for row in 0..rows {
            for column in 0..columns {
                to[column * rows + row] = from[row * columns + column];
            }
        }
        return;
    }
    // The last block of each direction overlaps the one before it: ranks need not be multiples of the block.
    let starts = |length: usize| (0..length).step_by(SIDE).map(move |start| start.min(length - SIDE));
    for row0 in starts(rows) {
        for column0 in starts(columns) {
            let block: [[[u8; BYTES]; SIDE]; SIDE] = std::array::from_fn(|i| {
                let at = (row0 + i) * columns + column0;
                from[at..at + SIDE].try_into().expect("eight columns")
            });
            for i in 0..SIDE {
                let at = (column0 + i) * rows + row0;
                let column = block.map(|row| row[i]);
                to[at..at + SIDE].copy_from_slice(&column);
            }
        }
    }
}

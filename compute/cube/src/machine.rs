//! A machine that keeps buffers and runs kernels: the seam under which lies a GPU, or what stands in for one in tests.
//!
//! Calls are queued in their order; only [`Machine::read`] waits, and it is where a failure of what was queued shows.

use crate::Kernel;

/// A value that a kernel takes beside its buffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A count or an offset.
    U32(u32),
    /// A single.
    F32(f32),
}

/// Why a machine gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MachineError(pub String);

/// Where kernels run.
pub trait Machine: Send {
    /// Memory of it, freed with its last clone.
    type Buffer: Clone + Send;

    /// What decides bits beside the kernels: machines of one class compute the same.
    fn class(&self) -> String;

    /// Memory with nothing in particular in it.
    fn empty(&mut self, bytes: u64) -> Self::Buffer;

    /// The same, to be kept for as long as the machine is used.
    fn reserve(&mut self, bytes: u64) -> Self::Buffer {
        self.empty(bytes)
    }

    /// Memory with these bytes.
    fn upload(&mut self, bytes: &[u8]) -> Self::Buffer;

    /// A part of memory, which keeps the whole.
    fn part(&mut self, buffer: &Self::Buffer, at: u64, bytes: u64) -> Self::Buffer;

    /// Writes bytes into memory that is there.
    fn write(&mut self, buffer: &Self::Buffer, at: u64, bytes: &[u8]);

    /// Reads the first bytes, after everything that was queued before.
    fn read(&mut self, buffer: &Self::Buffer, bytes: u64) -> Result<Vec<u8>, MachineError>;

    /// Runs a kernel on a grid of cubes.
    fn launch(&mut self, kernel: Kernel, cubes: [u32; 3], buffers: &[&Self::Buffer], scalars: &[Scalar]);
}

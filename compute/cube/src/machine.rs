//! The interface to a machine that keeps buffers and runs kernels: a GPU, or the emulator in tests.
//!
//! Calls are queued in their order. Only [`Machine::read`] waits, and it reports the failure of anything queued
//! before.

use crate::Kernel;

/// A parameter of a kernel beside its buffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A count or an offset.
    U32(u32),
    F32(f32),
}

/// Failure of a machine, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MachineError(pub String);

/// A device that keeps buffers and runs kernels. `compute` and `train` are generic over it.
pub trait Machine: Send {
    /// A buffer in its memory, freed with its last clone.
    type Buffer: Clone + Send;

    /// Returns the determinism class: with the same kernels, machines of one class compute the same bits.
    fn class(&self) -> String;

    /// Allocates memory with unspecified content.
    fn empty(&mut self, bytes: u64) -> Self::Buffer;

    /// Allocates memory that lives as long as the machine, such as pools.
    fn reserve(&mut self, bytes: u64) -> Self::Buffer {
        self.empty(bytes)
    }

    /// Allocates memory with these bytes.
    fn upload(&mut self, bytes: &[u8]) -> Self::Buffer;

    /// Returns a range of a buffer, which keeps the whole buffer alive.
    fn part(&mut self, buffer: &Self::Buffer, at: u64, bytes: u64) -> Self::Buffer;

    /// Overwrites a range of a buffer.
    fn write(&mut self, buffer: &Self::Buffer, at: u64, bytes: &[u8]);

    /// Reads the first bytes of a buffer, after everything that was queued before.
    fn read(&mut self, buffer: &Self::Buffer, bytes: u64) -> Result<Vec<u8>, MachineError>;

    /// Queues a kernel on a grid of cubes. `buffers` and `scalars` are its parameters in order.
    fn launch(&mut self, kernel: Kernel, cubes: [u32; 3], buffers: &[&Self::Buffer], scalars: &[Scalar]);
}

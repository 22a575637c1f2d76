//! Tables that are uploaded in one piece.

use cube::Machine;

/// Alignment of a table, in bytes.
const ALIGN: usize = 256;

/// Tables one after the other, before they are uploaded.
#[derive(Default)]
pub struct Pack(Vec<u8>);

/// Range of a table in its pack.
#[derive(Clone, Copy)]
pub struct Part(usize, usize);

impl Pack {
    /// Appends a table of 32-bit words.
    pub fn words(&mut self, words: impl IntoIterator<Item = u32>) -> Part {
        let at = self.0.len();
        self.0.extend(words.into_iter().flat_map(u32::to_le_bytes));
        // An empty buffer cannot be bound.
        let end = self.0.len().max(at + size_of::<u32>());
        self.0.resize(end.next_multiple_of(ALIGN), 0);
        Part(at, end - at)
    }

    /// Appends a table of singles.
    pub fn singles<'a>(&mut self, singles: impl IntoIterator<Item = &'a f32>) -> Part {
        self.words(singles.into_iter().map(|single| single.to_bits()))
    }

    /// Uploads all tables and returns a function that finds each in the machine's memory.
    pub fn send<M: Machine>(self, machine: &mut M) -> impl FnMut(Part) -> M::Buffer {
        let all = machine.upload(&self.0);
        move |Part(at, bytes)| machine.part(&all, at as u64, bytes as u64)
    }
}

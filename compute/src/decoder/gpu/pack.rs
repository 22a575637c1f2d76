//! Tables that go to a machine in one piece.

use cube::Machine;

/// Alignment of a table.
const ALIGN: usize = 256;

/// Tables one after the other.
#[derive(Default)]
pub struct Pack(Vec<u8>);

/// Where a table lies.
#[derive(Clone, Copy)]
pub struct Part(usize, usize);

impl Pack {
    /// Appends a table of words.
    pub fn words(&mut self, words: impl IntoIterator<Item = u32>) -> Part {
        let at = self.0.len();
        self.0.extend(words.into_iter().flat_map(u32::to_le_bytes));
        // Nothing is bound without a byte.
        let end = self.0.len().max(at + size_of::<u32>());
        self.0.resize(end.next_multiple_of(ALIGN), 0);
        Part(at, end - at)
    }

    /// Appends a table of singles.
    pub fn singles<'a>(&mut self, singles: impl IntoIterator<Item = &'a f32>) -> Part {
        self.words(singles.into_iter().map(|single| single.to_bits()))
    }

    /// Sends them all, and gives what finds each there.
    pub fn send<M: Machine>(self, machine: &mut M) -> impl FnMut(Part) -> M::Buffer {
        let all = machine.upload(&self.0);
        move |Part(at, bytes)| machine.part(&all, at as u64, bytes as u64)
    }
}

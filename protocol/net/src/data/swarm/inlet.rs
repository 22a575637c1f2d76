//! Verified items on their way into the store, in pieces that are longer than the groups they came in.

use std::{mem, num::NonZeroU64, ops::Range};

use bao_tree::io::{BaoContentItem, Leaf};
use bytes::BytesMut;
use iroh_blobs::{
    Hash,
    api::{Store, blobs::ImportBaoHandle},
};

use super::extent::GROUP;

/// Bytes that are handed to the store together: fewer and longer writes than one for each group.
const PIECE: usize = 256 << 10;
/// Pieces that are filled and written by turns. Fresh memory is paid for page by page.
const BUFFERS: usize = 4;
/// Items that wait to be written, at least; and as many as a task of 4 MiB has, at most.
const ITEMS_MIN: usize = 64;
const ITEMS_MAX: usize = 512;

/// The way into the store for one transfer. Errors are what the store said.
pub(super) struct Inlet {
    handle: ImportBaoHandle,
    parents: Vec<BaoContentItem>,
    offset: u64,
    data: BytesMut,
    /// Where earlier pieces were, to be used again once they are written.
    used: Vec<BytesMut>,
}

impl Inlet {
    /// For about `bytes`, which fit into its queue: the store writes when it likes, and nobody wakes anybody for a group.
    pub(super) async fn open(store: &Store, hash: Hash, size: NonZeroU64, bytes: u64) -> Result<Self, String> {
        let room = usize::try_from(bytes / GROUP).unwrap_or(usize::MAX).min(ITEMS_MAX) + ITEMS_MIN;
        let handle = store.import_bao(hash, size, room).await;
        Ok(Self {
            handle: handle.map_err(|error| error.to_string())?,
            parents: Vec::new(),
            offset: 0,
            data: BytesMut::new(),
            used: Vec::new(),
        })
    }

    /// Takes an item. Where that made a piece full, the piece, which the store has been given.
    pub(super) async fn put(&mut self, item: BaoContentItem) -> Result<Option<Range<u64>>, String> {
        let leaf = match item {
            BaoContentItem::Parent(_) => {
                self.parents.push(item);
                return Ok(None);
            }
            BaoContentItem::Leaf(leaf) => leaf,
        };
        let mut given = None;
        if self.offset + self.data.len() as u64 != leaf.offset {
            given = self.flush().await?;
            self.offset = leaf.offset;
        }
        if self.data.capacity() < PIECE {
            self.data = self.buffer();
        }
        self.data.extend_from_slice(&leaf.data);
        if self.data.len() >= PIECE {
            given = self.flush().await?;
        }
        Ok(given)
    }

    /// An empty buffer for a piece: one whose piece is written, or a new one.
    fn buffer(&mut self) -> BytesMut {
        let written = self.used.iter_mut().position(|buffer| buffer.try_reclaim(PIECE));
        written.map_or_else(|| BytesMut::with_capacity(PIECE), |at| self.used.swap_remove(at))
    }

    async fn flush(&mut self) -> Result<Option<Range<u64>>, String> {
        for parent in mem::take(&mut self.parents) {
            self.send(parent).await?;
        }
        if self.data.is_empty() {
            return Ok(None);
        }
        let mut buffer = mem::take(&mut self.data);
        let data = buffer.split().freeze();
        if self.used.len() < BUFFERS {
            self.used.push(buffer);
        }
        let (offset, end) = (self.offset, self.offset + data.len() as u64);
        self.send(BaoContentItem::Leaf(Leaf { offset, data })).await?;
        self.offset = end;
        Ok(Some(offset..end))
    }

    async fn send(&mut self, item: BaoContentItem) -> Result<(), String> {
        let sent = self.handle.tx.send(item).await;
        sent.map_err(|_| "it stopped taking bytes; is the disk full?".to_owned())
    }

    /// Gives the rest and waits until the store has all.
    pub(super) async fn close(mut self) -> Result<Option<Range<u64>>, String> {
        let given = self.flush().await?;
        let ImportBaoHandle { tx, rx } = self.handle;
        drop(tx);
        match rx.await {
            Ok(Ok(())) => Ok(given),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

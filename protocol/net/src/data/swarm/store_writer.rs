//! Writes verified items to the store, in pieces longer than the groups they arrive in.

use std::{mem, num::NonZeroU64, ops::Range};

use bao_tree::io::{BaoContentItem, Leaf};
use bytes::BytesMut;
use iroh_blobs::{
    Hash,
    api::{Store, blobs::ImportBaoHandle},
};

use super::ranges::GROUP;

/// Size of a piece: fewer and longer writes than one per group.
const PIECE: usize = 256 << 10;
/// Number of reused buffers. Fresh memory costs a page fault per page.
const BUFFERS: usize = 4;
/// Bounds on the store's queue: at least 64 items, at most as many as a task of 4 MiB has.
const ITEMS_MIN: usize = 64;
const ITEMS_MAX: usize = 512;

/// A writer into the store for one transfer. Errors are the store's.
pub(super) struct StoreWriter {
    handle: ImportBaoHandle,
    parents: Vec<BaoContentItem>,
    offset: u64,
    data: BytesMut,
    /// Buffers of earlier pieces, reused once they are written.
    used: Vec<BytesMut>,
}

impl StoreWriter {
    /// Opens a writer for about `bytes` bytes, which fit into its queue, so that nobody waits for single groups.
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

    /// Adds an item. Returns the range of a piece if the store was given one.
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

    /// Returns an empty buffer: one whose piece was written, or a new one.
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

    /// Flushes the rest and waits until the store has everything.
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

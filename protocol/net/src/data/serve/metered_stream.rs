//! A send stream with a rate limit and a byte counter.

use std::{io, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use iroh::endpoint::{SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;

use crate::data::endpoint::Plane;

/// Size of a write, unless a rate limit makes that take long.
const BATCH: usize = 256 << 10;
/// Smallest size of a write: one group.
const BATCH_MIN: usize = 16 << 10;

/// A send stream whose bytes are limited and counted.
pub(super) struct MeteredStream {
    inner: SendStream,
    plane: Arc<Plane>,
}

impl MeteredStream {
    pub(super) fn new(inner: SendStream, plane: Arc<Plane>) -> Self {
        Self { inner, plane }
    }

    /// Returns a permit to read far ahead of what is sent, if one is free.
    pub(super) fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.plane.ahead()
    }

    /// Returns the size of a write: small under a rate limit, so that the receiver keeps hearing from us.
    pub(super) fn batch(&self) -> usize {
        let per_s = self.plane.upload.per_s().map_or(u64::MAX, NonZeroU64::get);
        usize::try_from(per_s / 20).map_or(BATCH, |bytes| bytes.clamp(BATCH_MIN, BATCH))
    }

    async fn pay(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.plane.upload.take(bytes).await;
        self.plane.counters.bytes_served.add(bytes);
    }

    /// Sends several pieces in one write.
    pub(super) async fn send_pieces(&mut self, pieces: &mut [Bytes]) -> io::Result<()> {
        self.pay(pieces.iter().map(Bytes::len).sum()).await;
        Ok(self.inner.write_all_chunks(pieces).await?)
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) {
        // A peer that has closed the stream needs no notice.
        let _ = self.inner.finish();
    }
}

impl iroh_blobs::util::SendStream for MeteredStream {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.pay(bytes.len()).await;
        Ok(self.inner.write_chunk(bytes).await?)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pay(bytes.len()).await;
        Ok(self.inner.write_all(bytes).await?)
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        Ok(self.inner.reset(code)?)
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        Ok(self.inner.stopped().await?)
    }

    fn id(&self) -> u64 {
        self.inner.id().index()
    }
}

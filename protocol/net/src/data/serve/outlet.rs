//! The way out: a stream whose bytes are metered and counted.

use std::{io, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use iroh::endpoint::{SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;

use crate::data::endpoint::Plane;

/// What is given to the connection at once, unless a limit makes that take long.
const PARCEL: usize = 256 << 10;
/// And at least so much: a group.
const PARCEL_MIN: usize = 16 << 10;

/// A stream that is metered and counted.
pub(super) struct Outlet {
    inner: SendStream,
    plane: Arc<Plane>,
}

impl Outlet {
    pub(super) fn new(inner: SendStream, plane: Arc<Plane>) -> Self {
        Self { inner, plane }
    }

    /// Leave to read far ahead of what is sent.
    pub(super) fn ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.plane.ahead()
    }

    /// How many bytes are best sent at once: so few under a limit that the other side hears from us all the time.
    pub(super) fn parcel(&self) -> usize {
        let per_s = self.plane.upload.per_s().map_or(u64::MAX, NonZeroU64::get);
        usize::try_from(per_s / 20).map_or(PARCEL, |bytes| bytes.clamp(PARCEL_MIN, PARCEL))
    }

    async fn pay(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.plane.upload.take(bytes).await;
        self.plane.counters.bytes_served.add(bytes);
    }

    /// Sends pieces in one go.
    pub(super) async fn send_pieces(&mut self, pieces: &mut [Bytes]) -> io::Result<()> {
        self.pay(pieces.iter().map(Bytes::len).sum()).await;
        Ok(self.inner.write_all_chunks(pieces).await?)
    }

    /// Says that this is all.
    pub(super) fn finish(mut self) {
        // Who has hung up does not need to hear it.
        let _ = self.inner.finish();
    }
}

impl iroh_blobs::util::SendStream for Outlet {
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

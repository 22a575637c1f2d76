//! Sends ranges of one blob: the same bytes as the blob protocol, in larger writes.
//!
//! Two queues lie between the store and the connection, and passing each group of 16 KiB through them costs more than
//! reading, hashing and encrypting it. So the store may read ahead by the length of one task of a swarm, and the connection
//! gets many groups per write. The store verifies everything before it is sent.

use std::{io, pin::pin, time::Duration};

use bao_tree::{ChunkNum, io::EncodeError};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _};
use iroh_blobs::{
    Hash,
    api::{
        Store,
        blobs::{EncodedItem, ExportBaoOptions},
    },
    protocol::ChunkRanges,
};

use super::metered_stream::MeteredStream;

/// Read-ahead in items: 4 MiB in groups of 16 KiB, and their hashes.
const READ_AHEAD: usize = 600;
/// Read-ahead without a permit.
const READ_AHEAD_MIN: usize = 32;

/// Pause after the store's ready items are used up. Waking up for each group costs both sides more than the group.
const PAUSE: Duration = Duration::from_millis(1);
/// Size from which pauses are worthwhile.
const LONG: u64 = 1 << 20;

/// Encoded bytes to be sent in one write.
#[derive(Default)]
struct Batch {
    pieces: Vec<Bytes>,
    /// Hashes since the last data.
    hashes: BytesMut,
    len: usize,
}

/// Sends `ranges` of a blob as far as the store has them. The end of the stream marks where that is.
pub(super) async fn send(store: &Store, hash: Hash, ranges: ChunkRanges, mut out: MeteredStream) -> io::Result<()> {
    let is_long = chunks(&ranges) >= LONG / 1024;
    let options = ExportBaoOptions { hash, ranges };
    let leave = out.ahead();
    let room = if leave.is_some() { READ_AHEAD } else { READ_AHEAD_MIN };
    let mut items = pin!(store.export_bao_with_opts(options, room).stream());
    let (mut batch, mut is_first) = (Batch::default(), true);
    loop {
        let item = match items.next().now_or_never() {
            Some(item) => item,
            None if is_long && !is_first => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            None => items.next().await,
        };
        let Some(item) = item else { break };
        match item {
            EncodedItem::Size(bytes) => batch.put(&bytes.to_le_bytes()),
            EncodedItem::Parent(parent) => {
                batch.put(parent.pair.0.as_bytes());
                batch.put(parent.pair.1.as_bytes());
            }
            EncodedItem::Leaf(leaf) => {
                batch.put_data(leaf.data);
                // The first group is sent at once, to keep the latency low.
                if is_first || batch.len >= out.batch() {
                    batch.send(&mut out).await?;
                }
                is_first = false;
            }
            EncodedItem::Error(EncodeError::Io(error)) if !is_absence(&error) => {
                tracing::warn!(%error, blob = %hash.fmt_short(), "could not read what was asked for");
                break;
            }
            EncodedItem::Done | EncodedItem::Error(_) => break,
        }
    }
    batch.send(&mut out).await?;
    out.finish();
    Ok(())
}

/// Returns the number of requested chunks; saturates for open ranges.
fn chunks(ranges: &ChunkRanges) -> u64 {
    let count = |pair: &[ChunkNum]| pair.get(1).map_or(u64::MAX, |end| end.0 - pair[0].0);
    ranges.boundaries().chunks(2).map(count).fold(0, u64::saturating_add)
}

/// Returns true if the blob or a part of it is absent, which is not an error of the store.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

impl Batch {
    fn put(&mut self, bytes: &[u8]) {
        self.hashes.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_data(&mut self, data: Bytes) {
        self.seal();
        self.len += data.len();
        self.pieces.push(data);
    }

    fn seal(&mut self) {
        if !self.hashes.is_empty() {
            self.pieces.push(self.hashes.split().freeze());
        }
    }

    async fn send(&mut self, out: &mut MeteredStream) -> io::Result<()> {
        self.seal();
        self.len = 0;
        if !self.pieces.is_empty() {
            out.send_pieces(&mut self.pieces).await?;
            self.pieces.clear();
        }
        Ok(())
    }
}

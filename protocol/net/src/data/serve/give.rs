//! Gives out ranges of one blob: what the blob protocol says item by item, said in parcels.
//!
//! Between the store and the connection lie two queues, and to pass each group of 16 KiB through them by itself costs
//! more than to read, hash and seal it. So the store may run ahead by as much as one task of a swarm is long, and the
//! connection is given many groups at once. What is sent stays the same, and the store verifies all of it before.

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

use super::outlet::Outlet;

/// Items the store may be ahead: 4 MiB in groups of 16 KiB, and the hashes over them.
const AHEAD: usize = 600;
/// And while many others are ahead.
const BESIDE: usize = 32;

/// How long the store is left alone when it has given all that it had ready. To be woken for each group costs both sides
/// more than the group.
const PAUSE: Duration = Duration::from_millis(1);
/// A shorter response is not worth a pause.
const LONG: u64 = 1 << 20;

/// Encoded bytes on their way out.
#[derive(Default)]
struct Parcel {
    pieces: Vec<Bytes>,
    /// Hashes since the last data.
    hashes: BytesMut,
    len: usize,
}

/// Sends `ranges` of a blob, as far as the store has them. The end of the stream says where that is.
pub(super) async fn blob(store: &Store, hash: Hash, ranges: ChunkRanges, mut outlet: Outlet) -> io::Result<()> {
    let is_long = chunks(&ranges) >= LONG / 1024;
    let options = ExportBaoOptions { hash, ranges };
    let leave = outlet.ahead();
    let room = if leave.is_some() { AHEAD } else { BESIDE };
    let mut items = pin!(store.export_bao_with_opts(options, room).stream());
    let (mut parcel, mut is_first) = (Parcel::default(), true);
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
            EncodedItem::Size(bytes) => parcel.put(&bytes.to_le_bytes()),
            EncodedItem::Parent(parent) => {
                parcel.put(parent.pair.0.as_bytes());
                parcel.put(parent.pair.1.as_bytes());
            }
            EncodedItem::Leaf(leaf) => {
                parcel.put_data(leaf.data);
                // The first group goes out at once: somebody waits for it.
                if is_first || parcel.len >= outlet.parcel() {
                    parcel.send(&mut outlet).await?;
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
    parcel.send(&mut outlet).await?;
    outlet.finish();
    Ok(())
}

/// How many chunks are asked for, if there are so many.
fn chunks(ranges: &ChunkRanges) -> u64 {
    let count = |pair: &[ChunkNum]| pair.get(1).map_or(u64::MAX, |end| end.0 - pair[0].0);
    ranges.boundaries().chunks(2).map(count).fold(0, u64::saturating_add)
}

/// Whether a blob, or a part of it, is not here, which is nobody's fault.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

impl Parcel {
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

    async fn send(&mut self, outlet: &mut Outlet) -> io::Result<()> {
        self.seal();
        self.len = 0;
        if !self.pieces.is_empty() {
            outlet.send_pieces(&mut self.pieces).await?;
            self.pieces.clear();
        }
        Ok(())
    }
}

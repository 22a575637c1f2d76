//! Transfers one range from one provider into the store, verified on the way.

use std::{io, num::NonZeroU64, ops::Range, pin::pin, time::Duration};

use bao_tree::{ChunkNum, ChunkRanges, io::BaoContentItem};
use futures::StreamExt as _;
use iroh::endpoint::ReadError;
use iroh_blobs::{
    Hash,
    api::{Store, blobs::Bitfield},
    get::fsm::{self, AtBlobHeader, BlobContentNext, ConnectedNext, DecodeError, RequestCounters},
    protocol::{ChunkRangesExt as _, ERR_LIMIT, ERR_PERMISSION, GetRequest, ObserveRequest},
};
use protocol::{BlobHash, NodeId};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Blame, buffered_recv::BufferedRecv, plan::Ended, ranges::GROUP, store_writer::StoreWriter};
use crate::data::{RateLimit, connections::Lease};

/// Time for a provider to reply to an availability query.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// The rest of a response.
type AtBlobContent = fsm::AtBlobContent<BufferedRecv>;

/// One provider of one blob, with its connection.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) node: NodeId,
    pub(super) blob: BlobHash,
    pub(super) lease: Lease,
    pub(super) store: Store,
    /// The limit for all providers together, and this provider's own.
    pub(super) limits: [RateLimit; 2],
}

/// A verified piece of a task.
pub(super) struct Verified {
    pub(super) node: NodeId,
    pub(super) task: u64,
    pub(super) piece: Range<u64>,
}

/// A proven size, and the bytes that came with the proof.
pub(super) struct Proven {
    pub(super) size: u64,
    pub(super) bytes: u64,
}

/// The result of a transfer.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(Ended),
    Lied(Blame),
    /// The store failed.
    Store(String),
}

impl Source {
    fn hash(&self) -> Hash {
        Hash::from_bytes(self.blob.0)
    }

    /// Fetches the last group, which proves the size, and optionally the first. Nothing reaches the store before the
    /// proof.
    pub(super) async fn probe(&self, first: bool) -> Result<Proven, Outcome> {
        let start = match first {
            true => ChunkRanges::from(..ChunkNum(GROUP / 1024)),
            false => ChunkRanges::empty(),
        };
        let ranges = start | ChunkRanges::last_chunk();
        let (mut content, size) = self.ask(ranges).await?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            match content.next().await {
                BlobContentNext::More((next, Ok(item))) => {
                    if let BaoContentItem::Leaf(leaf) = &item {
                        bytes += leaf.data.len() as u64;
                    }
                    items.push(item);
                    content = next;
                }
                BlobContentNext::More((_, Err(error))) => return Err(self.classify(error, size, 0)),
                BlobContentNext::Done(_) => break,
            }
        }
        let Some(nonzero) = NonZeroU64::new(size) else {
            return match self.hash() == Hash::EMPTY {
                true => Ok(Proven { size, bytes }),
                false => Err(Outcome::Lied(self.blame(0, 0, "no bytes have another hash"))),
            };
        };
        let mut writer = StoreWriter::open(&self.store, self.hash(), nonzero, 2 * GROUP)
            .await
            .map_err(Outcome::Store)?;
        for item in items {
            writer.put(item).await.map_err(Outcome::Store)?;
        }
        writer.close().await.map_err(Outcome::Store)?;
        Ok(Proven { size, bytes })
    }

    /// Returns the ranges that the provider says it has; `None` without a reply.
    pub(super) async fn query_ranges(&self) -> Option<Bitfield> {
        let request = ObserveRequest::new(self.hash());
        let said = self.store.remote().observe(self.lease.connection.clone(), request);
        let first = timeout(REPLY_WITHIN, pin!(said).next()).await;
        first.ok()?.and_then(Result::ok)
    }

    /// Fetches a range of a blob of proven size. Reports each piece that is verified and on its way into the store.
    pub(super) async fn fetch(
        &self,
        size: NonZeroU64,
        task: u64,
        range: Range<u64>,
        reports: &mpsc::Sender<Verified>,
    ) -> Outcome {
        if range.is_empty() {
            // Another transfer delivered the range, and ended before it could report that.
            return Outcome::Ended(Ended::Complete);
        }
        let chunks = ChunkRanges::from(ChunkNum(range.start / 1024)..ChunkNum(range.end.div_ceil(1024)));
        let (mut content, claimed) = match self.ask(chunks).await {
            Ok(begun) => begun,
            Err(outcome) => return outcome,
        };
        if claimed != size.get() {
            return Outcome::Lied(self.blame(claimed, range.start, "the size is proven to be another"));
        }
        let mut writer = match StoreWriter::open(&self.store, self.hash(), size, range.end - range.start).await {
            Ok(writer) => writer,
            Err(why) => return Outcome::Store(why),
        };
        let tell = async |piece: Option<Range<u64>>| {
            if let Some(piece) = piece {
                let node = self.node;
                // Without a receiver, the fetch was dropped.
                drop(reports.send(Verified { node, task, piece }).await);
            }
        };
        let mut at = range.start;
        let failed = loop {
            match content.next().await {
                BlobContentNext::More((next, Ok(item))) => {
                    content = next;
                    if let BaoContentItem::Leaf(leaf) = &item {
                        at = leaf.offset + leaf.data.len() as u64;
                        self.pay(leaf.data.len() as u64).await;
                    }
                    match writer.put(item).await {
                        Ok(piece) => tell(piece).await,
                        Err(why) => return Outcome::Store(why),
                    }
                }
                BlobContentNext::More((_, Err(error))) => break Some(error),
                BlobContentNext::Done(_) => break None,
            }
        };
        // What was verified before a failure is kept.
        match writer.close().await {
            Ok(piece) => tell(piece).await,
            Err(why) => return Outcome::Store(why),
        }
        match failed {
            None => Outcome::Ended(Ended::Complete),
            Some(error) => self.classify(error, claimed, at),
        }
    }

    async fn pay(&self, bytes: u64) {
        for limit in &self.limits {
            limit.take(bytes).await;
        }
    }

    async fn ask(&self, ranges: ChunkRanges) -> Result<(AtBlobContent, u64), Outcome> {
        let broken = || Outcome::Ended(Ended::Broken);
        let request = GetRequest::blob_ranges(self.hash(), ranges);
        let (send, recv) = self.lease.connection.open_bi().await.map_err(|_| broken())?;
        let connected = fsm::AtConnected::new(
            Instant::now(),
            BufferedRecv::new(recv),
            send,
            request,
            RequestCounters::default(),
        );
        let header: AtBlobHeader<BufferedRecv> = match connected.next().await.map_err(|_| broken())? {
            ConnectedNext::StartRoot(root) => root.next(),
            ConnectedNext::StartChild(_) | ConnectedNext::Closing(_) => unreachable!("the request is for the root"),
        };
        header.next().await.map_err(|error| self.classify(error.into(), 0, 0))
    }

    /// Classifies a decoding error.
    fn classify(&self, error: DecodeError, claimed: u64, at: u64) -> Outcome {
        match error {
            DecodeError::ParentHashMismatch { node, .. } => {
                Outcome::Lied(self.blame(claimed, at, &format!("the hashes of tree node {node:?} do not match")))
            }
            DecodeError::LeafHashMismatch { num, .. } => {
                Outcome::Lied(self.blame(claimed, num.to_bytes(), "the bytes do not match"))
            }
            DecodeError::Read { source, .. } => Outcome::Ended(reset_code(&source)),
            _ => Outcome::Ended(Ended::Lacks),
        }
    }

    fn blame(&self, claimed_bytes: u64, offset: u64, what: &str) -> Blame {
        Blame {
            node: self.node,
            blob: self.blob,
            claimed_bytes,
            offset,
            what: what.to_owned(),
        }
    }
}

/// A reset stream carries a reason; any other error is a broken connection.
fn reset_code(error: &io::Error) -> Ended {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>());
    match inner {
        Some(ReadError::Reset(code)) if *code == ERR_PERMISSION => Ended::Refused,
        Some(ReadError::Reset(code)) if *code == ERR_LIMIT => Ended::Broken,
        Some(ReadError::Reset(_)) => Ended::Lacks,
        _ => Ended::Broken,
    }
}

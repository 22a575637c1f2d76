//! One range from one provider into the store, verified on the way.

use std::{io, mem, num::NonZeroU64, ops::Range};

use bao_tree::{
    ChunkNum, ChunkRanges,
    io::{BaoContentItem, Leaf},
};
use bytes::BytesMut;
use iroh::endpoint::ReadError;
use iroh_blobs::{
    Hash,
    api::{Store, blobs::ImportBaoHandle},
    get::fsm::{self, AtBlobContent, AtBlobHeader, BlobContentNext, ConnectedNext, DecodeError, RequestCounters},
    protocol::{ChunkRangesExt as _, ERR_LIMIT, ERR_PERMISSION, GetRequest},
};
use protocol::{BlobHash, NodeId};
use tokio::sync::mpsc;

use super::{Blame, plan::Ended};
use crate::data::{Meter, links::Lease};

/// Verified bytes that are handed to the store together: fewer and longer writes than one for each group.
const PIECE: usize = 256 << 10;
/// What of a blob is verified at once.
const GROUP: u64 = 16 << 10;

/// A way to one provider of one blob.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) node: NodeId,
    pub(super) blob: BlobHash,
    pub(super) lease: Lease,
    pub(super) store: Store,
    pub(super) meter: Meter,
}

/// How far a task is.
pub(super) struct Verified {
    pub(super) node: NodeId,
    pub(super) task: u64,
    pub(super) to: u64,
}

/// What a transfer came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Ended(Ended),
    Lied(Blame),
    /// The store did not take it.
    Store(String),
}

/// Verified items on their way into the store.
struct Inlet {
    handle: ImportBaoHandle,
    parents: Vec<BaoContentItem>,
    offset: u64,
    data: BytesMut,
}

impl Source {
    fn hash(&self) -> Hash {
        Hash::from_bytes(self.blob.0)
    }

    /// Fetches the first and the last group, which proves the size. Nothing reaches the store before it is proven.
    pub(super) async fn probe(&self) -> Result<u64, Outcome> {
        let ranges = ChunkRanges::from(..ChunkNum(GROUP / 1024)) | ChunkRanges::last_chunk();
        let (mut content, size) = self.ask(ranges).await?;
        let mut items = Vec::new();
        loop {
            match content.next().await {
                BlobContentNext::More((next, Ok(item))) => {
                    items.push(item);
                    content = next;
                }
                BlobContentNext::More((_, Err(error))) => return Err(self.judge(error, size, 0)),
                BlobContentNext::Done(_) => break,
            }
        }
        let Some(nonzero) = NonZeroU64::new(size) else {
            return match self.hash() == Hash::EMPTY {
                true => Ok(0),
                false => Err(Outcome::Lied(self.blame(0, 0, "no bytes have another hash"))),
            };
        };
        let mut inlet = Inlet::open(&self.store, self.hash(), nonzero).await?;
        for item in items {
            inlet.put(item).await?;
        }
        inlet.close().await?;
        Ok(size)
    }

    /// Fetches a range of a blob whose size is proven. Reports what is verified and on its way into the store.
    pub(super) async fn fetch(
        &self,
        size: NonZeroU64,
        task: u64,
        range: Range<u64>,
        reports: &mpsc::Sender<Verified>,
    ) -> Outcome {
        let chunks = ChunkRanges::from(ChunkNum(range.start / 1024)..ChunkNum(range.end.div_ceil(1024)));
        let (mut content, claimed) = match self.ask(chunks).await {
            Ok(begun) => begun,
            Err(outcome) => return outcome,
        };
        if claimed != size.get() {
            return Outcome::Lied(self.blame(claimed, range.start, "the size is proven to be another"));
        }
        let mut inlet = match Inlet::open(&self.store, self.hash(), size).await {
            Ok(inlet) => inlet,
            Err(outcome) => return outcome,
        };
        let mut at = range.start;
        let failed = loop {
            match content.next().await {
                BlobContentNext::More((next, Ok(item))) => {
                    content = next;
                    if let BaoContentItem::Leaf(leaf) = &item {
                        at = leaf.offset + leaf.data.len() as u64;
                        self.meter.take(leaf.data.len() as u64).await;
                    }
                    match inlet.put(item).await {
                        Ok(None) => (),
                        Ok(Some(to)) => drop(
                            reports
                                .send(Verified {
                                    node: self.node,
                                    task,
                                    to,
                                })
                                .await,
                        ),
                        Err(outcome) => return outcome,
                    }
                }
                BlobContentNext::More((_, Err(error))) => break Some(error),
                BlobContentNext::Done(_) => break None,
            }
        };
        // What was verified before a failure is kept.
        match inlet.close().await {
            Ok(Some(to)) => drop(
                reports
                    .send(Verified {
                        node: self.node,
                        task,
                        to,
                    })
                    .await,
            ),
            Ok(None) => (),
            Err(outcome) => return outcome,
        }
        match failed {
            None => Outcome::Ended(Ended::Complete),
            Some(error) => self.judge(error, claimed, at),
        }
    }

    async fn ask(&self, ranges: ChunkRanges) -> Result<(AtBlobContent, u64), Outcome> {
        let broken = |_| Outcome::Ended(Ended::Broken);
        let request = GetRequest::blob_ranges(self.hash(), ranges);
        let begun = fsm::start(self.lease.connection.clone(), request, RequestCounters::default());
        let connected = begun.next().await.map_err(|_| Outcome::Ended(Ended::Broken))?;
        let header: AtBlobHeader = match connected.next().await.map_err(|_| ()).map_err(broken)? {
            ConnectedNext::StartRoot(root) => root.next(),
            ConnectedNext::StartChild(_) | ConnectedNext::Closing(_) => unreachable!("the request is for the root"),
        };
        header.next().await.map_err(|error| self.judge(error.into(), 0, 0))
    }

    /// What an error says about the provider.
    fn judge(&self, error: DecodeError, claimed: u64, at: u64) -> Outcome {
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

/// A stream that was reset says why; anything else is a broken connection.
fn reset_code(error: &io::Error) -> Ended {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>());
    match inner {
        Some(ReadError::Reset(code)) if *code == ERR_PERMISSION => Ended::Refused,
        Some(ReadError::Reset(code)) if *code == ERR_LIMIT => Ended::Broken,
        Some(ReadError::Reset(_)) => Ended::Lacks,
        _ => Ended::Broken,
    }
}

impl Inlet {
    async fn open(store: &Store, hash: Hash, size: NonZeroU64) -> Result<Self, Outcome> {
        let handle = store.import_bao(hash, size, 64).await;
        Ok(Self {
            handle: handle.map_err(|error| Outcome::Store(error.to_string()))?,
            parents: Vec::new(),
            offset: 0,
            data: BytesMut::new(),
        })
    }

    /// Takes an item. Where that made a piece full, up to where the store has been given everything.
    async fn put(&mut self, item: BaoContentItem) -> Result<Option<u64>, Outcome> {
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
        if self.data.is_empty() {
            self.data.reserve(PIECE);
        }
        self.data.extend_from_slice(&leaf.data);
        if self.data.len() >= PIECE {
            given = self.flush().await?;
        }
        Ok(given)
    }

    async fn flush(&mut self) -> Result<Option<u64>, Outcome> {
        for parent in mem::take(&mut self.parents) {
            self.send(parent).await?;
        }
        if self.data.is_empty() {
            return Ok(None);
        }
        let data = self.data.split().freeze();
        let (offset, end) = (self.offset, self.offset + data.len() as u64);
        self.send(BaoContentItem::Leaf(Leaf { offset, data })).await?;
        self.offset = end;
        Ok(Some(end))
    }

    async fn send(&mut self, item: BaoContentItem) -> Result<(), Outcome> {
        let sent = self.handle.tx.send(item).await;
        sent.map_err(|_| Outcome::Store("it stopped taking bytes; is the disk full?".to_owned()))
    }

    /// Gives the rest and waits until the store has all.
    async fn close(mut self) -> Result<Option<u64>, Outcome> {
        let given = self.flush().await?;
        let ImportBaoHandle { tx, rx } = self.handle;
        drop(tx);
        match rx.await {
            Ok(Ok(())) => Ok(given),
            Ok(Err(error)) => Err(Outcome::Store(error.to_string())),
            Err(error) => Err(Outcome::Store(error.to_string())),
        }
    }
}

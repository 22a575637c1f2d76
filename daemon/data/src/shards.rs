//! Adapters between datasets and the blob store: they write shards as blobs, sealed if needed, and read them back.
//!
//! Imports and readers of datasets are blocking code on threads of their own, while the store is async. The adapters
//! bridge the two, and so must not be used on a runtime's worker thread.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Mutex, MutexGuard},
};

use axum::body::Bytes;
use protocol::{BlobHash, manifest::Manifest, seal};
use storage::{
    blob::{Add, BlobStore, Format, Mode, ReadError, Reason, Status},
    dataset::{ShardSink, ShardSource},
};
use tokio::runtime::Handle;

use base::{entropy, lock};

/// The key with which an import seals its shards.
#[derive(Clone)]
pub(crate) struct Sealing {
    pub(crate) key: seal::EpochKey,
    pub(crate) datanet: protocol::DatanetId,
    pub(crate) epoch: seal::KeyEpoch,
}

/// Writes the shards of an import into a store, sealed if the datanet is permissioned.
pub(crate) struct Sink {
    blobs: BlobStore,
    runtime: Handle,
    reason: Reason,
    by_reference: bool,
    sealing: Option<Sealing>,
    /// The hash under which each shard was stored. A sealed shard has another hash than its plain bytes.
    stored: BTreeMap<BlobHash, BlobHash>,
}

impl Sink {
    /// Makes a sink for a blocking thread. Call it on the runtime that runs the store.
    pub(crate) fn new(blobs: BlobStore, reason: Reason, by_reference: bool, sealing: Option<Sealing>) -> Self {
        Self {
            blobs,
            runtime: Handle::current(),
            reason,
            by_reference,
            sealing,
            stored: BTreeMap::new(),
        }
    }

    /// Returns the root by which the dataset is fetched. For a sealed dataset it is the hash sequence of its sealed blobs.
    pub(crate) fn finish(mut self, manifest: &Manifest) -> io::Result<BlobHash> {
        let Some(sealing) = self.sealing.take() else {
            return Ok(manifest.root());
        };
        let names = [manifest.hash()]
            .into_iter()
            .chain(manifest.shards.iter().map(|shard| shard.hash));
        let mut sequence = Vec::new();
        for name in names {
            sequence.extend_from_slice(&self.stored[&name].0);
        }
        drop(sealing);
        self.add(&sequence)
    }

    fn add(&self, bytes: &[u8]) -> io::Result<BlobHash> {
        let adding = self
            .blobs
            .add_bytes(Bytes::copy_from_slice(bytes), Format::Blob, self.reason.clone());
        let added = self.runtime.block_on(adding).map_err(io::Error::other)?;
        Ok(added.content.hash)
    }

    fn refer(&self, path: &Path) -> io::Result<BlobHash> {
        let how = Add {
            mode: Mode::Reference,
            format: Format::Blob,
            reason: self.reason.clone(),
        };
        let adding = self.blobs.add_path(path, how, |_| ());
        Ok(self.runtime.block_on(adding).map_err(io::Error::other)?.content.hash)
    }
}

impl ShardSink for Sink {
    fn put(&mut self, hash: BlobHash, bytes: &[u8], whole: Option<&Path>) -> io::Result<()> {
        let stored = match (&self.sealing, whole) {
            (Some(sealing), _) => {
                let header = seal::Header {
                    datanet: sealing.datanet,
                    epoch: sealing.epoch,
                    prefix: entropy::bytes(),
                };
                self.add(&seal::Sealer::seal(&sealing.key, &header, bytes))?
            }
            (None, Some(path)) if self.by_reference => self.refer(path)?,
            (None, _) => self.add(bytes)?,
        };
        if self.sealing.is_none() && stored != hash {
            let text = "the file changed while it was read; add it again when no program writes to it";
            return Err(io::Error::other(text));
        }
        self.stored.insert(hash, stored);
        Ok(())
    }
}

/// Reads blobs of a store for a dataset reader.
pub(crate) struct Source {
    blobs: BlobStore,
    runtime: Handle,
    lengths: Mutex<BTreeMap<BlobHash, u64>>,
}

impl Source {
    /// Makes a source for a blocking thread. Call it on the runtime that runs the store.
    pub(crate) fn new(blobs: BlobStore) -> Self {
        Self {
            blobs,
            runtime: Handle::current(),
            lengths: Mutex::default(),
        }
    }

    fn lengths(&self) -> MutexGuard<'_, BTreeMap<BlobHash, u64>> {
        lock::locked(&self.lengths)
    }

    fn len(&self, hash: BlobHash) -> io::Result<u64> {
        let known = self.lengths().get(&hash).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        match self.runtime.block_on(self.blobs.status(hash)) {
            Status::Complete { bytes } => {
                self.lengths().insert(hash, bytes);
                Ok(bytes)
            }
            Status::Partial { .. } => Err(missing(ReadError::Incomplete { hash })),
            Status::Absent => Err(missing(ReadError::Absent { hash })),
        }
    }
}

fn missing(why: ReadError) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, why)
}

impl ShardSource for Source {
    fn read_at(&self, hash: &BlobHash, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let len = self.len(*hash)?;
        let end = len.min(offset.saturating_add(into.len() as u64));
        if offset >= end {
            return Ok(0);
        }
        let read = self.runtime.block_on(self.blobs.read(*hash, offset..end));
        let bytes = read.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// Reads sealed blobs and decrypts them on the way. Readers name a shard by the hash of its plain bytes.
pub(crate) struct Unsealed {
    sealed: Source,
    /// Sealed blobs, by the hash of their plain bytes.
    names: BTreeMap<BlobHash, Sealed>,
}

struct Sealed {
    name: BlobHash,
    opener: seal::Opener,
    /// Length of the plain bytes.
    len: u64,
}

impl Unsealed {
    /// Opens the sealed dataset `root`: reads its manifest, and maps the shards in it to their sealed blobs.
    pub(crate) fn read(
        sealed: Source,
        root: BlobHash,
        mut key: impl FnMut(&seal::Header) -> Option<seal::EpochKey>,
    ) -> io::Result<(Manifest, Self)> {
        let children = sealed
            .runtime
            .block_on(sealed.blobs.children(root))
            .map_err(io::Error::other)?;
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let (first, shards) = children
            .split_first()
            .ok_or_else(|| invalid("the root sequence of the dataset is empty: it has no manifest".to_owned()))?;
        let mut opened = Self {
            sealed,
            names: BTreeMap::new(),
        };
        // The plain hash of the manifest is unknown until it is read; the zero hash stands for it.
        let stand_in = BlobHash::default();
        opened.learn(stand_in, *first, &mut key)?;
        let len = usize::try_from(opened.names[&stand_in].len).map_err(io::Error::other)?;
        if len > protocol::manifest::MANIFEST_MAX {
            return Err(invalid(format!(
                "its manifest has {len} bytes, more than a manifest may have"
            )));
        }
        let mut bytes = vec![0; len];
        let mut at = 0;
        while at < len {
            match opened.read_at(&stand_in, at as u64, &mut bytes[at..])? {
                0 => return Err(invalid("its manifest is truncated".to_owned())),
                read => at += read,
            }
        }
        let manifest = Manifest::decode(&bytes).map_err(io::Error::other)?;
        if manifest.shards.len() != shards.len() {
            let (said, found) = (manifest.shards.len(), shards.len());
            return Err(invalid(format!(
                "its manifest lists {said} shards but its root sequence {found}"
            )));
        }
        for (shard, name) in manifest.shards.iter().zip(shards) {
            opened.learn(shard.hash, *name, &mut key)?;
        }
        Ok((manifest, opened))
    }

    fn learn(
        &mut self,
        open: BlobHash,
        name: BlobHash,
        key: &mut impl FnMut(&seal::Header) -> Option<seal::EpochKey>,
    ) -> io::Result<()> {
        let mut head = [0; seal::HEADER];
        let read = self.sealed.read_at(&name, 0, &mut head)?;
        let header = seal::Header::read(&head[..read]).map_err(io::Error::other)?;
        let key = key(&header).ok_or_else(|| {
            let text = format!(
                "this node does not hold key {} of the datanet; ask its owner for a grant",
                header.epoch.0
            );
            io::Error::new(io::ErrorKind::PermissionDenied, text)
        })?;
        let len = seal::plain_len(self.sealed.len(name)?);
        let len = len.ok_or_else(|| io::Error::other("the sealed shard is truncated: its length is impossible"))?;
        let opener = seal::Opener::new(&key, &header);
        self.names.insert(open, Sealed { name, opener, len });
        Ok(())
    }
}

impl ShardSource for Unsealed {
    fn read_at(&self, hash: &BlobHash, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let sealed = self.names.get(hash).ok_or(io::ErrorKind::NotFound)?;
        if offset >= sealed.len || into.is_empty() {
            return Ok(0);
        }
        let frame = u32::try_from(offset / seal::FRAME as u64).map_err(io::Error::other)?;
        let total = self.sealed.len(sealed.name)?;
        let (range, last) = seal::frame_at(total, frame).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
        let mut at = 0;
        while at < bytes.len() {
            match self
                .sealed
                .read_at(&sealed.name, range.start + at as u64, &mut bytes[at..])?
            {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => at += read,
            }
        }
        let mut open = Vec::with_capacity(seal::FRAME);
        let opened = sealed.opener.open(frame, last, &bytes, &mut open);
        opened.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let skip = usize::try_from(offset % seal::FRAME as u64).map_err(io::Error::other)?;
        let open = open.get(skip..).unwrap_or_default();
        let count = open.len().min(into.len());
        into[..count].copy_from_slice(&open[..count]);
        Ok(count)
    }
}

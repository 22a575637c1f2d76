//! What is kept, and why.
//!
//! A blob stays for as long as somebody has a reason to keep it. Reasons are data, so that a person who asks "why is
//! this on my disk" gets an answer, and so that ending one deal does not end another.

use bincode::{Decode, Encode};
use iroh_blobs::{BlobFormat, Hash, HashAndFormat};
use protocol::{BlobHash, DatanetId};

/// Why a blob is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reason {
    /// A person asked for it.
    User,
    /// It belongs to a dataset of this name that is kept here.
    Dataset(String),
    /// It belongs to a version of this datanet.
    Datanet(DatanetId),
    /// A pin deal of this id pays for it.
    Deal([u8; 32]),
    /// It belongs to the adapter with this identity.
    Adapter(BlobHash),
    /// A running job of this name reads or writes it.
    Job(String),
}

/// How the bytes of a blob are to be understood when it is decided what else must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Format {
    /// Bytes.
    Blob,
    /// The hashes of other blobs, which are kept with it.
    Sequence,
}

/// A blob, or a sequence and everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Content {
    /// The name of the blob, or of the sequence's root.
    pub hash: BlobHash,
    /// Which of the two it is.
    pub format: Format,
}

impl Content {
    /// One blob.
    pub const fn blob(hash: BlobHash) -> Self {
        let format = Format::Blob;
        Self { hash, format }
    }

    /// A sequence and its children.
    pub const fn sequence(hash: BlobHash) -> Self {
        let format = Format::Sequence;
        Self { hash, format }
    }
}

impl From<Content> for HashAndFormat {
    fn from(content: Content) -> Self {
        Self::new(Hash::from_bytes(content.hash.0), content.format.into())
    }
}

impl From<Format> for BlobFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Blob => Self::Raw,
            Format::Sequence => Self::HashSeq,
        }
    }
}

pub(super) fn ours(hash: Hash) -> BlobHash {
    BlobHash(*hash.as_bytes())
}

pub(super) fn theirs(hash: BlobHash) -> Hash {
    Hash::from_bytes(hash.0)
}

//! Content and the reasons to keep it.
//!
//! A blob is kept as long as it has a reason. Reasons are stored as data, so that an operator can see why a blob is on the
//! disk, and so that the end of one deal does not end another.

use bincode::{Decode, Encode};
use iroh_blobs::{BlobFormat, Hash, HashAndFormat};
use protocol::{BlobHash, DatanetId};

/// A reason to keep a blob. Stored in the index: new variants go last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reason {
    /// Pinned by the operator.
    User,
    /// Part of a dataset with this name in the library.
    Dataset(String),
    /// Part of a version of this datanet.
    Datanet(DatanetId),
    /// Stored for the pin deal with this id.
    Deal([u8; 32]),
    /// Part of the adapter with this identity.
    Adapter(BlobHash),
    /// In use by a running job with this name.
    Job(String),
}

/// The interpretation of a blob, which decides what is kept with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Format {
    Blob,
    /// Hashes of other blobs, which are kept with it.
    Sequence,
}

/// A blob, or a sequence with its children.
///
/// ```
/// use protocol::BlobHash;
/// use storage::blob::{Content, Format};
///
/// let root = BlobHash([1; 32]);
/// assert_eq!(Content::sequence(root).format, Format::Sequence);
/// assert_ne!(Content::blob(root), Content::sequence(root));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Content {
    /// The hash of the blob, or the root of the sequence.
    pub hash: BlobHash,
    pub format: Format,
}

impl Content {
    /// Returns a single blob.
    pub const fn blob(hash: BlobHash) -> Self {
        let format = Format::Blob;
        Self { hash, format }
    }

    /// Returns a sequence with its children.
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

pub(super) fn from_iroh(hash: Hash) -> BlobHash {
    BlobHash(*hash.as_bytes())
}

pub(super) fn to_iroh(hash: BlobHash) -> Hash {
    Hash::from_bytes(hash.0)
}

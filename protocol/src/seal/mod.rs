//! Encryption of shards of permissioned datanets. A shard is sealed before it is hashed, named or sent; members open
//! it.
//!
//! There is one key per datanet and key epoch ([`EpochKey`]), derived from a secret that only the owner has
//! ([`DatanetSecret`]) and wrapped for each member ([`WrappedKey`]). Removing a member starts a new epoch: they cannot open
//! what is sealed from then on. What they could read before, they may have kept.
//!
//! A sealed shard is a header and frames of 64 KiB, each encrypted with XChaCha20-Poly1305 in the STREAM construction: the
//! nonce is a prefix, the frame number, and a last-frame flag. Frames therefore cannot be changed, moved, repeated, dropped
//! or cut off. The shard's key is derived from the epoch key *and the whole header*, so headers cannot be exchanged either.
//!
//! There is no randomness in this crate: nonce prefixes and ephemeral secrets are arguments. Using a prefix for two shards
//! under one key breaks both, so callers take them from the system's entropy source.
//!
//! # Why not rely on hashes being secret
//!
//! A BLAKE3 hash is not a secret: it appears in manifests, gossip and provider records. A node that is denied a shard on the
//! network could still get the bytes from a member who passes them on; sealed, they are of no use without the key.

mod header;
mod key;
mod stream;
#[cfg(test)]
mod tests;

pub use header::{HEADER, Header, HeaderError};
pub use key::{DatanetSecret, EpochKey, KeyEpoch, MemberKey, MemberSecret, UnwrapError, WrappedKey};
pub use stream::{
    FRAME, OpenError, OpenShardError, Opener, SEALED_FRAME, Sealer, frame_at, open, plain_len, sealed_len,
};

//! Shards of permissioned datanets: sealed before they are hashed, named or sent, opened by members only.
//!
//! One key per datanet and epoch ([`EpochKey`]), derived from a secret that only the owner keeps ([`DatanetSecret`]) and
//! wrapped for each member ([`Wrapped`]). Taking a member out begins an epoch: what is sealed from then on is closed to
//! them. What they could read before, they may have kept; no key changes that.
//!
//! A shard is a header and frames of 64 KiB, each under XChaCha20-Poly1305 (STREAM: the nonce is a prefix, the number of
//! the frame, and whether it is the last), so frames can be neither changed, moved, repeated, dropped nor cut off. The
//! key of a shard comes from the epoch's key *and the whole header*, so a header cannot be exchanged either.
//!
//! There is no randomness here: prefixes and ephemeral secrets are arguments. Using a prefix twice under one key for two
//! shards breaks both, so they come from the system's entropy and nowhere else.

mod header;
mod key;
mod stream;
#[cfg(test)]
mod tests;

pub use header::{HEADER, Header, HeaderError};
pub use key::{DatanetSecret, EpochKey, KeyEpoch, MemberKey, MemberSecret, UnwrapError, Wrapped};
pub use stream::{
    FRAME, OpenError, OpenShardError, Opener, SEALED_FRAME, Sealer, frame_at, open, plain_len, sealed_len,
};

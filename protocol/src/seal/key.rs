//! Keys: the owner's secret, one key per epoch, and the wrapped form that one member can open.

use std::fmt;

use bincode::{Decode, Encode};
use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::{DatanetId, crypto::SecretKey};

/// The number of a datanet's key, counted from 0. Revoking a reader starts the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct KeyEpoch(pub u32);

impl KeyEpoch {
    /// Returns the next epoch.
    ///
    /// # Panics
    /// Panics after 2^32 revocations.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("nobody revokes four billion times"))
    }
}

impl fmt::Display for KeyEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret from which a datanet's owner derives every epoch key. Wiped from memory on drop.
pub struct DatanetSecret([u8; 32]);

impl DatanetSecret {
    /// Wraps 32 random bytes.
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Returns the bytes, for the owner's key file.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives the key of one epoch. Epoch keys are independent: some of them reveal nothing about the others.
    pub fn epoch_key(&self, datanet: &DatanetId, epoch: KeyEpoch) -> EpochKey {
        let parts: [&[u8]; 3] = [&self.0, &datanet.0, &epoch.0.to_be_bytes()];
        EpochKey(crate::crypto::digest("openledger/seal/epoch/1", &parts))
    }
}

impl Drop for DatanetSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for DatanetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatanetSecret(…)")
    }
}

/// The key of one datanet in one epoch: it opens everything sealed in that epoch. Wiped from memory on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey(pub [u8; 32]);

impl Drop for EpochKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(…)")
    }
}

/// The public half of a member's X25519 key. The owner's grant carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct MemberKey(pub [u8; 32]);

/// A member's X25519 secret key. Wiped from memory on drop.
pub struct MemberSecret(StaticSecret);

impl MemberSecret {
    /// Derives a node's key from its seed under a domain of its own. The signing key itself is never used for
    /// encryption.
    pub fn of_node(node: &SecretKey) -> Self {
        let bytes = Zeroizing::new(crate::crypto::digest("openledger/seal/member/1", &[node.seed()]));
        Self(StaticSecret::from(*bytes))
    }

    /// Returns the public key.
    pub fn public(&self) -> MemberKey {
        MemberKey(PublicKey::from(&self.0).to_bytes())
    }
}

impl fmt::Debug for MemberSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberSecret(of {})", hex::encode(&self.public().0[..4]))
    }
}

/// An epoch key encrypted for one member. Safe to send over any path.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WrappedKey {
    pub datanet: DatanetId,
    pub epoch: KeyEpoch,
    /// The public half of a one-time key.
    pub ephemeral: [u8; 32],
    /// The encrypted key.
    pub sealed: [u8; 32],
    /// The authentication tag.
    pub tag: [u8; 16],
}

/// The reason that a wrapped key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// A low-order public key on either side, with which the shared secret would be public.
    #[error("a public key in the box or the grant is of low order; ask the owner for a new one")]
    WeakKey,
    /// WrappedKey for another member, datanet or epoch, or modified.
    #[error("the key of datanet {datanet:#}, epoch {epoch}, is not boxed for this member")]
    NotForMember { datanet: DatanetId, epoch: KeyEpoch },
}

impl WrappedKey {
    /// Wraps `key` for `member`. `ephemeral` must be 32 fresh random bytes, used for nothing else.
    pub fn new(
        key: &EpochKey,
        datanet: DatanetId,
        epoch: KeyEpoch,
        member: &MemberKey,
        ephemeral: [u8; 32],
    ) -> Result<Self, UnwrapError> {
        let ephemeral = StaticSecret::from(ephemeral);
        let public = PublicKey::from(&ephemeral).to_bytes();
        let mut wrapped = Self {
            datanet,
            epoch,
            ephemeral: public,
            sealed: key.0,
            tag: [0; 16],
        };
        let cipher = wrapped.cipher(&ephemeral, &member.0, member)?;
        wrapped.tag = cipher
            .encrypt_in_place_detached(&[0; 24].into(), &[], &mut wrapped.sealed)
            .expect("32 bytes are within the cipher's limit")
            .into();
        Ok(wrapped)
    }

    /// Returns the key, if it was wrapped for `member`.
    pub fn open(&self, member: &MemberSecret) -> Result<EpochKey, UnwrapError> {
        let cipher = self.cipher(&member.0, &self.ephemeral, &member.public())?;
        let mut key = EpochKey(self.sealed);
        cipher
            .decrypt_in_place_detached(&[0; 24].into(), &[], &mut key.0, &self.tag.into())
            .map_err(|_| UnwrapError::NotForMember {
                datanet: self.datanet,
                epoch: self.epoch,
            })?;
        Ok(key)
    }

    /// Returns the cipher of this wrapping. Its key is used once, as the ephemeral key is, so a zero nonce is safe.
    fn cipher(
        &self,
        secret: &StaticSecret,
        theirs: &[u8; 32],
        member: &MemberKey,
    ) -> Result<XChaCha20Poly1305, UnwrapError> {
        let shared = secret.diffie_hellman(&PublicKey::from(*theirs));
        if !shared.was_contributory() {
            return Err(UnwrapError::WeakKey);
        }
        let epoch = self.epoch.0.to_be_bytes();
        let parts: [&[u8]; 5] = [shared.as_bytes(), &self.ephemeral, &member.0, &self.datanet.0, &epoch];
        let key = Zeroizing::new(crate::crypto::digest("openledger/seal/wrap/1", &parts));
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }
}

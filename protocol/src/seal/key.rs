//! Keys: the owner's secret, one key per epoch, and the box each member opens it from.

use std::fmt;

use bincode::{Decode, Encode};
use chacha20poly1305::{AeadInPlace, KeyInit, XChaCha20Poly1305};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::{DatanetId, crypto::SecretKey};

/// Which key of a datanet, counted from 0. A new one begins when a reader is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct KeyEpoch(pub u32);

impl KeyEpoch {
    /// The epoch after this one.
    ///
    /// # Panics
    /// After four billion revocations.
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

/// What a datanet's owner keeps: every epoch's key comes from it. Its bytes are wiped when it goes.
pub struct DatanetSecret([u8; 32]);

impl DatanetSecret {
    /// The secret that these random bytes are.
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The bytes, for the file they are kept in.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of one epoch. Knowing some epochs' keys says nothing about others.
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

/// The key of one datanet in one epoch. Whoever holds it reads everything sealed in that epoch. Wiped when it goes.
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

/// The public half of a member's X25519 key: what a grant carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct MemberKey(pub [u8; 32]);

/// A member's X25519 key. Wiped when it goes.
pub struct MemberSecret(StaticSecret);

impl MemberSecret {
    /// The key that belongs to a node: derived from its seed under a name of its own, never the signing key itself.
    pub fn of_node(node: &SecretKey) -> Self {
        let bytes = Zeroizing::new(crate::crypto::digest("openledger/seal/member/1", &[node.seed()]));
        Self(StaticSecret::from(*bytes))
    }

    /// The public half.
    pub fn public(&self) -> MemberKey {
        MemberKey(PublicKey::from(&self.0).to_bytes())
    }
}

impl fmt::Debug for MemberSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberSecret(of {})", hex::encode(&self.public().0[..4]))
    }
}

/// An epoch's key in a box that one member opens.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Wrapped {
    /// The datanet whose key it is.
    pub datanet: DatanetId,
    /// Of which epoch.
    pub epoch: KeyEpoch,
    /// The public half of a key that was made for this box and thrown away.
    pub ephemeral: [u8; 32],
    /// The key, encrypted.
    pub sealed: [u8; 32],
    /// The tag over it.
    pub tag: [u8; 16],
}

/// Why a box does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// A key of low order on either side, with which everybody would share the secret.
    #[error("a public key in the box or the grant is of low order; ask the owner for a new one")]
    WeakKey,
    /// It is for another member, another datanet or epoch, or it was changed.
    #[error("the key of datanet {datanet:#}, epoch {epoch}, is not boxed for this member")]
    NotForUs {
        /// The datanet it names.
        datanet: DatanetId,
        /// The epoch it names.
        epoch: KeyEpoch,
    },
}

impl Wrapped {
    /// Boxes `key` for `member`. `ephemeral` is 32 fresh random bytes, for this box alone.
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

    /// The key in it, for the member whose secret this is.
    pub fn open(&self, member: &MemberSecret) -> Result<EpochKey, UnwrapError> {
        let cipher = self.cipher(&member.0, &self.ephemeral, &member.public())?;
        let mut key = EpochKey(self.sealed);
        cipher
            .decrypt_in_place_detached(&[0; 24].into(), &[], &mut key.0, &self.tag.into())
            .map_err(|_| UnwrapError::NotForUs {
                datanet: self.datanet,
                epoch: self.epoch,
            })?;
        Ok(key)
    }

    /// The cipher of this box. Its key is used once, because the ephemeral key is: so the nonce may be zero.
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

//! Digests with domains and signatures with one rule.
//!
//! Every digest and every signed preimage begins with the name of what it is for, so that bytes made for one purpose
//! never pass for another. Signatures are ed25519 under ZIP-215 everywhere: two rules that differ on an edge case would
//! let a certificate be valid for half the network.

use std::fmt;

use zeroize::Zeroize;

use crate::ValidatorKey;

/// BLAKE3 of `parts` under `domain`. Each part is preceded by its length, so parts cannot be shifted into each other.
pub fn digest(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

/// An ed25519 key that signs. Its bytes are wiped when it goes.
pub struct SecretKey {
    seed: [u8; 32],
    key: ed25519_consensus::SigningKey,
}

impl SecretKey {
    /// The key that these 32 secret bytes stand for.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, key: seed.into() }
    }

    /// The secret bytes, for the file they are kept in and the transports that derive their names from them.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half, as raw bytes.
    pub fn public(&self) -> [u8; 32] {
        self.key.verification_key().to_bytes()
    }

    /// The public half as a validator's name.
    pub fn validator(&self) -> ValidatorKey {
        ValidatorKey(self.public())
    }

    /// Signs a preimage that starts with its domain.
    pub fn sign(&self, preimage: &[u8]) -> Signature {
        Signature(self.key.sign(preimage).to_bytes())
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:#})", self.validator())
    }
}

/// Whether `signature` is `key`'s under ZIP-215. A key that is no curve point signed nothing.
pub fn verify(key: &[u8; 32], preimage: &[u8], signature: &Signature) -> bool {
    ed25519_consensus::VerificationKey::try_from(*key)
        .is_ok_and(|key| key.verify(&signature.0.into(), preimage).is_ok())
}

/// The chain that a signature is for: a vote on one chain means nothing on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The hash of the genesis block.
    pub genesis: [u8; 32],
}

/// Something with fixed bytes to sign.
pub trait Preimage {
    /// The exact bytes that are signed on the chain `domain`.
    fn preimage(&self, domain: &Domain) -> Vec<u8>;
}

/// A message and the signature its author put under it. Holding one proves nothing until [`Signed::verify`] says so.
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Signed<T> {
    /// What was signed.
    pub message: T,
    /// By its author.
    pub signature: Signature,
}

impl<T: Preimage> Signed<T> {
    /// Signs `message` for the chain `domain`.
    pub fn new(message: T, key: &SecretKey, domain: &Domain) -> Self {
        let signature = key.sign(&message.preimage(domain));
        Self { message, signature }
    }

    /// Whether `author` signed this for the chain `domain`.
    pub fn verify(&self, author: &ValidatorKey, domain: &Domain) -> bool {
        verify(&author.0, &self.message.preimage(domain), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(digest("test", &[b"ab", b"c"]), digest("test", &[b"a", b"bc"]));
        assert_ne!(digest("test", &[b"a"]), digest("rest", &[b"a"]));
    }

    #[test]
    fn a_signature_is_for_its_key_and_its_bytes() {
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signature = key.sign(b"openledger/test/1 hello");
        assert!(verify(&key.public(), b"openledger/test/1 hello", &signature));
        assert!(!verify(&other.public(), b"openledger/test/1 hello", &signature));
        assert!(!verify(&key.public(), b"openledger/test/1 hellp", &signature));
        assert!(
            !verify(&[0xff; 32], b"openledger/test/1 hello", &signature),
            "not a curve point"
        );
    }
}

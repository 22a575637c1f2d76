//! Hashes with domain separation, and ed25519 signatures under one verification rule.
//!
//! Every digest and every signed preimage begins with a string that names its purpose (`openledger/vote/1`), so bytes made
//! for one purpose are never valid for another. Signatures are ed25519 under ZIP-215 everywhere: with two rules that differ
//! on an edge case, a certificate would be valid for one half of the network and invalid for the other.
//!
//! # Why not hash a serialised value
//!
//! The encoding of a value may change with a library version or a reordered field, and two types may share an encoding.
//! What is hashed or signed is therefore written out field by field ([`Preimage`]), with the domain first.
//!
//! # Why not one hash function
//!
//! Data, receipts and node messages use BLAKE3: it hashes in parallel, and its tree lets a receiver verify a range of a blob
//! (see [`crate::proof`]). The chain uses keccak-256 and SHA-256 wherever Ethereum fixes them (block and transaction hashes,
//! addresses, precompiles), because wallets and tools recompute those.

use std::fmt;

use zeroize::Zeroize;

use crate::ValidatorKey;

/// Returns the BLAKE3 hash of `parts` in key-derivation mode, with `domain` as the context.
///
/// Each part is preceded by its length as eight big-endian bytes, so `["ab", "c"]` and `["a", "bc"]` differ.
///
/// ```
/// use protocol::crypto::digest;
///
/// assert_ne!(digest("example/1", &[b"ab", b"c"]), digest("example/1", &[b"a", b"bc"]));
/// assert_ne!(digest("example/1", &[b"ab"]), digest("example/2", &[b"ab"]));
/// ```
pub fn digest(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// An ed25519 signature. The bytes may be anything: only [`verify`] tells whether they are valid for a key and a
/// message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

/// An ed25519 signing key. Its seed is wiped from memory on drop, and `Debug` prints the public key alone.
pub struct SecretKey {
    seed: [u8; 32],
    key: ed25519_consensus::SigningKey,
}

impl SecretKey {
    /// Builds the key from its 32-byte seed. The same seed always gives the same key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, key: seed.into() }
    }

    /// Returns the seed, for the key file and for the transports (libp2p, iroh) that derive their own key pairs from
    /// it.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Returns the public key as raw bytes.
    pub fn public(&self) -> [u8; 32] {
        self.key.verification_key().to_bytes()
    }

    /// Returns the public key as a [`ValidatorKey`].
    pub fn validator(&self) -> ValidatorKey {
        ValidatorKey(self.public())
    }

    /// Signs `preimage` as it is. The caller has put the domain string in front ([`Preimage::preimage`] does).
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

/// Returns true if `signature` is `key`'s signature of `preimage` under ZIP-215. A `key` that is not a curve point
/// verifies nothing.
pub fn verify(key: &[u8; 32], preimage: &[u8], signature: &Signature) -> bool {
    ed25519_consensus::VerificationKey::try_from(*key)
        .is_ok_and(|key| key.verify(&signature.0.into(), preimage).is_ok())
}

/// The chain that a signature is for. It is part of each preimage, so a vote signed for one chain is invalid on
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The EIP-155 chain id.
    pub chain_id: u64,
    pub genesis: [u8; 32],
}

/// A message with a fixed byte layout to sign.
///
/// The layout is part of the protocol: it starts with the domain string and the chain, and never changes within a version.
pub trait Preimage {
    /// Returns the exact bytes to sign for the chain `domain`.
    fn preimage(&self, domain: &Domain) -> Vec<u8>;
}

/// A message with a signature. Nothing is checked on construction or decoding: call [`Signed::verify`] before you
/// believe it.
///
/// ```
/// use protocol::{BlockHash, Height};
/// use protocol::crypto::{Domain, SecretKey, Signed};
/// use protocol::message::vote::Proposal;
///
/// let domain = Domain { chain_id: 7, genesis: [9; 32] };
/// let key = SecretKey::from_seed([1; 32]);
/// let proposer = key.validator();
/// let proposal = Proposal { height: Height(1), round: 0, block: BlockHash([5; 32]), polka_round: None, proposer };
/// let signed = Signed::new(proposal, &key, &domain);
/// assert!(signed.verify(&proposer, &domain));
/// assert!(!signed.verify(&proposer, &Domain { chain_id: 8, ..domain }), "signed for another chain");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Signed<T> {
    pub message: T,
    pub signature: Signature,
}

impl<T: Preimage> Signed<T> {
    /// Signs `message` for the chain `domain`.
    pub fn new(message: T, key: &SecretKey, domain: &Domain) -> Self {
        let signature = key.sign(&message.preimage(domain));
        Self { message, signature }
    }

    /// Returns true if `author` signed this message for the chain `domain`.
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

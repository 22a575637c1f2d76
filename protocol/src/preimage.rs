//! A writer for signing preimages: a domain string, the chain, then each field at a fixed width. No serialiser is
//! involved.

use crate::{
    NodeId,
    crypto::{Domain, Preimage, Signed, verify},
};

/// Writes a preimage field by field, big-endian. Fields of variable width are preceded by their length.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Starts a preimage for a signature: `name ‖ chain id ‖ genesis`.
    pub(crate) fn new(name: &str, domain: &Domain) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(name.as_bytes());
        bytes.extend(domain.chain_id.to_be_bytes());
        bytes.extend(domain.genesis);
        Self(bytes)
    }

    /// Starts a preimage without chain or domain, for [`crate::crypto::digest`], which adds its own domain.
    pub(crate) fn bare() -> Self {
        Self(Vec::with_capacity(256))
    }

    pub(crate) fn fixed<const N: usize>(mut self, bytes: &[u8; N]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn u64(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Writes the length as eight bytes, then the bytes.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut writer = self.u64(bytes.len() as u64);
        writer.0.extend(bytes);
        writer
    }

    /// Writes one byte: the number of an enum variant, or 0 and 1 for a boolean.
    pub(crate) fn tag(self, tag: u8) -> Self {
        self.fixed(&[tag])
    }

    /// Writes a presence byte, then the bytes, or zeros for `None`.
    pub(crate) fn maybe<const N: usize>(self, bytes: Option<&[u8; N]>) -> Self {
        self.tag(u8::from(bytes.is_some())).fixed(bytes.unwrap_or(&[0; N]))
    }

    /// Writes the number of items as eight bytes, then each item.
    pub(crate) fn list<T>(self, items: &[T], each: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.u64(items.len() as u64), each)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A message that names its author, a node.
pub trait Authored: Preimage {
    /// Returns the node that must have signed the message.
    fn author(&self) -> NodeId;
}

impl<T: Authored> Signed<T> {
    /// Returns true if the message's own author signed it for the chain `domain`.
    pub fn is_authentic(&self, domain: &Domain) -> bool {
        verify(
            &self.message.author().0,
            &self.message.preimage(domain),
            &self.signature,
        )
    }
}

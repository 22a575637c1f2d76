//! Fixed bytes to sign: a name, the chain, then each field at its own width. Nothing here comes from a serialiser.

use crate::{
    NodeId,
    crypto::{Domain, Preimage, Signed, verify},
};

/// Writes a preimage field by field, big-endian; whatever has no fixed width is preceded by its length.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// `name ‖ chain id ‖ genesis`: what every preimage begins with.
    pub(crate) fn new(name: &str, domain: &Domain) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(name.as_bytes());
        bytes.extend(domain.chain_id.to_be_bytes());
        bytes.extend(domain.genesis);
        Self(bytes)
    }

    /// A writer without a chain, for a digest that has a domain of its own.
    pub(crate) fn bare() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// Bytes of a width that never changes.
    pub(crate) fn fixed<const N: usize>(mut self, bytes: &[u8; N]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// A number.
    pub(crate) fn u64(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Bytes of any length.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut writer = self.u64(bytes.len() as u64);
        writer.0.extend(bytes);
        writer
    }

    /// One of several, or a yes or no.
    pub(crate) fn tag(self, tag: u8) -> Self {
        self.fixed(&[tag])
    }

    /// Something or nothing: a tag, and zeros for nothing.
    pub(crate) fn maybe<const N: usize>(self, bytes: Option<&[u8; N]>) -> Self {
        self.tag(u8::from(bytes.is_some())).fixed(bytes.unwrap_or(&[0; N]))
    }

    /// A list: how many, then each.
    pub(crate) fn list<T>(self, items: &[T], each: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.u64(items.len() as u64), each)
    }

    /// The bytes.
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Something that a node says in its own name.
pub trait Spoken: Preimage {
    /// Who says it.
    fn speaker(&self) -> NodeId;
}

impl<T: Spoken> Signed<T> {
    /// Whether the node that speaks in it signed it, for the chain `domain`.
    pub fn is_authentic(&self, domain: &Domain) -> bool {
        verify(
            &self.message.speaker().0,
            &self.message.preimage(domain),
            &self.signature,
        )
    }
}

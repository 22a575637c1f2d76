//! Typed identifiers, so that a block hash is never passed where a transaction hash belongs.
//!
//! Every id prints as `0x` and lower-case hex: in full with `{}`, its first four bytes with `{:#}` for logs.

use std::{fmt, str::FromStr};

/// Error of parsing an id from text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("`{0}` is not hexadecimal; write 0x followed by {1} hex digits")]
    NotHex(String, usize),
    #[error("`{text}` has {found} hex digits where {wanted} are needed")]
    Length { text: String, found: usize, wanted: usize },
}

/// Declares a newtype over a byte array with hex text forms, e.g. `id!(/** A block. */ BlockHash, 32)` gives `pub
/// struct BlockHash(pub [u8; 32])` with `Display`, `FromStr`, `serde` as a string and `bincode` as bytes.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bincode::Encode, bincode::Decode)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let shown = if f.alternate() { &self.0[..4] } else { &self.0[..] };
                f.write_str("0x")?;
                shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self:#})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let bytes =
                    hex::decode(digits).map_err(|_| ParseIdError::NotHex(text.to_owned(), 2 * $len))?;
                let found = digits.len();
                let bytes = bytes.try_into().map_err(|_| ParseIdError::Length {
                    text: text.to_owned(),
                    found,
                    wanted: 2 * $len,
                })?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A node's ed25519 public key. libp2p's `PeerId` and iroh's `EndpointId` are derived from it.
    ///
    /// ```
    /// use protocol::NodeId;
    ///
    /// let node = NodeId([0xab; 32]);
    /// assert_eq!(node.to_string().parse(), Ok(node));
    /// assert_eq!(format!("{node:#}"), "0xabababab");
    /// ```
    NodeId, 32
);
id!(
    /// A validator's ed25519 public key. Never the node's key, so that a validator can move to another node.
    ValidatorKey, 32
);
id!(
    /// An account on the chain: an Ethereum address.
    Account, 20
);
id!(
    /// A block hash: keccak-256 of the RLP header, as Ethereum defines it.
    BlockHash, 32
);
id!(
    /// A transaction hash: keccak-256 of the EIP-2718 encoding.
    TxHash, 32
);
id!(
    /// The BLAKE3 hash of a blob: a shard, a manifest, an adapter. The bytes can be checked against it.
    BlobHash, 32
);
id!(
    /// A datanet's id: the digest of its owner and founding terms ([`crate::datanet::Charter`]).
    DatanetId, 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = Account([0xab; 20]);
        assert_eq!(id.to_string().parse::<Account>(), Ok(id));
        assert_eq!(format!("{id:#}"), "0xabababab");
    }

    #[test]
    fn an_error_about_length_names_both_lengths() {
        let error = "0x1234".parse::<Account>().expect_err("too short");
        assert_eq!(error.to_string(), "`0x1234` has 4 hex digits where 40 are needed");
        assert!(
            "0xzz"
                .parse::<Account>()
                .expect_err("not hex")
                .to_string()
                .contains("not hexadecimal")
        );
    }
}

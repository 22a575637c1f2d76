//! Typed names: a block hash is never passed where a transaction hash belongs.
//!
//! Every id prints as `0x` and lower-case hex in full with `{}`, and as its first four bytes with `{:#}` for logs.

use std::{fmt, str::FromStr};

/// Why a piece of text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not hexadecimal at all.
    #[error("`{0}` is not hexadecimal; write 0x followed by {1} hex digits")]
    NotHex(String, usize),
    /// Hexadecimal, of another length.
    #[error("`{text}` has {found} hex digits where {wanted} are needed")]
    Length {
        /// What was given.
        text: String,
        /// How many digits it has.
        found: usize,
        /// How many an id of this kind has.
        wanted: usize,
    },
}

/// Declares a newtype over a byte array with hex text forms, e.g. `id!(/** A block. */ BlockHash, 32)` gives
/// `pub struct BlockHash(pub [u8; 32])` with `Display`, `FromStr`, `serde` as a string and `bincode` as bytes.
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
    /// A node on the network: its ed25519 public key, from which the transports derive their own names.
    NodeId, 32
);
id!(
    /// A validator: the ed25519 public key that signs its votes. Never the node key, so a node can move.
    ValidatorKey, 32
);
id!(
    /// An account on the chain: an Ethereum address.
    Account, 20
);
id!(
    /// A block: keccak-256 of its RLP header, as Ethereum names it.
    BlockHash, 32
);
id!(
    /// A transaction: keccak-256 of its EIP-2718 encoding.
    TxHash, 32
);
id!(
    /// Some bytes: their BLAKE3 hash. A shard, a manifest, an adapter; whoever holds the name can check the bytes.
    BlobHash, 32
);
id!(
    /// A datanet: the digest of its founding terms and owner.
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
    fn a_wrong_length_says_both_lengths() {
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

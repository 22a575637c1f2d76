//! The only file that names the serialiser: one value, one encoding, a size limit, nothing left over.
//!
//! bincode alone would accept trailing bytes and claims of any length. Bytes that are hashed or signed never come from
//! here: those have fixed preimages where they are defined.

use bincode::{Decode, Encode, config};

/// Why bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this kind of message may have.
    #[error("{found} bytes where at most {limit} are allowed")]
    TooLong {
        /// How many came.
        found: usize,
        /// How many may come.
        limit: usize,
    },
    /// The bytes do not describe the value.
    #[error("malformed bytes")]
    Malformed(#[source] bincode::error::DecodeError),
    /// A value, and more behind it.
    #[error("{0} bytes left over behind the value")]
    Trailing(usize),
}

/// Largest value that [`decode`] reads, whatever the limit it is called with.
pub const LIMIT_MAX: usize = 64 << 20;

fn layout() -> impl config::Config {
    // Fixed integers: with variable ones several byte strings would mean the same number.
    config::standard()
        .with_big_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT_MAX>()
}

/// The bytes of a value.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, layout()).expect("our own values are smaller than the limit and always encode")
}

/// The value that `bytes` describe, if they are at most `limit` long and describe it exactly.
pub fn decode<T: Decode<()>>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong {
            found: bytes.len(),
            limit,
        });
    }
    let (value, used) = bincode::decode_from_slice(bytes, layout()).map_err(DecodeError::Malformed)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_encoding_and_nothing_behind_it() {
        let bytes = encode(&(7u64, Some(vec![1u8, 2])));
        assert_eq!(
            decode::<(u64, Option<Vec<u8>>)>(&bytes, 64).expect("round trip"),
            (7, Some(vec![1, 2]))
        );

        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            decode::<(u64, Option<Vec<u8>>)>(&longer, 64),
            Err(DecodeError::Trailing(1))
        ));
        assert!(matches!(
            decode::<(u64, Option<Vec<u8>>)>(&bytes, 8),
            Err(DecodeError::TooLong { .. })
        ));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let lie = encode(&u64::MAX);
        assert!(matches!(decode::<Vec<u8>>(&lie, 64), Err(DecodeError::Malformed(_))));
    }
}

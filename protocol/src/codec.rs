//! Encoding of values with bincode: one encoding per value, a size limit, no trailing bytes. Only this file names
//! bincode's functions.
//!
//! Bytes that are hashed or signed never come from here: they have fixed preimages ([`crate::crypto::Preimage`]).
//!
//! # Why not bincode as it comes
//!
//! Plain bincode accepts trailing bytes, and a length prefix may claim any size. Peers send these bytes, so [`decode`] checks
//! the length first, bounds every allocation and refuses leftovers. The version is pinned to 2.0.1: 3.0.0 does not compile.

use bincode::{Decode, Encode, config};

/// Error of decoding.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this kind of message may have. They are not decoded.
    #[error("{found} bytes where at most {limit} are allowed")]
    TooLong { found: usize, limit: usize },
    #[error("malformed bytes")]
    Malformed(#[source] bincode::error::DecodeError),
    #[error("{0} trailing bytes")]
    Trailing(usize),
}

/// Largest value that [`decode`] reads, in bytes, whatever `limit` it is called with.
pub const LIMIT_MAX: usize = 64 << 20;

fn layout() -> impl config::Config {
    // Fixed-width integers: with variable ones, several byte strings would mean the same number.
    config::standard()
        .with_big_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT_MAX>()
}

/// Encodes a value.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, layout()).expect("our own values are smaller than the limit and always encode")
}

/// Decodes a value from exactly `bytes`, which may be at most `limit` long.
///
/// ```
/// use protocol::codec::{decode, encode};
///
/// let bytes = encode(&7u64);
/// assert_eq!(decode::<u64>(&bytes, 8).unwrap(), 7);
/// assert!(decode::<u64>(&bytes, 4).is_err(), "over the limit");
/// assert!(decode::<u32>(&bytes, 8).is_err(), "trailing bytes");
/// ```
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
    fn trailing_bytes_and_long_input_are_refused() {
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
    fn a_false_length_prefix_allocates_nothing() {
        let false_length = encode(&u64::MAX);
        assert!(matches!(
            decode::<Vec<u8>>(&false_length, 64),
            Err(DecodeError::Malformed(_))
        ));
    }
}

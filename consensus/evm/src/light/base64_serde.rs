//! Serde helpers for byte strings in a proof file: base64, which is a third shorter than hexadecimal.

use ::base64::{Engine as _, engine::general_purpose::STANDARD};
use alloy_primitives::Bytes;
use protocol::{ValidatorKey, crypto::Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

fn decode<E: Error>(text: &str) -> Result<Vec<u8>, E> {
    STANDARD
        .decode(text)
        .map_err(|why| E::custom(format!("not base64: {why}")))
}

/// A byte string.
pub(super) mod base64 {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(bytes).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        decode(&String::deserialize(from)?).map(Bytes::from)
    }
}

/// A list of byte strings.
pub(super) mod nodes {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(nodes: &[Bytes], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(nodes.iter().map(|node| STANDARD.encode(node)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
        let nodes = Vec::<String>::deserialize(from)?;
        nodes.iter().map(|node| decode(node).map(Bytes::from)).collect()
    }
}

/// A list of pairs of key and signature.
pub(super) mod signatures {
    use super::*;

    type Pairs = [(ValidatorKey, Signature)];

    pub(in super::super) fn serialize<S: Serializer>(pairs: &Pairs, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(pairs.iter().map(|(key, signature)| (key, STANDARD.encode(signature.0))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(ValidatorKey, Signature)>, D::Error> {
        let pairs = Vec::<(ValidatorKey, String)>::deserialize(from)?;
        let read = |(key, text): (ValidatorKey, String)| {
            let bytes = decode::<D::Error>(&text)?;
            let found = bytes.len();
            let short = |_| D::Error::custom(format!("a signature of {found} bytes; it has 64"));
            Ok((key, Signature(bytes.try_into().map_err(short)?)))
        };
        pairs.into_iter().map(read).collect()
    }
}

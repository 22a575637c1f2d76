//! Parameter types that are stricter than those of the libraries.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Deserializer, de::Visitor};

/// Bytes in hexadecimal with `0x`. Without the prefix a value may be something else, so it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex<T>(pub(crate) T);

/// A value that is written in hexadecimal.
pub(crate) trait FromHex: Sized {
    /// The expected form, for the error message.
    const EXPECTED: &'static str;

    fn read(digits: &str) -> Option<Self>;
}

impl FromHex for B256 {
    const EXPECTED: &'static str = "a hash: 0x and 64 hexadecimal digits";

    fn read(digits: &str) -> Option<Self> {
        hex::decode(digits).ok()?.as_slice().try_into().ok()
    }
}

impl FromHex for Address {
    const EXPECTED: &'static str = "an address: 0x and 40 hexadecimal digits";

    fn read(digits: &str) -> Option<Self> {
        hex::decode(digits).ok()?.as_slice().try_into().ok()
    }
}

impl FromHex for Bytes {
    const EXPECTED: &'static str = "bytes: 0x and an even number of hexadecimal digits";

    fn read(digits: &str) -> Option<Self> {
        hex::decode(digits).ok().map(Self::from)
    }
}

struct HexVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromHex> Visitor<'_> for HexVisitor<T> {
    type Value = Hex<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hex<T>, E> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let value = digits.ok_or_else(|| E::custom(format!("hex string without 0x prefix; write {}", T::EXPECTED)))?;
        T::read(value)
            .map(Hex)
            .ok_or_else(|| E::custom(format!("{text:?} is not {}", T::EXPECTED)))
    }
}

impl<'de, T: FromHex> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromHex + fmt::Debug + PartialEq>(text: &str, expect: Result<T, &str>) {
        let found = serde_json::from_value::<Hex<T>>(text.into());
        match (found, expect) {
            (Ok(Hex(found)), Ok(expect)) => assert_eq!(found, expect),
            (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{text}: {why}"),
            (found, expect) => panic!("{text}: {found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn bytes_need_the_0x_prefix() {
        check("0x0102", Ok(Bytes::from_static(&[1, 2])));
        check("0x", Ok(Bytes::new()));
        check::<Bytes>("0102", Err("without 0x prefix"));
        check::<Bytes>("0x012", Err("even number"));
        check(&format!("0x{}", "ab".repeat(32)), Ok(B256::repeat_byte(0xab)));
        check::<B256>(&"ab".repeat(32), Err("without 0x prefix"));
        check::<B256>("0xab", Err("64 hexadecimal digits"));
        check(&format!("0x{}", "Cd".repeat(20)), Ok(Address::repeat_byte(0xcd)));
        check::<Address>("0xgg", Err("40 hexadecimal digits"));
    }
}

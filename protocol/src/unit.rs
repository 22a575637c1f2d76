//! Amounts of OPEN: integers with checked arithmetic, and their decimal text form.

use std::{fmt, str::FromStr};

/// Decimal places of OPEN: one OPEN is 10^18 atoms, as Ethereum tools expect.
pub const DECIMALS: u32 = 18;
const ONE: u128 = 10u128.pow(DECIMALS);

/// The total supply. It exists at genesis and is never minted or burned.
pub const SUPPLY: Amount = Amount::open(1_000_000_000);

/// An amount of OPEN in atoms, the smallest unit. There is no float anywhere.
///
/// ```
/// use protocol::Amount;
///
/// let price: Amount = "1.5".parse().unwrap();
/// assert_eq!(price, Amount(1_500_000_000_000_000_000));
/// assert_eq!(price.to_string(), "1.5 OPEN");
/// assert_eq!(price.checked_sub(Amount::open(2)), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct Amount(pub u128);

impl Amount {
    /// Zero OPEN.
    pub const ZERO: Self = Self(0);

    /// Returns a whole number of OPEN.
    pub const fn open(whole: u64) -> Self {
        Self(whole as u128 * ONE)
    }

    /// Returns the sum, or `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Returns the difference, or `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / ONE, self.0 % ONE);
        if part == 0 {
            return write!(f, "{whole} OPEN");
        }
        let digits = format!("{part:018}");
        write!(f, "{whole}.{} OPEN", digits.trim_end_matches('0'))
    }
}

/// Error of parsing an [`Amount`]; holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of OPEN; write a number such as 1.5, with at most 18 digits behind the point")]
pub struct ParseAmountError(String);

impl FromStr for Amount {
    type Err = ParseAmountError;

    /// Parses `1.5` or `1.5 OPEN`.
    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let bad = || ParseAmountError(text.to_owned());
        let number = text.strip_suffix("OPEN").unwrap_or(text).trim();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > DECIMALS as usize {
            return Err(bad());
        }
        let whole: u128 = whole.parse().map_err(|_| bad())?;
        let part: u128 = format!("{part:0<18}").parse().map_err(|_| bad())?;
        whole
            .checked_mul(ONE)
            .and_then(|w| w.checked_add(part))
            .map(Self)
            .ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_reads_back_what_it_prints() {
        for (text, amount) in [
            ("0 OPEN", Amount(0)),
            ("1.5 OPEN", Amount(ONE * 3 / 2)),
            ("0.000000000000000001 OPEN", Amount(1)),
            ("1000000000 OPEN", SUPPLY),
        ] {
            assert_eq!(amount.to_string(), text);
            assert_eq!(text.parse(), Ok(amount));
        }
    }

    #[test]
    fn a_malformed_amount_is_refused() {
        for text in [
            "",
            "-1",
            "1e3",
            "1.0000000000000000001",
            ".5",
            "1,5",
            "999999999999999999999999",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }
}

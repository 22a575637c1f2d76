//! The parameters in `config.openledger` of a genesis file.

use protocol::{Account, Amount, ValidatorKey};
use serde::{Deserialize, Serialize};

/// The chain's own parameters. An unknown key is an error, so that a misspelt one does not silently become a
/// default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Params {
    /// Blocks per epoch. Validators change only at heights that are multiples of it.
    pub epoch_length: u64,
    /// Most validators. Those with the largest stakes vote.
    #[serde(default = "default_validators_max")]
    pub validators_max: u32,
    #[serde(with = "amount_text")]
    pub minimum_stake: Amount,
    /// Blocks between the request to unstake and the payment.
    pub unbonding_blocks: u64,
    /// Lower bound of the base fee, in the smallest unit.
    #[serde(default = "default_base_fee_min")]
    pub base_fee_min: u64,
    /// Timing of consensus.
    #[serde(default)]
    pub timing: Timing,
    /// The validators from the first block on.
    pub validators: Vec<GenesisValidator>,
}

/// A validator of genesis. The stake hub holds its stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisValidator {
    /// The account that owns the stake and earns the fees.
    pub account: Account,
    /// The key that its votes are signed with.
    pub key: ValidatorKey,
    #[serde(with = "amount_text")]
    pub stake: Amount,
}

/// Timing of consensus on all nodes of the chain. An operator can override it on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timing {
    /// Longest time without a block: an empty one is proposed after it.
    pub heartbeat_ms: u64,
    /// Shortest time between two blocks.
    pub interval_min_ms: u64,
    /// Timeout for a proposal in the first round.
    pub propose_ms: u64,
    /// Timeout for prevotes in the first round.
    pub prevote_ms: u64,
    /// Timeout for precommits in the first round.
    pub precommit_ms: u64,
    /// Increase of each timeout per further round.
    pub round_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 1_000,
            interval_min_ms: 0,
            propose_ms: 1_000,
            prevote_ms: 500,
            precommit_ms: 500,
            round_ms: 500,
        }
    }
}

const fn default_validators_max() -> u32 {
    100
}

const fn default_base_fee_min() -> u64 {
    1_000_000
}

/// Amounts as text, such as `1.5 OPEN`.
mod amount_text {
    use protocol::Amount;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(amount: &Amount, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

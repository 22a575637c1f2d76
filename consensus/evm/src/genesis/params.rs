//! What a genesis file says about this chain beyond what Ethereum's genesis files say: `config.openledger`.

use protocol::{Account, Amount, ValidatorKey};
use serde::{Deserialize, Serialize};

/// The chain's own parameters. An unknown key is an error, so that a misspelt one is not silently a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Params {
    /// Blocks per epoch: the validators change only at multiples of it.
    pub epoch_length: u64,
    /// How many validators vote at most: those with the largest stakes.
    #[serde(default = "default_validators_max")]
    pub validators_max: u32,
    /// The smallest stake of a validator.
    #[serde(with = "amount_text")]
    pub minimum_stake: Amount,
    /// Blocks between leaving and being paid out.
    pub unbonding_blocks: u64,
    /// The base fee never falls below this, in the smallest unit.
    #[serde(default = "default_base_fee_min")]
    pub base_fee_min: u64,
    /// How long consensus waits for what.
    #[serde(default)]
    pub timing: Timing,
    /// Who validates from the first block on.
    pub validators: Vec<GenesisValidator>,
}

/// A validator of genesis. Its stake is held by the stake hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisValidator {
    /// Who owns the stake and earns the fees.
    pub account: Account,
    /// The key it votes with.
    pub key: ValidatorKey,
    /// What it has at stake.
    #[serde(with = "amount_text")]
    pub stake: Amount,
}

/// Timing of consensus, the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timing {
    /// An empty block at least this often.
    pub heartbeat_ms: u64,
    /// No two blocks closer than this.
    pub interval_min_ms: u64,
    /// Patience for a proposal in the first round.
    pub propose_ms: u64,
    /// Patience for votes of the first kind.
    pub prevote_ms: u64,
    /// Patience for votes of the second kind.
    pub precommit_ms: u64,
    /// How much more patient every further round is.
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

/// Amounts as people write them: `1.5 OPEN`.
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

//! A light proof: one account and some of its slots at one final block, checked without a node and without the
//! chain.
//!
//! # The file
//!
//! One JSON object. Numbers that people compare are `0x` and hexadecimal digits; data for programs is base64 (RFC
//! 4648, with padding). An unknown key is an error.
//!
//! ```json
//! { "format": "openledger/light-proof/1",
//!   "chainId": 1337,
//!   "genesis": "0x… hash of block 0",
//!   "header": "base64 of the RLP of the block's header",
//!   "certificate": { "round": 0, "signatures": [["0x… validator key", "base64 of 64 bytes"], …] },
//!   "account": { "address": "0x…", "nonce": 0, "balance": "0x0", "storageRoot": "0x…", "codeHash": "0x…",
//!                "proof": ["base64 of a trie node", …],
//!                "slots": [{ "slot": "0x…", "value": "0x0", "proof": ["base64 of a trie node", …] }, …] } }
//! ```
//!
//! # The checks, in this order
//!
//! 1. `format`, `chainId` and `genesis` are those of the chain that the checker knows.
//! 2. `hash = keccak256(header)`, and the header contains its `number` (above 0: genesis has no certificate) and
//!    `stateRoot`.
//! 3. Signatures are in strictly ascending order of their keys, each key is a validator's, and their power is more
//!    than two thirds of the total. Power is stake shifted right, for every validator by as much as brings the sum
//!    below 2^40, and at least 1.
//! 4. Each signature is valid under ZIP-215 for the precommit of `(number, round, hash)`: the ASCII bytes
//!    `openledger/vote/1`, then big-endian chain id (8 bytes), genesis (32), `1` (precommit), number (8), round (4),
//!    `1` (for a block), hash (32).
//! 5. `keccak256(address)` leads through `proof` from `stateRoot` to the RLP of `[nonce, balance, storageRoot,
//!    codeHash]`; for the empty account, to nothing. Each slot likewise: `keccak256` of its 32 bytes leads from
//!    `storageRoot` to the RLP of its value; for zero, to nothing.
//!
//! # What is trusted
//!
//! Only the validator set that the checker brings. The set of genesis is enough as long as more than two thirds of
//! its stake still signs. It proves less as those validators leave, because a validator that has withdrawn its
//! stake loses nothing by signing another history. A careful checker brings the set of a recent block that it
//! trusts.
//!
//! Left out: how validators changed since genesis. A proof of that needs a header, a certificate and the stake
//! hub's storage for each epoch, more than everything else in the file.

mod base64_serde;
mod check;

#[cfg(test)]
mod tests;

use alloy_primitives::{Address, B256, Bytes, U256};
use protocol::{ValidatorKey, crypto::Signature};
use serde::{Deserialize, Serialize};

pub use check::{FinalBlock, LightError, founders};

/// The `format` of a proof file. Another layout gets another name.
pub const FORMAT: &str = "openledger/light-proof/1";
/// Largest proof file, in bytes: 1,024 slots of a very large contract.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// A proof of one account at one final block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LightProof {
    /// Must be [`FORMAT`].
    pub format: String,
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The hash of block 0.
    pub genesis: B256,
    /// The RLP of the block's header.
    #[serde(with = "base64_serde::base64")]
    pub header: Bytes,
    /// The certificate that made the block final.
    pub certificate: Signatures,
    pub account: ProvenAccount,
}

/// A commit certificate without the fields that the header contains already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    pub round: u32,
    /// Signatures of validators, in the order of their keys.
    #[serde(with = "base64_serde::signatures")]
    pub signatures: Vec<(ValidatorKey, Signature)>,
}

/// An account and the trie nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvenAccount {
    pub address: Address,
    pub nonce: u64,
    pub balance: U256,
    pub storage_root: B256,
    pub code_hash: B256,
    /// Trie nodes from the state root to the account.
    #[serde(with = "base64_serde::nodes")]
    pub proof: Vec<Bytes>,
    /// The proven slots of the account's storage, not all of them.
    pub slots: Vec<ProvenSlot>,
}

/// A storage slot and the trie nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenSlot {
    pub slot: B256,
    /// Zero if the slot was never set.
    pub value: U256,
    /// Trie nodes from the storage root to the slot.
    #[serde(with = "base64_serde::nodes")]
    pub proof: Vec<Bytes>,
}

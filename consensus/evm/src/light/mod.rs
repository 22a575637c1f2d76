//! A light proof: one account and some of its slots at one final block, checkable without a node and without the chain.
//!
//! # The file
//!
//! One JSON object. Numbers that people compare are `0x` and hexadecimal digits; what only programs read is base64 (RFC
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
//! # What is checked, in this order
//!
//! 1. `format`, `chainId` and `genesis` are those of the chain that the checker knows.
//! 2. `hash = keccak256(header)`, and the header names its `number` (above 0: nobody signs genesis) and `stateRoot`.
//! 3. Signatures are in the strict order of their keys, each key is a validator's, and their power is more than two thirds
//!    of everyone's. Power is stake shifted right, for everyone by as much as brings the sum below 2^40, and at least 1.
//! 4. Each signature holds under ZIP-215 for the precommit of `(number, round, hash)`: the ASCII bytes
//!    `openledger/vote/1`, then big-endian chain id (8 bytes), genesis (32), `1` (precommit), number (8), round (4), `1`
//!    (for a block), hash (32).
//! 5. `keccak256(address)` leads through `proof` from `stateRoot` to the RLP of `[nonce, balance, storageRoot, codeHash]`;
//!    for the empty account, to nothing. Each slot likewise: `keccak256` of its 32 bytes leads from `storageRoot` to the RLP
//!    of its value; for zero, to nothing.
//!
//! # What is trusted
//!
//! The set of validators that the checker brings, and nothing else. The set of genesis is enough for as long as more than
//! two thirds of its stake still signs. It proves less and less as those validators leave: who has withdrawn its stake
//! loses nothing by signing another history. A checker that cares brings the set of a recent block it trusts.
//! Left out: how validators changed since genesis. A proof of that is a header, a certificate and the stake hub's storage
//! for each epoch, longer than everything else here.

mod check;
mod text;

#[cfg(test)]
mod tests;

use alloy_primitives::{Address, B256, Bytes, U256};
use protocol::{ValidatorKey, crypto::Signature};
use serde::{Deserialize, Serialize};

pub use check::{Final, LightError, founders};

/// The name of this format.
pub const FORMAT: &str = "openledger/light-proof/1";
/// No proof file is longer: 1,024 slots of a very large contract.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// One account at one final block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LightProof {
    /// [`FORMAT`].
    pub format: String,
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The hash of block 0.
    pub genesis: B256,
    /// The RLP of the block's header.
    #[serde(with = "text::base64")]
    pub header: Bytes,
    /// What made the block final.
    pub certificate: Signatures,
    /// What is proven about it.
    pub account: ProvenAccount,
}

/// A commit certificate without what the header says already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// The round that decided.
    pub round: u32,
    /// Who signed, in the order of their keys.
    #[serde(with = "text::signatures")]
    pub signatures: Vec<(ValidatorKey, Signature)>,
}

/// An account and the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvenAccount {
    /// Whose.
    pub address: Address,
    /// Transactions it has sent, or contracts it has created.
    pub nonce: u64,
    /// What it holds, in the smallest unit.
    pub balance: U256,
    /// The root of its storage.
    pub storage_root: B256,
    /// The hash of its code.
    pub code_hash: B256,
    /// From the state root to it.
    #[serde(with = "text::nodes")]
    pub proof: Vec<Bytes>,
    /// Some of its storage.
    pub slots: Vec<ProvenSlot>,
}

/// A slot of its storage and the nodes that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenSlot {
    /// Which.
    pub slot: B256,
    /// What it holds.
    pub value: U256,
    /// From the storage root to it.
    #[serde(with = "text::nodes")]
    pub proof: Vec<Bytes>,
}

//! Blocks of this chain: how they are encoded and what a valid header says.
//!
//! They are Ethereum's post-merge blocks with these differences, and no other:
//! a timestamp may equal its parent's, so that blocks can be faster than a second; `parent_beacon_block_root` is the
//! digest of the certificate that finalised the parent; `mix_hash` is derived from the parent and is nothing to bet on;
//! the gas limit is genesis's; there are no uncles, withdrawals, blobs or requests.

use alloy_consensus::{
    Block, BlockBody, EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, TxEnvelope, constants::EMPTY_WITHDRAWALS, proofs,
};
use alloy_eips::{Typed2718, eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B64, B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use protocol::Time;

use crate::chain::ChainSpec;

/// The largest encoding of a block.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// Of which this much is left for the header and the frame.
pub const BLOCK_FRAME_BYTES: usize = 4 << 10;
/// How far ahead of a node's clock a block may be.
pub const AHEAD_MAX_S: u64 = 15;

/// A block with the transactions that this chain has.
pub type ChainBlock = Block<TxEnvelope>;

/// Why a block is refused before it is executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Longer than any block.
    #[error("{found} bytes are more than the {BLOCK_BYTES_MAX} of a block")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not the one encoding of a block.
    #[error("not a block: {0}")]
    Encoding(String),
    /// It holds a blob transaction.
    #[error("transaction {0} carries blobs (type 3), which this chain does not have")]
    Blobs(usize),
    /// It lists uncles.
    #[error("it lists uncles, which this chain does not have")]
    Ommers,
    /// It lists withdrawals, or has no list of them.
    #[error("its list of withdrawals must be there and be empty")]
    Withdrawals,
    /// A field of its header is not what its place in the chain demands.
    #[error("{field} is {found}, must be {wanted}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        wanted: String,
    },
    /// Before its parent.
    #[error("timestamp is {found}, before its parent's {parent}")]
    TooEarly {
        /// Its time, in seconds.
        found: u64,
        /// Its parent's.
        parent: u64,
    },
    /// In the future.
    #[error("timestamp is {found}, more than {AHEAD_MAX_S} s ahead of {now}")]
    TooLate {
        /// Its time, in seconds.
        found: u64,
        /// This node's.
        now: u64,
    },
    /// Not a validator's.
    #[error("beneficiary {0} is not a validator's account")]
    Beneficiary(Address),
    /// More gas than there is.
    #[error("gas used {used} is above the limit {limit}")]
    GasUsed {
        /// What it claims.
        used: u64,
        /// The limit.
        limit: u64,
    },
}

/// What is known about a block before it is there.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The block below it.
    pub parent: &'a Header,
    /// That block's name.
    pub parent_hash: B256,
    /// This node's clock.
    pub now: Time,
    /// The digest of the certificate that finalised the parent.
    pub parent_certificate: B256,
    /// Who may have proposed it.
    pub proposers: &'a [Address],
}

/// The header of the block above `parent`, with everything that follows from its place. What follows from its
/// transactions is unset.
pub fn template(
    spec: &ChainSpec,
    parent: &Header,
    parent_hash: B256,
    timestamp_s: u64,
    proposer: Address,
    parent_certificate: B256,
) -> Header {
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: proposer,
        transactions_root: EMPTY_ROOT_HASH,
        difficulty: U256::ZERO,
        number: parent.number + 1,
        gas_limit: parent.gas_limit,
        timestamp: timestamp_s.max(parent.timestamp),
        mix_hash: prev_randao(parent_hash),
        nonce: B64::ZERO,
        base_fee_per_gas: spec.next_base_fee(parent),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(parent_certificate),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Default::default()
    }
}

/// What `PREVRANDAO` returns. Everyone knows it a block ahead: nothing to bet on.
pub fn prev_randao(parent_hash: B256) -> B256 {
    keccak256([b"openledger/prev_randao".as_slice(), parent_hash.as_slice()].concat())
}

/// A block's encoding.
pub fn encode(header: Header, transactions: Vec<TxEnvelope>) -> Vec<u8> {
    let body = BlockBody {
        transactions,
        ommers: Vec::new(),
        withdrawals: Some(Withdrawals::default()),
    };
    alloy_rlp::encode(ChainBlock::new(header, body))
}

/// The encoding of block 0, on any chain: it has no body, and a list of withdrawals where its header has their root.
pub(crate) fn encode_genesis(header: Header) -> Vec<u8> {
    let body = BlockBody {
        withdrawals: header.withdrawals_root.map(|_| Withdrawals::default()),
        ..BlockBody::default()
    };
    alloy_rlp::encode(ChainBlock::new(header, body))
}

/// Decodes a block of any chain that was checked before it was stored: only that its body belongs to its header.
pub(crate) fn reread(mut bytes: &[u8]) -> Option<ChainBlock> {
    let block = ChainBlock::decode(&mut bytes).ok()?;
    let (header, body) = (&block.header, &block.body);
    let withdrawals = body
        .withdrawals
        .as_ref()
        .map(|list| proofs::calculate_withdrawals_root(list));
    let belongs = bytes.is_empty()
        && header.transactions_root == proofs::calculate_transaction_root(&body.transactions)
        && header.ommers_hash == proofs::calculate_ommers_root(&body.ommers)
        && header.withdrawals_root == withdrawals;
    belongs.then_some(block)
}

/// Decodes a block and checks what can be checked without its parent.
pub fn decode(bytes: &[u8]) -> Result<ChainBlock, BlockError> {
    if bytes.len() > BLOCK_BYTES_MAX {
        return Err(BlockError::TooLong { found: bytes.len() });
    }
    let mut rest = bytes;
    let block = ChainBlock::decode(&mut rest).map_err(|error| BlockError::Encoding(error.to_string()))?;
    if !rest.is_empty() {
        return Err(BlockError::Encoding(format!("{} bytes follow it", rest.len())));
    }
    if let Some(index) = block.body.transactions.iter().position(Typed2718::is_eip4844) {
        return Err(BlockError::Blobs(index));
    }
    // One block, one encoding: otherwise two nodes could log different bytes under one name.
    if block.length() != bytes.len() || alloy_rlp::encode(&block) != bytes {
        return Err(BlockError::Encoding("it is not encoded canonically".into()));
    }
    if !block.body.ommers.is_empty() {
        return Err(BlockError::Ommers);
    }
    if block.body.withdrawals.as_ref().is_none_or(|list| !list.is_empty()) {
        return Err(BlockError::Withdrawals);
    }
    same(
        "transactions root",
        block.header.transactions_root,
        proofs::calculate_transaction_root(&block.body.transactions),
    )?;
    Ok(block)
}

/// Only the header at the front of a block, nothing checked.
pub fn peek(bytes: &[u8]) -> Option<Header> {
    let mut body = alloy_rlp::Header::decode_bytes(&mut &*bytes, true).ok()?;
    Header::decode(&mut body).ok()
}

/// Checks a header against its place in the chain.
pub fn check(spec: &ChainSpec, header: &Header, expected: &Expected<'_>) -> Result<(), BlockError> {
    let Expected {
        parent,
        parent_hash,
        now,
        parent_certificate,
        proposers,
    } = *expected;
    if header.timestamp < parent.timestamp {
        return Err(BlockError::TooEarly {
            found: header.timestamp,
            parent: parent.timestamp,
        });
    }
    if header.timestamp > now.as_secs().saturating_add(AHEAD_MAX_S) {
        return Err(BlockError::TooLate {
            found: header.timestamp,
            now: now.as_secs(),
        });
    }
    if !proposers.contains(&header.beneficiary) {
        return Err(BlockError::Beneficiary(header.beneficiary));
    }
    let wanted = template(
        spec,
        parent,
        parent_hash,
        header.timestamp,
        header.beneficiary,
        parent_certificate,
    );
    same("parent hash", header.parent_hash, wanted.parent_hash)?;
    same("number", header.number, wanted.number)?;
    same("gas limit", header.gas_limit, wanted.gas_limit)?;
    same(
        "base fee",
        header.base_fee_per_gas.unwrap_or(0),
        wanted.base_fee_per_gas.unwrap_or(0),
    )?;
    same(
        "parent beacon block root",
        shown(header.parent_beacon_block_root),
        shown(wanted.parent_beacon_block_root),
    )?;
    same("mix hash", header.mix_hash, wanted.mix_hash)?;
    same("ommers hash", header.ommers_hash, wanted.ommers_hash)?;
    same(
        "withdrawals root",
        shown(header.withdrawals_root),
        shown(wanted.withdrawals_root),
    )?;
    same(
        "requests hash",
        shown(header.requests_hash),
        shown(wanted.requests_hash),
    )?;
    same("difficulty", header.difficulty, wanted.difficulty)?;
    same("nonce", header.nonce, wanted.nonce)?;
    same("extra data", &header.extra_data, &wanted.extra_data)?;
    same(
        "blob gas used",
        shown_u64(header.blob_gas_used),
        shown_u64(wanted.blob_gas_used),
    )?;
    same(
        "excess blob gas",
        shown_u64(header.excess_blob_gas),
        shown_u64(wanted.excess_blob_gas),
    )?;
    if header.gas_used > header.gas_limit {
        return Err(BlockError::GasUsed {
            used: header.gas_used,
            limit: header.gas_limit,
        });
    }
    // What is left are fields that execution fills in; a header with fields of later forks is not one of this chain.
    let filled = Header {
        state_root: header.state_root,
        transactions_root: header.transactions_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom,
        gas_used: header.gas_used,
        ..wanted
    };
    if *header != filled {
        return Err(BlockError::Encoding(
            "its header has fields that this chain does not have".into(),
        ));
    }
    Ok(())
}

fn same<T: PartialEq + ToString>(field: &'static str, found: T, wanted: T) -> Result<(), BlockError> {
    if found == wanted {
        return Ok(());
    }
    Err(BlockError::Field {
        field,
        found: found.to_string(),
        wanted: wanted.to_string(),
    })
}

fn shown(hash: Option<B256>) -> String {
    hash.map_or_else(|| "missing".into(), |hash| hash.to_string())
}

fn shown_u64(number: Option<u64>) -> String {
    number.map_or_else(|| "missing".into(), |number| number.to_string())
}

//! The encoding of blocks and the rules of their headers.
//!
//! Blocks are Ethereum's post-merge blocks with these differences, and no other:
//! - A timestamp may equal its parent's, so that blocks can be faster than one a second.
//! - `parent_beacon_block_root` is the digest of the certificate that finalised the parent.
//! - `mix_hash` is derived from the parent's hash. It is known a block ahead and is no source of randomness.
//! - The gas limit is genesis's.
//! - There are no uncles, withdrawals, blobs or EIP-7685 requests.

use alloy_consensus::{
    Block, BlockBody, EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, TxEnvelope, constants::EMPTY_WITHDRAWALS, proofs,
};
use alloy_eips::{Typed2718, eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B64, B256, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use protocol::Time;

use crate::chain::ChainSpec;

/// Largest encoding of a block, in bytes. A longer one is refused before it is decoded.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// The part of [`BLOCK_BYTES_MAX`] that is reserved for the header and the RLP framing.
pub const BLOCK_FRAME_BYTES: usize = 4 << 10;
/// Most seconds by which a block's timestamp may be ahead of a node's clock.
pub const AHEAD_MAX_S: u64 = 15;

/// A block with the transaction types of this chain.
pub type ChainBlock = Block<TxEnvelope>;

/// Reason that a block is refused before it is executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("{found} bytes are more than the {BLOCK_BYTES_MAX} of a block")]
    TooLong { found: usize },
    /// The bytes do not decode, or are not the canonical encoding of what they decode to.
    #[error("not a block: {0}")]
    Encoding(String),
    /// The transaction at this index carries blobs.
    #[error("transaction {0} carries blobs (type 3), which this chain does not have")]
    Blobs(usize),
    #[error("it lists uncles, which this chain does not have")]
    Ommers,
    #[error("its list of withdrawals must be there and be empty")]
    Withdrawals,
    /// A header field is not the one that follows from the block's place in the chain.
    #[error("{field} is {found}, must be {wanted}")]
    Field {
        field: &'static str,
        found: String,
        wanted: String,
    },
    #[error("timestamp is {found}, before its parent's {parent}")]
    TooEarly { found: u64, parent: u64 },
    #[error("timestamp is {found}, more than {AHEAD_MAX_S} s ahead of {now}")]
    TooLate { found: u64, now: u64 },
    #[error("beneficiary {0} is not a validator's account")]
    Beneficiary(Address),
    #[error("gas used {used} is above the limit {limit}")]
    GasUsed { used: u64, limit: u64 },
}

/// The place of a block in the chain, against which its header is checked.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub parent: &'a Header,
    pub parent_hash: B256,
    pub now: Time,
    /// Digest of the certificate that finalised the parent.
    pub parent_certificate: B256,
    /// The accounts of the validators, one of which must be the beneficiary.
    pub proposers: &'a [Address],
}

/// The header of the block above `parent`. Every field that follows from its place is set; fields that follow from
/// its transactions are not.
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

/// The value of `PREVRANDAO`. It follows from the parent's hash, so it is known a block ahead: contracts must
/// not use it as randomness.
pub fn prev_randao(parent_hash: B256) -> B256 {
    keccak256([b"openledger/prev_randao".as_slice(), parent_hash.as_slice()].concat())
}

/// The RLP of a block of this chain, with an empty list of withdrawals. [`decode`] accepts exactly these bytes.
pub fn encode(header: Header, transactions: Vec<TxEnvelope>) -> Vec<u8> {
    let body = BlockBody {
        transactions,
        ommers: Vec::new(),
        withdrawals: Some(Withdrawals::default()),
    };
    alloy_rlp::encode(ChainBlock::new(header, body))
}

/// The RLP of block 0 of any chain. Its body is empty, with a list of withdrawals where the header has a
/// withdrawals root.
pub(crate) fn encode_genesis(header: Header) -> Vec<u8> {
    let body = BlockBody {
        withdrawals: header.withdrawals_root.map(|_| Withdrawals::default()),
        ..BlockBody::default()
    };
    alloy_rlp::encode(ChainBlock::new(header, body))
}

/// Decodes a block of any chain that was fully checked before it was stored. Only checks that the body belongs to
/// the header.
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

/// Decodes a block and makes all checks that need no parent.
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
    // One block has one encoding. Otherwise two nodes could log different bytes under one hash.
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

/// Decodes the header at the start of a block and checks nothing.
pub fn peek(bytes: &[u8]) -> Option<Header> {
    let mut body = alloy_rlp::Header::decode_bytes(&mut &*bytes, true).ok()?;
    Header::decode(&mut body).ok()
}

/// Checks a header against its place in the chain. Fields that only execution knows are not checked here; see
/// [`crate::seal`].
pub fn check(spec: &ChainSpec, header: &Header, expected: &Expected<'_>) -> Result<(), BlockError> {
    let Expected {
        parent,
        parent_hash,
        now,
        parent_certificate,
        proposers,
    } = *expected;
    check_timestamp(header.timestamp, parent.timestamp, now)?;
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
    check_fields(header, &wanted)?;
    if header.gas_used > header.gas_limit {
        return Err(BlockError::GasUsed {
            used: header.gas_used,
            limit: header.gas_limit,
        });
    }
    // The remaining fields are filled in by execution. A header with fields of later forks is refused.
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

/// A timestamp may equal the parent's, so that blocks can be faster than one a second.
fn check_timestamp(found: u64, parent: u64, now: Time) -> Result<(), BlockError> {
    let now = now.as_secs();
    if found < parent {
        Err(BlockError::TooEarly { found, parent })
    } else if found > now.saturating_add(AHEAD_MAX_S) {
        Err(BlockError::TooLate { found, now })
    } else {
        Ok(())
    }
}

/// Compares the fields that follow from the place of a block. Each has its own error, so that a refusal names the field.
fn check_fields(header: &Header, wanted: &Header) -> Result<(), BlockError> {
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
    )
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

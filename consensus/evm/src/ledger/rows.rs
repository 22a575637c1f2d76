//! The rows that a committed block adds beside the state: indexes and receipts.
//!
//! | key | value |
//! |---|---|
//! | `g` | hash of genesis |
//! | `tip` | header of the tip, RLP |
//! | `epoch` | the validators around the tip |
//! | `n` height | hash of the block |
//! | `h` block hash | height |
//! | `t` transaction hash | height, index in the block |
//! | `r` height, chunk | a chunk of the block's receipts, 60,000 bytes but for the last |
//!
//! Integers are big-endian. Blocks themselves are in the block log. Receipts are stored without their bloom
//! filters, which follow from the logs and would be most of the bytes.

use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, TxReceipt, TxType};
use alloy_primitives::{B256, Log};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use consensus::execution::{Epoch, Staker};
use protocol::{Account, Amount, ValidatorKey};

use crate::state::{Kv, KvError, Row, StateReader};

const CHUNK_LEN: usize = 60_000;

pub(crate) const GENESIS: &[u8] = b"g";
pub(crate) const TIP: &[u8] = b"tip";
pub(crate) const EPOCH: &[u8] = b"epoch";

/// A row beside the state that cannot be read. The state database can then be rebuilt from the block log.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Database(#[from] KvError),
    /// The row is missing or does not decode.
    #[error("the row of {0} is missing or damaged; move the state database aside and it is rebuilt from the block log")]
    Damaged(String),
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredReceipt {
    kind: u8,
    /// The status, or on imported chains before Byzantium the state root after the transaction.
    outcome: Eip658Value,
    cumulative_gas_used: u64,
    logs: Vec<Log>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredStaker {
    key: B256,
    account: alloy_primitives::Address,
    stake: u128,
}

/// All rows of a block, with the one for the tip.
pub(crate) fn of_block(header: &Header, hash: B256, transactions: &[B256], receipts: &[ReceiptEnvelope]) -> Vec<Row> {
    let height = header.number.to_be_bytes();
    let mut rows = vec![
        (TIP.to_vec(), Some(alloy_rlp::encode(header))),
        (number_key(header.number), Some(hash.to_vec())),
        (key(b'h', hash.as_slice()), Some(height.to_vec())),
    ];
    rows.extend((0_u32..).zip(transactions).map(|(index, transaction)| {
        (
            key(b't', transaction.as_slice()),
            Some([&height[..], &index.to_be_bytes()].concat()),
        )
    }));
    let stored: Vec<StoredReceipt> = receipts.iter().map(store).collect();
    let bytes = alloy_rlp::encode(stored);
    // A full last chunk is followed by an empty one, so that the end is always recognised.
    let chunks = bytes.chunks(CHUNK_LEN).map(<[u8]>::to_vec);
    let end = bytes.len().is_multiple_of(CHUNK_LEN).then(Vec::new);
    rows.extend(
        (0_u32..)
            .zip(chunks.chain(end))
            .map(|(n, chunk)| (receipt_key(header.number, n), Some(chunk))),
    );
    rows
}

/// The hash of the block at this height.
pub(crate) fn hash_at<K: Kv>(reader: &StateReader<K>, height: u64) -> Result<Option<B256>, RowError> {
    let row = reader.row(&number_key(height))?;
    row.map(|row| B256::try_from(&row[..]).map_err(|_| RowError::Damaged(format!("block {height}"))))
        .transpose()
}

/// The height of the block with this hash.
pub(crate) fn height_of<K: Kv>(reader: &StateReader<K>, hash: &B256) -> Result<Option<u64>, RowError> {
    let damaged = || RowError::Damaged(format!("block {hash}"));
    let row = reader.row(&key(b'h', hash.as_slice()))?;
    row.map(|row| row.try_into().map(u64::from_be_bytes).map_err(|_| damaged()))
        .transpose()
}

/// The height of a transaction's block and its index there.
pub(crate) fn transaction_position<K: Kv>(
    reader: &StateReader<K>,
    hash: &B256,
) -> Result<Option<(u64, u32)>, RowError> {
    let damaged = || RowError::Damaged(format!("transaction {hash}"));
    let Some(row) = reader.row(&key(b't', hash.as_slice()))? else {
        return Ok(None);
    };
    let (height, index) = row.split_first_chunk().ok_or_else(damaged)?;
    let index = index.try_into().map_err(|_| damaged())?;
    Ok(Some((u64::from_be_bytes(*height), u32::from_be_bytes(index))))
}

/// The receipts of the block at this height; `None` if no block was committed there.
pub(crate) fn receipts_at<K: Kv>(
    reader: &StateReader<K>,
    height: u64,
) -> Result<Option<Vec<ReceiptEnvelope>>, RowError> {
    let damaged = || RowError::Damaged(format!("the receipts of block {height}"));
    let mut bytes = Vec::new();
    for chunk in 0_u32.. {
        match reader.row(&receipt_key(height, chunk))? {
            None if chunk == 0 => return Ok(None),
            None => return Err(damaged()),
            Some(row) => bytes.extend_from_slice(&row),
        }
        if !bytes.len().is_multiple_of(CHUNK_LEN) || bytes.len() < (chunk as usize + 1) * CHUNK_LEN {
            break;
        }
    }
    let stored = Vec::<StoredReceipt>::decode(&mut &bytes[..]).map_err(|_| damaged())?;
    stored
        .into_iter()
        .map(|receipt| restore(receipt).ok_or_else(damaged))
        .collect::<Result<_, _>>()
        .map(Some)
}

pub(crate) fn encode_epoch(epoch: &Epoch) -> Vec<u8> {
    let list = |stakers: &[Staker]| -> Vec<StoredStaker> {
        let stored = |staker: &Staker| StoredStaker {
            key: staker.key.0.into(),
            account: staker.account.0.into(),
            stake: staker.stake.0,
        };
        stakers.iter().map(stored).collect()
    };
    alloy_rlp::encode(vec![list(&epoch.voting), list(&epoch.previous)])
}

pub(crate) fn decode_epoch(mut row: &[u8]) -> Result<Epoch, RowError> {
    let damaged = || RowError::Damaged("the epoch".into());
    let list = |stored: Vec<StoredStaker>| -> Vec<Staker> {
        let staker = |stored: StoredStaker| Staker {
            key: ValidatorKey(stored.key.0),
            account: Account(stored.account.0.0),
            stake: Amount(stored.stake),
        };
        stored.into_iter().map(staker).collect()
    };
    let lists = Vec::<Vec<StoredStaker>>::decode(&mut row).map_err(|_| damaged())?;
    let [voting, previous] = <[_; 2]>::try_from(lists).map_err(|_| damaged())?;
    Ok(Epoch {
        voting: list(voting),
        previous: list(previous),
    })
}

fn store(receipt: &ReceiptEnvelope) -> StoredReceipt {
    StoredReceipt {
        kind: receipt.tx_type() as u8,
        outcome: receipt.status_or_post_state(),
        cumulative_gas_used: receipt.cumulative_gas_used(),
        logs: receipt.logs().to_vec(),
    }
}

fn restore(stored: StoredReceipt) -> Option<ReceiptEnvelope> {
    let receipt = Receipt {
        status: stored.outcome,
        cumulative_gas_used: stored.cumulative_gas_used,
        logs: stored.logs,
    }
    .with_bloom();
    Some(match TxType::try_from(stored.kind).ok()? {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    })
}

fn key(table: u8, rest: &[u8]) -> Vec<u8> {
    [&[table], rest].concat()
}

fn number_key(height: u64) -> Vec<u8> {
    key(b'n', &height.to_be_bytes())
}

fn receipt_key(height: u64, chunk: u32) -> Vec<u8> {
    key(b'r', &[&height.to_be_bytes()[..], &chunk.to_be_bytes()].concat())
}

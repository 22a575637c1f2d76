//! Blocks, transactions, receipts and logs in the shapes that JSON-RPC has for them.

use alloy_consensus::{
    BlockBody, Header, Sealable, Signed, Transaction as _, TxEip4844Variant, TxEnvelope, transaction::Recovered,
};
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Log, Transaction, TransactionReceipt};
use consensus::mempool::Pooled;
use evm::{
    block::ChainBlock,
    pool_tx,
    view::{Included, PlacedReceipt},
};

use super::{Shown, failure::Failure};

/// A transaction that was included.
pub(crate) fn included(found: Included) -> Transaction {
    let Included {
        transaction,
        index,
        header,
        block,
    } = found;
    placed(transaction, u64::from(index), &header, B256::from(block.0))
}

pub(crate) fn placed(transaction: Recovered<TxEnvelope>, index: u64, header: &Header, block: B256) -> Transaction {
    Transaction {
        effective_gas_price: Some(transaction.effective_gas_price(header.base_fee_per_gas)),
        inner: transaction,
        block_hash: Some(block),
        block_number: Some(header.number),
        transaction_index: Some(index),
        block_timestamp: Some(header.timestamp),
    }
}

/// A transaction that waits.
pub(crate) fn waiting(pooled: &Pooled) -> Transaction {
    let transaction = pool_tx::decode_foreign(&pooled.raw).expect("what is in the mempool was decoded before");
    // Blobs are for the network, not for readers.
    let transaction = without_blobs(transaction);
    Transaction {
        effective_gas_price: Some(transaction.max_fee_per_gas()),
        inner: Recovered::new_unchecked(transaction, Address::from(pooled.sender.0)),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        block_timestamp: None,
    }
}

fn without_blobs(transaction: TxEnvelope) -> TxEnvelope {
    match transaction {
        TxEnvelope::Eip4844(signed) => {
            let (transaction, signature, hash) = signed.into_parts();
            let plain = TxEip4844Variant::TxEip4844(transaction.into());
            TxEnvelope::Eip4844(Signed::new_unchecked(plain, signature, hash))
        }
        other => other,
    }
}

/// A header as its subscribers see it.
pub(crate) fn header(header: Header) -> alloy_rpc_types_eth::Header {
    alloy_rpc_types_eth::Header::from_consensus(header.seal_slow(), None, None)
}

/// A block, with its transactions in full or by name.
pub(crate) fn block(shown: &Shown, block: ChainBlock, full: bool) -> Result<Block, Failure> {
    let size = U256::from(block.length());
    let uncles = block.body.ommers.iter().map(Header::hash_slow).collect();
    let header = block.header.clone();
    let hash = header.hash_slow();
    let withdrawals = block.body.withdrawals.clone();
    let transactions = if full {
        let place = |(index, transaction)| placed(transaction, index, &header, hash);
        BlockTransactions::Full((0_u64..).zip(shown.view.senders_of(block)?).map(place).collect())
    } else {
        BlockTransactions::Hashes(block.body.transactions.iter().map(|one| *one.tx_hash()).collect())
    };
    let header = alloy_rpc_types_eth::Header::from_consensus(header.seal_unchecked(hash), None, Some(size));
    Ok(Block {
        header,
        uncles,
        transactions,
        withdrawals,
    })
}

/// A block that another names as its uncle: only its header is known.
pub(crate) fn uncle(header: Header) -> Block {
    let size = ChainBlock::new(header.clone(), BlockBody::default()).length();
    let header = alloy_rpc_types_eth::Header::from_consensus(header.seal_slow(), None, Some(U256::from(size)));
    Block {
        header,
        uncles: Vec::new(),
        transactions: BlockTransactions::Uncle,
        withdrawals: None,
    }
}

/// Where a log was written.
pub(crate) struct LogPlace {
    pub(crate) block: B256,
    pub(crate) height: u64,
    pub(crate) timestamp_s: u64,
    pub(crate) transaction: B256,
    pub(crate) transaction_index: u64,
    pub(crate) log_index: u64,
}

/// A log.
pub(crate) fn log(inner: alloy_primitives::Log, place: LogPlace) -> Log {
    Log {
        inner,
        block_hash: Some(place.block),
        block_number: Some(place.height),
        block_timestamp: Some(place.timestamp_s),
        transaction_hash: Some(place.transaction),
        transaction_index: Some(place.transaction_index),
        log_index: Some(place.log_index),
        removed: false,
    }
}

/// A receipt.
pub(crate) fn receipt(placed: PlacedReceipt) -> TransactionReceipt {
    let PlacedReceipt {
        receipt,
        included,
        gas_used,
        blob_gas_price,
        first_log,
        created,
    } = placed;
    let Included {
        transaction,
        index,
        header,
        block,
    } = included;
    let (hash, block) = (*transaction.tx_hash(), B256::from(block.0));
    let mut log_index = first_log as u64;
    let inner = receipt.map_logs(|inner| {
        let place = LogPlace {
            block,
            height: header.number,
            timestamp_s: header.timestamp,
            transaction: hash,
            transaction_index: u64::from(index),
            log_index,
        };
        log_index += 1;
        log(inner, place)
    });
    TransactionReceipt {
        inner,
        transaction_hash: hash,
        transaction_index: Some(u64::from(index)),
        block_hash: Some(block),
        block_number: Some(header.number),
        gas_used,
        effective_gas_price: transaction.effective_gas_price(header.base_fee_per_gas),
        blob_gas_used: transaction.blob_gas_used(),
        blob_gas_price,
        from: transaction.signer(),
        to: transaction.to(),
        contract_address: created,
    }
}

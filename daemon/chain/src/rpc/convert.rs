//! Conversion of blocks, transactions, receipts and logs to their JSON-RPC types.

use alloy_consensus::{
    BlockBody, Header, Sealable, Signed, Transaction as _, TxEip4844Variant, TxEnvelope, transaction::Recovered,
};
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Log, Transaction, TransactionReceipt};
use consensus::mempool::PooledTransaction;
use evm::{
    block::ChainBlock,
    pool_tx,
    view::{IncludedReceipt, IncludedTransaction},
};

use super::{Snapshot, failure::Failure};

/// An included transaction.
pub(crate) fn included_transaction(found: IncludedTransaction) -> Transaction {
    let IncludedTransaction {
        transaction,
        index,
        header,
        block,
    } = found;
    transaction_in_block(transaction, u64::from(index), &header, B256::from(block.0))
}

/// A transaction at this position in a block.
pub(crate) fn transaction_in_block(
    transaction: Recovered<TxEnvelope>,
    index: u64,
    header: &Header,
    block: B256,
) -> Transaction {
    Transaction {
        effective_gas_price: Some(transaction.effective_gas_price(header.base_fee_per_gas)),
        inner: transaction,
        block_hash: Some(block),
        block_number: Some(header.number),
        transaction_index: Some(index),
        block_timestamp: Some(header.timestamp),
    }
}

/// A transaction in the mempool.
pub(crate) fn pending_transaction(pooled: &PooledTransaction) -> Transaction {
    let transaction = pool_tx::decode_with_blobs(&pooled.raw).expect("what is in the mempool was decoded before");
    // Blobs travel between nodes only; they are not part of the response.
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

/// A header, as subscriptions send it.
pub(crate) fn header(header: Header) -> alloy_rpc_types_eth::Header {
    alloy_rpc_types_eth::Header::from_consensus(header.seal_slow(), None, None)
}

/// A block, with full transactions or their hashes.
pub(crate) fn block(snapshot: &Snapshot, block: ChainBlock, full: bool) -> Result<Block, Failure> {
    let size = U256::from(block.length());
    let uncles = block.body.ommers.iter().map(Header::hash_slow).collect();
    let header = block.header.clone();
    let hash = header.hash_slow();
    let withdrawals = block.body.withdrawals.clone();
    let transactions = if full {
        let full = |(index, transaction)| transaction_in_block(transaction, index, &header, hash);
        BlockTransactions::Full((0_u64..).zip(snapshot.view.senders_of(block)?).map(full).collect())
    } else {
        BlockTransactions::Hashes(
            block
                .body
                .transactions
                .iter()
                .map(|transaction| *transaction.tx_hash())
                .collect(),
        )
    };
    let header = alloy_rpc_types_eth::Header::from_consensus(header.seal_unchecked(hash), None, Some(size));
    Ok(Block {
        header,
        uncles,
        transactions,
        withdrawals,
    })
}

/// An uncle, of which only the header is known.
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

/// The position of a log in the chain.
pub(crate) struct LogPosition {
    pub(crate) block: B256,
    pub(crate) height: u64,
    pub(crate) timestamp_s: u64,
    pub(crate) transaction: B256,
    pub(crate) transaction_index: u64,
    pub(crate) log_index: u64,
}

/// A log at this position.
pub(crate) fn log(inner: alloy_primitives::Log, position: LogPosition) -> Log {
    Log {
        inner,
        block_hash: Some(position.block),
        block_number: Some(position.height),
        block_timestamp: Some(position.timestamp_s),
        transaction_hash: Some(position.transaction),
        transaction_index: Some(position.transaction_index),
        log_index: Some(position.log_index),
        removed: false,
    }
}

/// A receipt.
pub(crate) fn receipt(found: IncludedReceipt) -> TransactionReceipt {
    let IncludedReceipt {
        receipt,
        included,
        gas_used,
        blob_gas_price,
        first_log,
        created,
    } = found;
    let IncludedTransaction {
        transaction,
        index,
        header,
        block,
    } = included;
    let (hash, block) = (*transaction.tx_hash(), B256::from(block.0));
    let mut log_index = first_log as u64;
    let inner = receipt.map_logs(|inner| {
        let position = LogPosition {
            block,
            height: header.number,
            timestamp_s: header.timestamp,
            transaction: hash,
            transaction_index: u64::from(index),
            log_index,
        };
        log_index += 1;
        log(inner, position)
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

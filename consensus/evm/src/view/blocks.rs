//! Blocks, transactions, receipts and logs, by height or by hash.

use alloy_consensus::{
    Header, ReceiptEnvelope, Transaction, TxEnvelope,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::Typed2718;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B256, Log};
use protocol::{BlockHash, TxHash};

use super::{View, ViewError};
use crate::{
    block::{self, ChainBlock},
    ledger::rows,
    state::Kv,
};

/// An included transaction and its place in the chain.
#[derive(Clone, Debug)]
pub struct IncludedTransaction {
    pub transaction: Recovered<TxEnvelope>,
    /// Index in the block.
    pub index: u32,
    pub header: Header,
    pub block: BlockHash,
}

/// A receipt with the fields that follow from its block.
#[derive(Clone, Debug)]
pub struct IncludedReceipt {
    pub receipt: ReceiptEnvelope,
    pub included: IncludedTransaction,
    /// Gas of this transaction alone.
    pub gas_used: u64,
    /// Price per blob gas, if the transaction carries blobs.
    pub blob_gas_price: Option<u128>,
    /// Logs in the block before this transaction's.
    pub first_log: usize,
    /// Address of the contract that the transaction created or, if it failed, would have created.
    pub created: Option<Address>,
}

impl<K: Kv> View<K> {
    /// The header at this height; `None` above the tip.
    pub fn header(&self, height: u64) -> Result<Option<Header>, ViewError> {
        Ok(self.block(height)?.map(|block| block.header))
    }

    /// The encoding of the block at this height; `None` above the tip.
    pub fn raw_block(&self, height: u64) -> Result<Option<Vec<u8>>, ViewError> {
        if height > self.head.get().header.number {
            return Ok(None);
        }
        if height == 0 {
            return Ok(Some(block::encode_genesis(Header::clone(&self.genesis))));
        }
        let bytes = self.blocks.block(height).ok_or(ViewError::Block(height))?;
        Ok(Some(bytes))
    }

    /// The block at this height; `None` above the tip. The logged block is checked against the hash that was
    /// committed.
    pub fn block(&self, height: u64) -> Result<Option<ChainBlock>, ViewError> {
        let Some(bytes) = self.raw_block(height)? else {
            return Ok(None);
        };
        let block = block::reread(&bytes).ok_or(ViewError::Block(height))?;
        if self.hash_at(height)? != Some(block.header.hash_slow()) {
            return Err(ViewError::Block(height));
        }
        Ok(Some(block))
    }

    /// The price per blob gas in this block, on chains with blobs.
    pub fn blob_fee(&self, header: &Header) -> Option<u128> {
        let params = self.spec.blob_params_at(header.timestamp)?;
        Some(params.calc_blob_fee(header.excess_blob_gas?))
    }

    /// The height of a block; `None` if it was not committed.
    pub fn height_of(&self, hash: BlockHash) -> Result<Option<u64>, ViewError> {
        Ok(rows::height_of(&self.reader, &B256::from(hash.0))?)
    }

    /// The hash of the block at this height; `None` above the tip.
    pub fn block_hash(&self, height: u64) -> Result<Option<BlockHash>, ViewError> {
        Ok(self.hash_at(height)?.map(|hash| BlockHash(hash.0)))
    }

    /// The transactions of a block with their senders. Cached senders are not recovered again.
    pub fn senders_of(&self, block: ChainBlock) -> Result<Vec<Recovered<TxEnvelope>>, ViewError> {
        let height = block.header.number;
        let transactions = block.body.transactions;
        if self.spec.is_homestead_active_at_block(height) {
            return self
                .senders
                .recover_all(transactions)
                .map_err(|_| ViewError::Block(height));
        }
        // On imported chains: before Homestead a signature may have a high `s` (EIP-2).
        let recover = |transaction: TxEnvelope| {
            let sender = transaction
                .recover_signer_unchecked()
                .map_err(|_| ViewError::Block(height))?;
            Ok(Recovered::new_unchecked(transaction, sender))
        };
        transactions.into_iter().map(recover).collect()
    }

    /// A transaction with its sender; `None` if its signature is invalid.
    pub fn recover(&self, transaction: TxEnvelope) -> Option<Recovered<TxEnvelope>> {
        self.senders.recover(transaction)
    }

    /// Height and index of an included transaction. Its block may not be durable yet: a reader that shows durable
    /// blocks only must compare the height first.
    pub fn position(&self, hash: TxHash) -> Result<Option<(u64, u32)>, ViewError> {
        Ok(rows::transaction_position(&self.reader, &B256::from(hash.0))?)
    }

    /// An included transaction by hash; `None` if no committed block contains it.
    pub fn transaction(&self, hash: TxHash) -> Result<Option<IncludedTransaction>, ViewError> {
        let Some((height, index)) = rows::transaction_position(&self.reader, &B256::from(hash.0))? else {
            return Ok(None);
        };
        let block = self.block(height)?.ok_or(ViewError::Block(height))?;
        let (header, name) = (block.header.clone(), BlockHash(block.header.hash_slow().0));
        let transaction = self
            .senders_of(block)?
            .into_iter()
            .nth(index as usize)
            .ok_or(ViewError::Block(height))?;
        Ok(Some(IncludedTransaction {
            transaction,
            index,
            header,
            block: name,
        }))
    }

    /// The receipts of the block at this height; `None` above the tip.
    pub fn receipts(&self, height: u64) -> Result<Option<Vec<ReceiptEnvelope>>, ViewError> {
        Ok(rows::receipts_at(&self.reader, height)?)
    }

    /// The receipts of the block at this height with their transactions; `None` above the tip.
    pub fn receipts_with_transactions(&self, height: u64) -> Result<Option<Vec<IncludedReceipt>>, ViewError> {
        let (Some(receipts), Some(block)) = (self.receipts(height)?, self.block(height)?) else {
            return Ok(None);
        };
        let (header, name) = (block.header.clone(), BlockHash(block.header.hash_slow().0));
        let transactions = self.senders_of(block)?;
        if transactions.len() != receipts.len() {
            return Err(ViewError::Block(height));
        }
        let blob_fee = self.blob_fee(&header);
        let (mut gas_before, mut first_log) = (0, 0);
        let place = |((index, transaction), receipt): ((u32, Recovered<TxEnvelope>), ReceiptEnvelope)| {
            let created = transaction
                .is_create()
                .then(|| transaction.signer().create(transaction.nonce()));
            let found = IncludedReceipt {
                gas_used: receipt.cumulative_gas_used() - gas_before,
                blob_gas_price: blob_fee.filter(|_| transaction.is_eip4844()),
                first_log,
                created,
                included: IncludedTransaction {
                    transaction,
                    index,
                    header: header.clone(),
                    block: name,
                },
                receipt,
            };
            gas_before = found.receipt.cumulative_gas_used();
            first_log += found.receipt.logs().len();
            found
        };
        Ok(Some((0_u32..).zip(transactions).zip(receipts).map(place).collect()))
    }

    /// The receipt of an included transaction; `None` if no committed block contains it.
    pub fn receipt(&self, hash: TxHash) -> Result<Option<IncludedReceipt>, ViewError> {
        let Some((height, index)) = rows::transaction_position(&self.reader, &B256::from(hash.0))? else {
            return Ok(None);
        };
        let receipts = self
            .receipts_with_transactions(height)?
            .ok_or(ViewError::Block(height))?;
        Ok(receipts.into_iter().nth(index as usize))
    }

    /// The logs of the block at this height, each with the index of its transaction; `None` above the tip.
    pub fn logs(&self, height: u64) -> Result<Option<Vec<(u32, Log)>>, ViewError> {
        let Some(receipts) = self.receipts(height)? else {
            return Ok(None);
        };
        let logs = (0_u32..)
            .zip(&receipts)
            .flat_map(|(index, receipt)| receipt.logs().iter().map(move |log| (index, log.clone())));
        Ok(Some(logs.collect()))
    }
}

//! Blocks, transactions, receipts and logs by height or by name.

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

/// A transaction where it was included.
#[derive(Clone, Debug)]
pub struct Included {
    /// The transaction and its sender.
    pub transaction: Recovered<TxEnvelope>,
    /// Its place in the block.
    pub index: u32,
    /// The header of the block.
    pub header: Header,
    /// The name of the block.
    pub block: BlockHash,
}

/// A receipt where it belongs, with what it takes its block to know.
#[derive(Clone, Debug)]
pub struct PlacedReceipt {
    /// What the transaction did.
    pub receipt: ReceiptEnvelope,
    /// The transaction.
    pub included: Included,
    /// Gas it used by itself.
    pub gas_used: u64,
    /// What it paid per blob gas, if it carries blobs.
    pub blob_gas_price: Option<u128>,
    /// How many logs the block has before its own.
    pub first_log: usize,
    /// The address of the contract it created or, if it failed, would have created.
    pub created: Option<Address>,
}

impl<K: Kv> View<K> {
    /// The header at this height; `None` above the tip.
    pub fn header(&self, height: u64) -> Result<Option<Header>, ViewError> {
        Ok(self.block(height)?.map(|block| block.header))
    }

    /// The block at this height, as encoded; `None` above the tip.
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

    /// The block at this height; `None` above the tip. What the log holds is checked against the hash in the state.
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

    /// What a unit of blob gas costs in this block, on chains that have blobs.
    pub fn blob_fee(&self, header: &Header) -> Option<u128> {
        let params = self.spec.blob_params_at(header.timestamp)?;
        Some(params.calc_blob_fee(header.excess_blob_gas?))
    }

    /// The height of a block; `None` if no such block was committed.
    pub fn height_of(&self, hash: BlockHash) -> Result<Option<u64>, ViewError> {
        Ok(rows::height_of(&self.reader, &B256::from(hash.0))?)
    }

    /// The name of the block at this height.
    pub fn block_hash(&self, height: u64) -> Result<Option<BlockHash>, ViewError> {
        Ok(self.hash_at(height)?.map(|hash| BlockHash(hash.0)))
    }

    /// The transactions of a block with their senders.
    pub fn senders_of(&self, block: ChainBlock) -> Result<Vec<Recovered<TxEnvelope>>, ViewError> {
        let height = block.header.number;
        let transactions = block.body.transactions;
        if self.spec.is_homestead_active_at_block(height) {
            return self
                .senders
                .recover_all(transactions)
                .map_err(|_| ViewError::Block(height));
        }
        // Foreign chains: before Homestead a signature may have a high `s`.
        let recover = |transaction: TxEnvelope| {
            let sender = transaction
                .recover_signer_unchecked()
                .map_err(|_| ViewError::Block(height))?;
            Ok(Recovered::new_unchecked(transaction, sender))
        };
        transactions.into_iter().map(recover).collect()
    }

    /// A transaction with its sender; `None` if its signature names none.
    pub fn recover(&self, transaction: TxEnvelope) -> Option<Recovered<TxEnvelope>> {
        self.senders.recover(transaction)
    }

    /// The height and the index of a transaction that was included. Its block may still be on its way to the log: a
    /// reader that shows only what is durable compares the height before it asks for more.
    pub fn place(&self, hash: TxHash) -> Result<Option<(u64, u32)>, ViewError> {
        Ok(rows::place_of(&self.reader, &B256::from(hash.0))?)
    }

    /// A transaction that was included.
    pub fn transaction(&self, hash: TxHash) -> Result<Option<Included>, ViewError> {
        let Some((height, index)) = rows::place_of(&self.reader, &B256::from(hash.0))? else {
            return Ok(None);
        };
        let block = self.block(height)?.ok_or(ViewError::Block(height))?;
        let (header, name) = (block.header.clone(), BlockHash(block.header.hash_slow().0));
        let transaction = self
            .senders_of(block)?
            .into_iter()
            .nth(index as usize)
            .ok_or(ViewError::Block(height))?;
        Ok(Some(Included {
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
    pub fn placed_receipts(&self, height: u64) -> Result<Option<Vec<PlacedReceipt>>, ViewError> {
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
            let placed = PlacedReceipt {
                gas_used: receipt.cumulative_gas_used() - gas_before,
                blob_gas_price: blob_fee.filter(|_| transaction.is_eip4844()),
                first_log,
                created,
                included: Included {
                    transaction,
                    index,
                    header: header.clone(),
                    block: name,
                },
                receipt,
            };
            gas_before = placed.receipt.cumulative_gas_used();
            first_log += placed.receipt.logs().len();
            placed
        };
        Ok(Some((0_u32..).zip(transactions).zip(receipts).map(place).collect()))
    }

    /// The receipt of a transaction that was included.
    pub fn receipt(&self, hash: TxHash) -> Result<Option<PlacedReceipt>, ViewError> {
        let Some((height, index)) = rows::place_of(&self.reader, &B256::from(hash.0))? else {
            return Ok(None);
        };
        let receipts = self.placed_receipts(height)?.ok_or(ViewError::Block(height))?;
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

//! `eth_`: sending a transaction, finding one, and receipts.

use std::time::Duration;

use alloy_eips::{BlockId, BlockNumberOrTag, Encodable2718};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{Index, Transaction, TransactionReceipt};
use evm::view::IncludedTransaction;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::{BlockHash, TxHash};

use crate::rpc::{Rpc, Snapshot, convert, failure::Failure, param::Hex};

/// Longest wait for a block to become durable. A disk that takes longer is stuck.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// Methods of `eth_` for transactions.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthTransactions {
    /// Submits a signed transaction. Once its hash is returned it survives a crash of this node.
    #[method(name = "sendRawTransaction")]
    async fn send_raw(&self, raw: Hex<Bytes>) -> Result<B256, Failure>;

    /// An included transaction, or one in the mempool.
    #[method(name = "getTransactionByHash")]
    async fn by_hash(&self, hash: Hex<B256>) -> Result<Option<Transaction>, Failure>;

    /// An included transaction by block and index.
    #[method(name = "getTransactionByBlockNumberAndIndex")]
    async fn by_number_and_index(&self, number: BlockNumberOrTag, index: Index)
    -> Result<Option<Transaction>, Failure>;

    /// An included transaction by block and index.
    #[method(name = "getTransactionByBlockHashAndIndex")]
    async fn by_block_and_index(&self, hash: Hex<B256>, index: Index) -> Result<Option<Transaction>, Failure>;

    /// The bytes of an included transaction, or of one in the mempool.
    #[method(name = "getRawTransactionByHash")]
    async fn raw_by_hash(&self, hash: Hex<B256>) -> Result<Option<Bytes>, Failure>;

    /// The bytes of an included transaction by block and index.
    #[method(name = "getRawTransactionByBlockNumberAndIndex")]
    async fn raw_by_number_and_index(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Bytes>, Failure>;

    /// The bytes of an included transaction by block and index.
    #[method(name = "getRawTransactionByBlockHashAndIndex")]
    async fn raw_by_block_and_index(&self, hash: Hex<B256>, index: Index) -> Result<Option<Bytes>, Failure>;

    /// The receipt of an included transaction.
    #[method(name = "getTransactionReceipt")]
    async fn receipt(&self, hash: Hex<B256>) -> Result<Option<TransactionReceipt>, Failure>;
}

#[async_trait]
impl EthTransactionsServer for Rpc {
    async fn send_raw(&self, Hex(raw): Hex<Bytes>) -> Result<B256, Failure> {
        Ok(B256::from(self.backend.submit(&raw).await?.0))
    }

    async fn by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<Transaction>, Failure> {
        let name = TxHash(hash.0);
        // The mempool first: a transaction that is included in between is then found in its block.
        let waiting = self.backend.pooled(name).await?;
        if !self.is_durable(name).await? {
            return Ok(waiting.map(|waiting| convert::pending_transaction(&waiting)));
        }
        self.read(move |snapshot| Ok(snapshot.view.transaction(name)?.map(convert::included_transaction)))
            .await
    }

    async fn by_number_and_index(
        &self,
        number: BlockNumberOrTag,
        index: Index,
    ) -> Result<Option<Transaction>, Failure> {
        self.read(move |snapshot| at(snapshot, number.into(), index)).await
    }

    async fn by_block_and_index(&self, Hex(hash): Hex<B256>, index: Index) -> Result<Option<Transaction>, Failure> {
        self.read(move |snapshot| at(snapshot, hash.into(), index)).await
    }

    async fn raw_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<Bytes>, Failure> {
        self.raw(hash).await
    }

    async fn raw_by_number_and_index(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Bytes>, Failure> {
        let found = self.by_number_and_index(number, index).await?;
        Ok(found.map(|found| found.inner.encoded_2718().into()))
    }

    async fn raw_by_block_and_index(&self, Hex(hash): Hex<B256>, index: Index) -> Result<Option<Bytes>, Failure> {
        let found = self.by_block_and_index(Hex(hash), index).await?;
        Ok(found.map(|found| found.inner.encoded_2718().into()))
    }

    async fn receipt(&self, Hex(hash): Hex<B256>) -> Result<Option<TransactionReceipt>, Failure> {
        let name = TxHash(hash.0);
        if !self.is_durable(name).await? {
            return Ok(None);
        }
        self.read(move |snapshot| Ok(snapshot.view.receipt(name)?.map(convert::receipt)))
            .await
    }
}

impl Rpc {
    /// The bytes of an included transaction, or of one in the mempool.
    pub(crate) async fn raw(&self, hash: B256) -> Result<Option<Bytes>, Failure> {
        let name = TxHash(hash.0);
        let waiting = self.backend.pooled(name).await?;
        if !self.is_durable(name).await? {
            return Ok(waiting.map(|waiting| waiting.raw.to_vec().into()));
        }
        let found = self.read(move |snapshot| Ok(snapshot.view.transaction(name)?)).await?;
        Ok(found.map(|found| found.transaction.inner().encoded_2718().into()))
    }

    /// Returns true if a transaction is in a published block. The state knows a block a moment before it is
    /// durable; in that moment its transactions are neither in the mempool nor in a published block, so this waits
    /// for the block.
    pub(crate) async fn is_durable(&self, name: TxHash) -> Result<bool, Failure> {
        let Some((height, _)) = self.read(move |snapshot| Ok(snapshot.view.position(name)?)).await? else {
            return Ok(false);
        };
        let mut heads = self.backend.heads();
        let snapshot = heads.wait_for(|head| head.height.0 >= height);
        Ok(matches!(
            tokio::time::timeout(DURABLE_WITHIN, snapshot).await,
            Ok(Ok(_))
        ))
    }
}

fn at(snapshot: &Snapshot, block: BlockId, index: Index) -> Result<Option<Transaction>, Failure> {
    let Some(height) = snapshot.find(Some(block))? else {
        return Ok(None);
    };
    let Some(block) = snapshot.view.block(height)? else {
        return Ok(None);
    };
    let Ok(position) = u32::try_from(index.0) else {
        return Ok(None);
    };
    let header = block.header.clone();
    let name = BlockHash(header.hash_slow().0);
    let transaction = snapshot.view.senders_of(block)?.into_iter().nth(index.0);
    Ok(transaction.map(|transaction| {
        convert::included_transaction(IncludedTransaction {
            transaction,
            index: position,
            header,
            block: name,
        })
    }))
}

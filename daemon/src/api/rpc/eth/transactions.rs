//! `eth_`: transactions: handing one in, finding one, and what became of it.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{Index, Transaction, TransactionReceipt};
use evm::view::Included;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::{BlockHash, TxHash};

use crate::api::rpc::{Rpc, Shown, failure::Failure, shape};

/// Methods of `eth_` about transactions.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthTransactions {
    /// Takes a signed transaction. Once its hash is returned, it survives a crash of this node.
    #[method(name = "sendRawTransaction")]
    async fn send_raw(&self, raw: Bytes) -> Result<B256, Failure>;

    /// A transaction that was included, or that waits.
    #[method(name = "getTransactionByHash")]
    async fn by_hash(&self, hash: B256) -> Result<Option<Transaction>, Failure>;

    /// A transaction by its place.
    #[method(name = "getTransactionByBlockNumberAndIndex")]
    async fn by_number_and_index(&self, number: BlockNumberOrTag, index: Index)
    -> Result<Option<Transaction>, Failure>;

    /// A transaction by its place.
    #[method(name = "getTransactionByBlockHashAndIndex")]
    async fn by_block_and_index(&self, hash: B256, index: Index) -> Result<Option<Transaction>, Failure>;

    /// What a transaction that was included did.
    #[method(name = "getTransactionReceipt")]
    async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Failure>;
}

#[async_trait]
impl EthTransactionsServer for Rpc {
    async fn send_raw(&self, raw: Bytes) -> Result<B256, Failure> {
        Ok(B256::from(self.parts.ingress.submit(&raw).await?.0))
    }

    async fn by_hash(&self, hash: B256) -> Result<Option<Transaction>, Failure> {
        let name = TxHash(hash.0);
        // The mempool first: one that is included in between is found in its block then.
        let waiting = self.parts.chain.look(move |node| node.pool.get(&name).cloned()).await?;
        let included = self.read(move |shown| {
            let found = shown
                .view
                .transaction(name)?
                .filter(|found| found.header.number <= shown.height.0);
            Ok(found.map(shape::included))
        });
        Ok(included
            .await?
            .or_else(|| waiting.map(|waiting| shape::waiting(&waiting))))
    }

    async fn by_number_and_index(
        &self,
        number: BlockNumberOrTag,
        index: Index,
    ) -> Result<Option<Transaction>, Failure> {
        self.read(move |shown| at(shown, number.into(), index)).await
    }

    async fn by_block_and_index(&self, hash: B256, index: Index) -> Result<Option<Transaction>, Failure> {
        self.read(move |shown| at(shown, hash.into(), index)).await
    }

    async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Failure> {
        let found = move |shown: &Shown| {
            let found = shown.view.receipt(TxHash(hash.0))?;
            let found = found.filter(|found| found.included.header.number <= shown.height.0);
            Ok(found.map(shape::receipt))
        };
        self.read(found).await
    }
}

fn at(shown: &Shown, block: BlockId, index: Index) -> Result<Option<Transaction>, Failure> {
    let Some(height) = shown.find(Some(block))? else {
        return Ok(None);
    };
    let Some(block) = shown.view.block(height)? else {
        return Ok(None);
    };
    let Ok(place) = u32::try_from(index.0) else {
        return Ok(None);
    };
    let header = block.header.clone();
    let name = BlockHash(header.hash_slow().0);
    let transaction = shown.view.senders_of(block)?.into_iter().nth(index.0);
    Ok(transaction.map(|transaction| {
        shape::included(Included {
            transaction,
            index: place,
            header,
            block: name,
        })
    }))
}

//! `eth_`: transactions: handing one in, finding one, and what became of it.

use std::time::Duration;

use alloy_eips::{BlockId, BlockNumberOrTag, Encodable2718};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{Index, Transaction, TransactionReceipt};
use evm::view::Included;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::{BlockHash, TxHash};

use crate::rpc::{Rpc, Shown, failure::Failure, param::Hex, shape};

/// A disk that takes longer for one block is stuck.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// Methods of `eth_` about transactions.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthTransactions {
    /// Takes a signed transaction. Once its hash is returned, it survives a crash of this node.
    #[method(name = "sendRawTransaction")]
    async fn send_raw(&self, raw: Hex<Bytes>) -> Result<B256, Failure>;

    /// A transaction that was included, or that waits.
    #[method(name = "getTransactionByHash")]
    async fn by_hash(&self, hash: Hex<B256>) -> Result<Option<Transaction>, Failure>;

    /// A transaction by its place.
    #[method(name = "getTransactionByBlockNumberAndIndex")]
    async fn by_number_and_index(&self, number: BlockNumberOrTag, index: Index)
    -> Result<Option<Transaction>, Failure>;

    /// A transaction by its place.
    #[method(name = "getTransactionByBlockHashAndIndex")]
    async fn by_block_and_index(&self, hash: Hex<B256>, index: Index) -> Result<Option<Transaction>, Failure>;

    /// The bytes of a transaction that was included, or that waits.
    #[method(name = "getRawTransactionByHash")]
    async fn raw_by_hash(&self, hash: Hex<B256>) -> Result<Option<Bytes>, Failure>;

    /// The bytes of a transaction by its place.
    #[method(name = "getRawTransactionByBlockNumberAndIndex")]
    async fn raw_by_number_and_index(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Bytes>, Failure>;

    /// The bytes of a transaction by its place.
    #[method(name = "getRawTransactionByBlockHashAndIndex")]
    async fn raw_by_block_and_index(&self, hash: Hex<B256>, index: Index) -> Result<Option<Bytes>, Failure>;

    /// What a transaction that was included did.
    #[method(name = "getTransactionReceipt")]
    async fn receipt(&self, hash: Hex<B256>) -> Result<Option<TransactionReceipt>, Failure>;
}

#[async_trait]
impl EthTransactionsServer for Rpc {
    async fn send_raw(&self, Hex(raw): Hex<Bytes>) -> Result<B256, Failure> {
        Ok(B256::from(self.ground.submit(&raw).await?.0))
    }

    async fn by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<Transaction>, Failure> {
        let name = TxHash(hash.0);
        // The mempool first: one that is included in between is found in its block then.
        let waiting = self.ground.pooled(name).await?;
        if !self.is_shown(name).await? {
            return Ok(waiting.map(|waiting| shape::waiting(&waiting)));
        }
        self.read(move |shown| Ok(shown.view.transaction(name)?.map(shape::included)))
            .await
    }

    async fn by_number_and_index(
        &self,
        number: BlockNumberOrTag,
        index: Index,
    ) -> Result<Option<Transaction>, Failure> {
        self.read(move |shown| at(shown, number.into(), index)).await
    }

    async fn by_block_and_index(&self, Hex(hash): Hex<B256>, index: Index) -> Result<Option<Transaction>, Failure> {
        self.read(move |shown| at(shown, hash.into(), index)).await
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
        if !self.is_shown(name).await? {
            return Ok(None);
        }
        self.read(move |shown| Ok(shown.view.receipt(name)?.map(shape::receipt)))
            .await
    }
}

impl Rpc {
    /// The bytes of a transaction that was included, or that waits.
    pub(crate) async fn raw(&self, hash: B256) -> Result<Option<Bytes>, Failure> {
        let name = TxHash(hash.0);
        let waiting = self.ground.pooled(name).await?;
        if !self.is_shown(name).await? {
            return Ok(waiting.map(|waiting| waiting.raw.to_vec().into()));
        }
        let found = self.read(move |shown| Ok(shown.view.transaction(name)?)).await?;
        Ok(found.map(|found| found.transaction.inner().encoded_2718().into()))
    }

    /// Whether a transaction is in a block that is shown. The state learns of a block a moment before it is durable;
    /// in that moment its transactions wait no longer and are shown nowhere, so the moment is waited for.
    pub(crate) async fn is_shown(&self, name: TxHash) -> Result<bool, Failure> {
        let Some((height, _)) = self.read(move |shown| Ok(shown.view.place(name)?)).await? else {
            return Ok(false);
        };
        let mut heads = self.ground.heads();
        let shown = heads.wait_for(|head| head.height.0 >= height);
        Ok(matches!(tokio::time::timeout(DURABLE_WITHIN, shown).await, Ok(Ok(_))))
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

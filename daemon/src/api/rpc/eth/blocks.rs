//! `eth_`: blocks, how many transactions they have, and their receipts.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use jsonrpsee::{core::async_trait, proc_macros::rpc};

use crate::api::rpc::{Rpc, Shown, failure::Failure, shape};

/// Methods of `eth_` about blocks.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthBlocks {
    /// A block by height or tag, with its transactions in full or by name.
    #[method(name = "getBlockByNumber")]
    async fn block_by_number(&self, number: BlockNumberOrTag, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// A block by hash.
    #[method(name = "getBlockByHash")]
    async fn block_by_hash(&self, hash: B256, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// How many transactions a block has.
    #[method(name = "getBlockTransactionCountByNumber")]
    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// How many transactions a block has.
    #[method(name = "getBlockTransactionCountByHash")]
    async fn count_by_hash(&self, hash: B256) -> Result<Option<U64>, Failure>;

    /// The receipts of a block.
    #[method(name = "getBlockReceipts")]
    async fn receipts(&self, block: BlockId) -> Result<Option<Vec<TransactionReceipt>>, Failure>;

    /// How many uncles a block has: this chain has none.
    #[method(name = "getUncleCountByBlockNumber")]
    async fn uncles_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// How many uncles a block has.
    #[method(name = "getUncleCountByBlockHash")]
    async fn uncles_by_hash(&self, hash: B256) -> Result<Option<U64>, Failure>;
}

#[async_trait]
impl EthBlocksServer for Rpc {
    async fn block_by_number(&self, number: BlockNumberOrTag, full: Option<bool>) -> Result<Option<Block>, Failure> {
        self.read(move |shown| find(shown, number.into(), full.unwrap_or(false)))
            .await
    }

    async fn block_by_hash(&self, hash: B256, full: Option<bool>) -> Result<Option<Block>, Failure> {
        self.read(move |shown| find(shown, hash.into(), full.unwrap_or(false)))
            .await
    }

    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure> {
        self.read(move |shown| count(shown, number.into())).await
    }

    async fn count_by_hash(&self, hash: B256) -> Result<Option<U64>, Failure> {
        self.read(move |shown| count(shown, hash.into())).await
    }

    async fn receipts(&self, block: BlockId) -> Result<Option<Vec<TransactionReceipt>>, Failure> {
        let found = move |shown: &Shown| {
            let Some(height) = shown.find(Some(block))? else {
                return Ok(None);
            };
            let receipts = shown.view.placed_receipts(height)?;
            Ok(receipts.map(|receipts| receipts.into_iter().map(shape::receipt).collect()))
        };
        self.read(found).await
    }

    async fn uncles_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure> {
        self.read(move |shown| Ok(shown.find(Some(number.into()))?.map(|_| U64::ZERO)))
            .await
    }

    async fn uncles_by_hash(&self, hash: B256) -> Result<Option<U64>, Failure> {
        self.read(move |shown| Ok(shown.find(Some(hash.into()))?.map(|_| U64::ZERO)))
            .await
    }
}

fn find(shown: &Shown, block: BlockId, full: bool) -> Result<Option<Block>, Failure> {
    let Some(height) = shown.find(Some(block))? else {
        return Ok(None);
    };
    let Some(block) = shown.view.block(height)? else {
        return Ok(None);
    };
    shape::block(shown, block, full).map(Some)
}

fn count(shown: &Shown, block: BlockId) -> Result<Option<U64>, Failure> {
    let Some(height) = shown.find(Some(block))? else {
        return Ok(None);
    };
    Ok(shown
        .view
        .block(height)?
        .map(|block| U64::from(block.body.transactions.len())))
}

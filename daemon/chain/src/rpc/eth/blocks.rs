//! `eth_`: blocks, how many transactions they have, and their receipts.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::{Block, Header, Index, TransactionReceipt};
use evm::block::ChainBlock;
use jsonrpsee::{core::async_trait, proc_macros::rpc};

use crate::rpc::{Rpc, Shown, failure::Failure, param::Hex, shape};

/// Methods of `eth_` about blocks.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthBlocks {
    /// A block by height or tag, with its transactions in full or by name.
    #[method(name = "getBlockByNumber")]
    async fn block_by_number(&self, number: BlockNumberOrTag, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// A block by hash.
    #[method(name = "getBlockByHash")]
    async fn block_by_hash(&self, hash: Hex<B256>, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// How many transactions a block has.
    #[method(name = "getBlockTransactionCountByNumber")]
    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// How many transactions a block has.
    #[method(name = "getBlockTransactionCountByHash")]
    async fn count_by_hash(&self, hash: Hex<B256>) -> Result<Option<U64>, Failure>;

    /// The receipts of a block.
    #[method(name = "getBlockReceipts")]
    async fn receipts(&self, block: BlockId) -> Result<Option<Vec<TransactionReceipt>>, Failure>;

    /// How many uncles a block has: this chain has none, foreign chains may before the merge.
    #[method(name = "getUncleCountByBlockNumber")]
    async fn uncles_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// How many uncles a block has.
    #[method(name = "getUncleCountByBlockHash")]
    async fn uncles_by_hash(&self, hash: Hex<B256>) -> Result<Option<U64>, Failure>;

    /// An uncle of a block.
    #[method(name = "getUncleByBlockNumberAndIndex")]
    async fn uncle_by_number(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Block>, Failure>;

    /// An uncle of a block.
    #[method(name = "getUncleByBlockHashAndIndex")]
    async fn uncle_by_hash(&self, hash: Hex<B256>, index: Index) -> Result<Option<Block>, Failure>;

    /// A header by height or tag.
    #[method(name = "getHeaderByNumber")]
    async fn header_by_number(&self, number: BlockNumberOrTag) -> Result<Option<Header>, Failure>;

    /// A header by hash.
    #[method(name = "getHeaderByHash")]
    async fn header_by_hash(&self, hash: Hex<B256>) -> Result<Option<Header>, Failure>;
}

#[async_trait]
impl EthBlocksServer for Rpc {
    async fn block_by_number(&self, number: BlockNumberOrTag, full: Option<bool>) -> Result<Option<Block>, Failure> {
        self.read(move |shown| find(shown, number.into(), full.unwrap_or(false)))
            .await
    }

    async fn block_by_hash(&self, Hex(hash): Hex<B256>, full: Option<bool>) -> Result<Option<Block>, Failure> {
        self.read(move |shown| find(shown, hash.into(), full.unwrap_or(false)))
            .await
    }

    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure> {
        self.read(move |shown| count(shown, number.into())).await
    }

    async fn count_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<U64>, Failure> {
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
        self.read(move |shown| uncles(shown, number.into())).await
    }

    async fn uncles_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<U64>, Failure> {
        self.read(move |shown| uncles(shown, hash.into())).await
    }

    async fn uncle_by_number(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Block>, Failure> {
        self.read(move |shown| uncle(shown, number.into(), index)).await
    }

    async fn uncle_by_hash(&self, Hex(hash): Hex<B256>, index: Index) -> Result<Option<Block>, Failure> {
        self.read(move |shown| uncle(shown, hash.into(), index)).await
    }

    async fn header_by_number(&self, number: BlockNumberOrTag) -> Result<Option<Header>, Failure> {
        self.read(move |shown| header(shown, number.into())).await
    }

    async fn header_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<Header>, Failure> {
        self.read(move |shown| header(shown, hash.into())).await
    }
}

fn find(shown: &Shown, block: BlockId, full: bool) -> Result<Option<Block>, Failure> {
    match body(shown, block)? {
        Some(block) => shape::block(shown, block, full).map(Some),
        None => Ok(None),
    }
}

fn body(shown: &Shown, block: BlockId) -> Result<Option<ChainBlock>, Failure> {
    match shown.find(Some(block))? {
        Some(height) => Ok(shown.view.block(height)?),
        None => Ok(None),
    }
}

fn uncles(shown: &Shown, block: BlockId) -> Result<Option<U64>, Failure> {
    Ok(body(shown, block)?.map(|block| U64::from(block.body.ommers.len())))
}

fn uncle(shown: &Shown, block: BlockId, index: Index) -> Result<Option<Block>, Failure> {
    let uncle = body(shown, block)?.and_then(|block| block.body.ommers.into_iter().nth(index.0));
    Ok(uncle.map(shape::uncle))
}

fn header(shown: &Shown, block: BlockId) -> Result<Option<Header>, Failure> {
    Ok(body(shown, block)?.map(|block| shape::header(block.header)))
}

fn count(shown: &Shown, block: BlockId) -> Result<Option<U64>, Failure> {
    Ok(body(shown, block)?.map(|block| U64::from(block.body.transactions.len())))
}

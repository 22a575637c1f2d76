//! `eth_`: blocks, headers, uncles and the receipts of a block.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::{Block, Header, Index, TransactionReceipt};
use evm::block::ChainBlock;
use jsonrpsee::{core::async_trait, proc_macros::rpc};

use crate::rpc::{Rpc, Snapshot, convert, failure::Failure, param::Hex};

/// Methods of `eth_` for blocks.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthBlocks {
    /// A block by height or tag, with full transactions or their hashes.
    #[method(name = "getBlockByNumber")]
    async fn block_by_number(&self, number: BlockNumberOrTag, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// A block by hash, with full transactions or their hashes.
    #[method(name = "getBlockByHash")]
    async fn block_by_hash(&self, hash: Hex<B256>, full: Option<bool>) -> Result<Option<Block>, Failure>;

    /// Number of transactions of a block.
    #[method(name = "getBlockTransactionCountByNumber")]
    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// Number of transactions of a block.
    #[method(name = "getBlockTransactionCountByHash")]
    async fn count_by_hash(&self, hash: Hex<B256>) -> Result<Option<U64>, Failure>;

    /// The receipts of a block.
    #[method(name = "getBlockReceipts")]
    async fn receipts(&self, block: BlockId) -> Result<Option<Vec<TransactionReceipt>>, Failure>;

    /// Number of uncles of a block. Only imported chains have any, before the merge.
    #[method(name = "getUncleCountByBlockNumber")]
    async fn uncles_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure>;

    /// Number of uncles of a block.
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
        self.read(move |snapshot| find(snapshot, number.into(), full.unwrap_or(false)))
            .await
    }

    async fn block_by_hash(&self, Hex(hash): Hex<B256>, full: Option<bool>) -> Result<Option<Block>, Failure> {
        self.read(move |snapshot| find(snapshot, hash.into(), full.unwrap_or(false)))
            .await
    }

    async fn count_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure> {
        self.read(move |snapshot| count(snapshot, number.into())).await
    }

    async fn count_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<U64>, Failure> {
        self.read(move |snapshot| count(snapshot, hash.into())).await
    }

    async fn receipts(&self, block: BlockId) -> Result<Option<Vec<TransactionReceipt>>, Failure> {
        let found = move |snapshot: &Snapshot| {
            let Some(height) = snapshot.find(Some(block))? else {
                return Ok(None);
            };
            let receipts = snapshot.view.receipts_with_transactions(height)?;
            Ok(receipts.map(|receipts| receipts.into_iter().map(convert::receipt).collect()))
        };
        self.read(found).await
    }

    async fn uncles_by_number(&self, number: BlockNumberOrTag) -> Result<Option<U64>, Failure> {
        self.read(move |snapshot| uncles(snapshot, number.into())).await
    }

    async fn uncles_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<U64>, Failure> {
        self.read(move |snapshot| uncles(snapshot, hash.into())).await
    }

    async fn uncle_by_number(&self, number: BlockNumberOrTag, index: Index) -> Result<Option<Block>, Failure> {
        self.read(move |snapshot| uncle(snapshot, number.into(), index)).await
    }

    async fn uncle_by_hash(&self, Hex(hash): Hex<B256>, index: Index) -> Result<Option<Block>, Failure> {
        self.read(move |snapshot| uncle(snapshot, hash.into(), index)).await
    }

    async fn header_by_number(&self, number: BlockNumberOrTag) -> Result<Option<Header>, Failure> {
        self.read(move |snapshot| header(snapshot, number.into())).await
    }

    async fn header_by_hash(&self, Hex(hash): Hex<B256>) -> Result<Option<Header>, Failure> {
        self.read(move |snapshot| header(snapshot, hash.into())).await
    }
}

fn find(snapshot: &Snapshot, block: BlockId, full: bool) -> Result<Option<Block>, Failure> {
    match body(snapshot, block)? {
        Some(block) => convert::block(snapshot, block, full).map(Some),
        None => Ok(None),
    }
}

fn body(snapshot: &Snapshot, block: BlockId) -> Result<Option<ChainBlock>, Failure> {
    match snapshot.find(Some(block))? {
        Some(height) => Ok(snapshot.view.block(height)?),
        None => Ok(None),
    }
}

fn uncles(snapshot: &Snapshot, block: BlockId) -> Result<Option<U64>, Failure> {
    Ok(body(snapshot, block)?.map(|block| U64::from(block.body.ommers.len())))
}

fn uncle(snapshot: &Snapshot, block: BlockId, index: Index) -> Result<Option<Block>, Failure> {
    let uncle = body(snapshot, block)?.and_then(|block| block.body.ommers.into_iter().nth(index.0));
    Ok(uncle.map(convert::uncle))
}

fn header(snapshot: &Snapshot, block: BlockId) -> Result<Option<Header>, Failure> {
    Ok(body(snapshot, block)?.map(|block| convert::header(block.header)))
}

fn count(snapshot: &Snapshot, block: BlockId) -> Result<Option<U64>, Failure> {
    Ok(body(snapshot, block)?.map(|block| U64::from(block.body.transactions.len())))
}

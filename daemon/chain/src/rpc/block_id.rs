//! Resolves block parameters: a tag, a height, a hash, or an EIP-1898 object.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use evm::view::At;
use protocol::BlockHash;

use super::{Snapshot, failure::Failure};

impl Snapshot {
    /// The height of a number or tag. There may be no block at that height.
    pub(crate) fn number(&self, number: BlockNumberOrTag) -> u64 {
        match number {
            BlockNumberOrTag::Latest
            | BlockNumberOrTag::Safe
            | BlockNumberOrTag::Finalized
            | BlockNumberOrTag::Pending => self.height.0,
            BlockNumberOrTag::Earliest => 0,
            BlockNumberOrTag::Number(height) => height,
        }
    }

    /// The height of a block; `None` if there is no such block. All blocks are canonical, because they are final.
    pub(crate) fn find(&self, block: Option<BlockId>) -> Result<Option<u64>, Failure> {
        let height = match block.unwrap_or_default() {
            BlockId::Number(number) => Some(self.number(number)),
            BlockId::Hash(hash) => self.find_hash(hash.block_hash)?,
        };
        Ok(height.filter(|height| *height <= self.height.0))
    }

    /// The height of the block with this hash.
    pub(crate) fn find_hash(&self, hash: B256) -> Result<Option<u64>, Failure> {
        let height = self.view.height_of(BlockHash(hash.0))?;
        Ok(height.filter(|height| *height <= self.height.0))
    }

    /// The state after a block; an error if there is no such block.
    pub(crate) fn at(&self, block: Option<BlockId>) -> Result<At, Failure> {
        Ok(At::Height(self.find(block)?.ok_or_else(Failure::no_block)?))
    }
}

//! Which block a parameter means: a tag, a height, a hash, or an EIP-1898 object.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use evm::view::At;
use protocol::BlockHash;

use super::{Shown, failure::Failure};

impl Shown {
    /// The height that a number or tag means, whether or not there is such a block.
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

    /// The height of a block, `None` if there is no such block here. Every block here is canonical.
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

    /// The state after a block that must be there.
    pub(crate) fn at(&self, block: Option<BlockId>) -> Result<At, Failure> {
        Ok(At::Height(self.find(block)?.ok_or_else(Failure::no_block)?))
    }
}

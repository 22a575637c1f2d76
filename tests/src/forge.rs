//! A wrapper around the executor that can misbehave: `lies` builds blocks with a wrong state root, `blind` accepts
//! every block. With neither it is the real executor.

use std::sync::Arc;

use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_rlp::{Decodable, Encodable};
use consensus::execution::{
    AccountState, BlockContext, Built, Committed, Epoch, Execution, ExecutionError, HeaderClaim, Refusal, Tip,
};
use protocol::{Account, BlockHash, Height, Time};

/// The real executor, and how it misbehaves.
pub struct Forge<X> {
    real: X,
    lies: bool,
    blind: bool,
}

impl<X> Forge<X> {
    /// Wraps the executor `real`.
    pub fn new(real: X, lies: bool, blind: bool) -> Self {
        Self { real, lies, blind }
    }

    /// The wrapped executor.
    pub fn honest_mut(&mut self) -> &mut X {
        &mut self.real
    }
}

impl<X: Execution> Execution for Forge<X> {
    fn tip(&self) -> Tip {
        self.real.tip()
    }

    fn build(&mut self, slot: &BlockContext, offered: &[Arc<[u8]>]) -> Result<Built, ExecutionError> {
        let built = self.real.build(slot, offered)?;
        if !self.lies {
            return Ok(built);
        }
        let mut block: Block<TxEnvelope, Header> =
            Block::decode(&mut &built.block[..]).expect("the executor builds blocks");
        block.header.state_root.0[0] ^= 1;
        let mut bytes = Vec::new();
        block.encode(&mut bytes);
        Ok(Built {
            hash: BlockHash(block.header.hash_slow().0),
            block: bytes,
            ..built
        })
    }

    fn verify(
        &mut self,
        block: &[u8],
        height: Height,
        now: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<Result<BlockHash, Refusal>, ExecutionError> {
        let verdict = self.real.verify(block, height, now, parent_certificate, proposers)?;
        match self.real.header_claim(block) {
            Some(named) if self.blind => Ok(Ok(named.hash)),
            Some(_) | None => Ok(verdict),
        }
    }

    fn commit(&mut self, hash: BlockHash) -> Result<Committed, ExecutionError> {
        self.real.commit(hash)
    }

    fn pending_block(&self, hash: BlockHash) -> Option<&[u8]> {
        self.real.pending_block(hash)
    }

    fn account(&self, account: Account) -> Result<AccountState, ExecutionError> {
        self.real.account(account)
    }

    fn epoch(&self) -> Result<Epoch, ExecutionError> {
        self.real.epoch()
    }

    fn header_claim(&self, block: &[u8]) -> Option<HeaderClaim> {
        self.real.header_claim(block)
    }
}

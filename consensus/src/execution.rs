//! The trait between ordering and execution. To consensus a block is bytes with a hash; an [`Execution`] knows what
//! they mean.
//!
//! Calls are synchronous and deterministic: the same block on the same tip gives the same result on every node. The
//! simulator relies on that to replay a whole network from one seed.

use protocol::{Account, Amount, BlockHash, Height, Time, TxHash, ValidatorKey};

/// Everything about a new block that does not come from the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// One above the tip.
    pub height: Height,
    /// The proposer's clock. Only whole seconds reach the header, never less than the parent's.
    pub time: Time,
    /// The account that earns the block's fees: `beneficiary` in the header.
    pub proposer: Account,
    /// Digest of the certificate that finalised the parent: `parent_beacon_block_root` in the header.
    pub parent_certificate: [u8; 32],
}

/// The last block that is final on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height 0 is genesis.
    pub height: Height,
    pub hash: BlockHash,
    pub timestamp_s: u64,
    /// The least that a unit of gas costs in the block above this one, in the smallest unit of OPEN.
    pub next_base_fee: u128,
}

/// A block that this node built and executed. It is pending until it is committed or another block of its height
/// is.
#[derive(Clone, Debug)]
pub struct Built {
    pub hash: BlockHash,
    pub block: Vec<u8>,
    /// Hashes of offered transactions that no block on this tip can include (wrong nonce, no funds). The mempool
    /// drops them.
    pub rejected: Vec<TxHash>,
}

/// A validator as the stake contract lists it, with its stake in the smallest unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staker {
    pub key: ValidatorKey,
    /// The account that owns the stake and earns the fees of the validator's blocks.
    pub account: Account,
    pub stake: Amount,
}

/// The validators around the tip. They are read from chain state at the end of an epoch and stored until the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The validators that vote on the block above the tip.
    pub voting: Vec<Staker>,
    /// The validators that voted on the tip itself. They differ from `voting` only if the tip ended an epoch.
    pub previous: Vec<Staker>,
}

/// The claims of a block's header, read before the block is executed. They may be false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderClaim {
    pub hash: BlockHash,
    /// Digest of the parent's certificate, as the header names it.
    pub parent_certificate: [u8; 32],
}

/// The result of committing a block, for the mempool, the validator set and the readers.
#[derive(Clone, Debug)]
pub struct Committed {
    pub tip: Tip,
    pub state_root: [u8; 32],
    /// Hash and sender of each included transaction, and the nonce that the sender uses next.
    pub included: Vec<(TxHash, Account, u64)>,
    pub transactions: usize,
    /// The validators of the next epoch. `None` if the block does not end an epoch (its height is no multiple of
    /// the epoch length), or if the stake contract names no usable validator; the present ones then stay.
    pub next_validators: Option<Vec<Staker>>,
}

/// The nonce and balance against which the mempool checks a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// The nonce of the account's next transaction.
    pub nonce: u64,
    pub balance: Amount,
}

/// Reason that every honest node refuses a block. A validator prevotes nil for such a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block refused: {0}")]
pub struct Refusal(pub String);

/// A failure of this node, not of a peer: its state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("execution failed: {what}")]
pub struct ExecutionError {
    pub what: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Executes blocks on the tip.
///
/// Any number of blocks may be built or verified for the height above the tip; one of them is then committed, and
/// the others are forgotten. An implementation must be deterministic, and must not keep a block that it refused.
pub trait Execution {
    /// The last committed block.
    fn tip(&self) -> Tip;

    /// Builds a block on the tip out of `offered`: EIP-2718 bytes, best first, the nonces of each sender in order.
    fn build(&mut self, slot: &BlockContext, offered: &[std::sync::Arc<[u8]>]) -> Result<Built, ExecutionError>;

    /// Executes a block that a peer proposed for `height`, on the tip. `Ok(Err(_))` means that the block breaks a
    /// rule; `Err(_)` that this node failed.
    ///
    /// `now` bounds how far ahead the block's timestamp may lie, and `parent_certificate` is the digest that its
    /// header must carry. Its beneficiary must be one of `proposers`, the accounts of the validators: a later round
    /// may propose the block of an earlier proposer again, so it need not be the account of the sender.
    fn verify(
        &mut self,
        block: &[u8],
        height: Height,
        now: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<Result<BlockHash, Refusal>, ExecutionError>;

    /// Makes a block that was built or verified here the tip, and forgets the others of its height.
    fn commit(&mut self, hash: BlockHash) -> Result<Committed, ExecutionError>;

    /// The encoding of a block that was built or verified on the tip and is not committed yet.
    fn pending_block(&self, hash: BlockHash) -> Option<&[u8]>;

    /// Nonce and balance of an account at the tip.
    fn account(&self, account: Account) -> Result<AccountState, ExecutionError>;

    /// The validators around the tip. They survive a restart together with the state that they were read from.
    fn epoch(&self) -> Result<Epoch, ExecutionError>;

    /// Reads the header of an encoded block without executing it. `None` if header and body do not belong together:
    /// the hash then says nothing about the body, which a relay may have changed.
    fn header_claim(&self, block: &[u8]) -> Option<HeaderClaim>;
}

//! The seam between ordering and executing. Consensus knows blocks as bytes with a name; what they mean is asked here.
//!
//! Calls are plain and synchronous: the same block on the same tip gives the same answer on every node, which is what
//! lets one seed replay a whole network.

use protocol::{Account, Amount, BlockHash, Height, Time, TxHash, ValidatorKey};

/// Where a block stands: everything about it that its builder does not choose from the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The height it is for, one above the tip.
    pub height: Height,
    /// The proposer's clock. Only whole seconds reach the header, never less than the parent's.
    pub time: Time,
    /// Who earns its fees: the `beneficiary` of the header.
    pub proposer: Account,
    /// Digest of the certificate that finalised the parent: `parent_beacon_block_root` of the header.
    pub parent_certificate: [u8; 32],
}

/// The last block that is final here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 is genesis.
    pub height: Height,
    /// Its name.
    pub hash: BlockHash,
    /// The seconds in its header.
    pub timestamp_s: u64,
    /// What a unit of gas costs at least in the block above it.
    pub next_base_fee: u128,
}

/// A block that this node built and executed.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its name.
    pub hash: BlockHash,
    /// Its encoding.
    pub block: Vec<u8>,
    /// Offered transactions that can never be included on this tip (wrong nonce, no funds): the mempool forgets them.
    pub rejected: Vec<TxHash>,
}

/// A validator as chain state knows it, stake unscaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staker {
    /// The key it votes with.
    pub key: ValidatorKey,
    /// The account that owns the stake and earns the fees of its blocks.
    pub account: Account,
    /// What it has at stake.
    pub stake: Amount,
}

/// Who votes around the tip. Chain state is asked at the edge of an epoch only; in between, this is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Who votes on the block above the tip.
    pub voting: Vec<Staker>,
    /// Who voted on the tip itself: the epoch before, if the tip ended one.
    pub before: Vec<Staker>,
}

/// What the header of a block says, before anything is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub hash: BlockHash,
    /// The digest of its parent's certificate.
    pub parent_certificate: [u8; 32],
}

/// What became of a block that was committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The new tip.
    pub tip: Tip,
    /// The root of the state after it.
    pub state_root: [u8; 32],
    /// What it included, with the sender and the nonce that sender uses next.
    pub included: Vec<(TxHash, Account, u64)>,
    /// How many transactions it has.
    pub transactions: usize,
    /// The validators of the next epoch, if this block ends one (its height is a multiple of the epoch's length) and
    /// chain state names somebody with stake; otherwise the same ones go on.
    pub next_validators: Option<Vec<Staker>>,
}

/// What the mempool asks about a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// The nonce of its next transaction.
    pub nonce: u64,
    /// What it can spend.
    pub balance: Amount,
}

/// Why a block is refused: it breaks a rule that every honest node checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block refused: {0}")]
pub struct Refusal(pub String);

/// A failure of this node, not of a peer: its state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("execution failed: {what}")]
pub struct ExecutionError {
    /// What could not be done.
    pub what: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Executes blocks on the tip. One block is committed per height; any number may be built or verified before.
pub trait Execution {
    /// The last committed block.
    fn tip(&self) -> Tip;

    /// Builds a block on the tip out of `offered` transactions (EIP-2718 bytes, best first, nonces in order).
    fn build(&mut self, slot: &Slot, offered: &[std::sync::Arc<[u8]>]) -> Result<Built, ExecutionError>;

    /// Executes a block that a peer proposed for `height` on the tip. `Ok(Err(_))` is the peer's fault.
    ///
    /// `now` bounds how far ahead its timestamp may lie; `parent_certificate` is the digest its header must carry; its
    /// beneficiary must be one of `proposers`, the accounts of the validators (a later round may re-propose the block
    /// of an earlier proposer, so it need not be the sender's).
    fn verify(
        &mut self,
        block: &[u8],
        height: Height,
        now: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<Result<BlockHash, Refusal>, ExecutionError>;

    /// Makes a block that was built or verified here the tip; forgets the others of its height.
    fn commit(&mut self, hash: BlockHash) -> Result<Committed, ExecutionError>;

    /// The encoding of a block that was built or verified at the height above the tip and not yet committed.
    fn pending_block(&self, hash: BlockHash) -> Option<&[u8]>;

    /// Nonce and balance at the tip.
    fn account(&self, account: Account) -> Result<AccountState, ExecutionError>;

    /// Who votes above the tip and who voted on it, remembered across restarts with the state they were read from.
    fn epoch(&self) -> Result<Epoch, ExecutionError>;

    /// What an encoded block claims to be, without executing it; `None` if its header and its body do not belong
    /// together, because then the name says nothing about the body: whoever passed it on may have changed that.
    fn name(&self, block: &[u8]) -> Option<Named>;
}

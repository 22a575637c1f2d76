//! The chain of this project as consensus drives it: builds, verifies and commits blocks on the tip.
//!
//! A block is executed once, when it is built or verified. Its changes are kept beside the tip until it is
//! committed or dropped. The state is a cache of the block log: after a crash [`Ledger::open`] finds the last
//! height whose state was flushed, and the caller passes the logged blocks above it to [`Ledger::replay`].
//!
//! # Why the state database is a cache
//!
//! The embedded database (sled) does not make its writes durable in time: its flush does not end in `fsync`. The
//! append-only block log does, so the log is the truth, and a state database that is behind or damaged is rebuilt
//! from it.

mod head;
pub(crate) mod open;
mod pending;
pub(crate) mod rows;
mod run;
mod stakers;

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use consensus::execution::{
    AccountState, BlockContext, Built, Committed, Epoch, Execution, ExecutionError, HeaderClaim, Refusal, Staker, Tip,
};
use consensus::validator::ValidatorSet;
use protocol::{Account, Amount, BlockHash, Height, Time};

use crate::{
    block,
    chain::ChainSpec,
    genesis::{ChainGenesis, Params},
    pool_tx::TxValidator,
    senders::SenderCache,
    state::{BlockId, Kv, Options, StateError, StateStore},
};
pub(crate) use head::SharedHead;
pub use open::OpenError;
use pending::{Pending, PendingBlocks};

/// Reason that a logged block cannot be replayed. A refusal means that log and state do not belong together.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The block does not follow from the tip: the log or the state is damaged.
    #[error("logged block does not follow block {tip}: {why}")]
    Refused { tip: Height, why: Refusal },
    /// This node failed.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

/// The chain of this project on one node. Implements [`Execution`].
#[derive(Debug)]
pub struct Ledger<K> {
    spec: Arc<ChainSpec>,
    params: Params,
    genesis: Arc<Header>,
    store: StateStore<K>,
    head: SharedHead,
    epoch: Epoch,
    pending_blocks: PendingBlocks,
    senders: SenderCache,
}

impl<K: Kv> Ledger<K> {
    /// Opens the chain of `genesis` in this database. An empty database starts at genesis.
    pub fn open(kv: K, options: Options, genesis: &ChainGenesis, senders: SenderCache) -> Result<Self, OpenError> {
        let mut store = StateStore::open(kv, options)?;
        let (head, epoch) = match store.tip().height() {
            None => open::start(&mut store, genesis)?,
            Some(height) => open::resume(&store, genesis, height)?,
        };
        Ok(Self {
            spec: Arc::new(genesis.spec.clone()),
            params: genesis.params.clone(),
            genesis: Arc::new(genesis.header.clone()),
            store,
            head: SharedHead::new(head),
            epoch,
            pending_blocks: PendingBlocks::default(),
            senders,
        })
    }

    /// The hash of block 0, which identifies the chain and is part of every signature's domain.
    pub fn genesis(&self) -> BlockHash {
        BlockHash(self.genesis.hash_slow().0)
    }

    /// The chain's own parameters from `config.openledger` of the genesis file.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The height whose state would survive a crash now.
    pub fn flushed(&self) -> Option<Height> {
        self.store.applied().map(|applied| Height(applied.height))
    }

    /// Committed blocks that the next flush writes. They are executed again if the process ends before it.
    pub fn unflushed(&self) -> usize {
        self.store.unflushed()
    }

    /// Writes all committed state to the database as one batch. What is not flushed is replayed from the block log
    /// after a crash, so a missing flush costs time and no data.
    pub fn flush(&mut self) -> Result<(), ExecutionError> {
        self.store
            .flush()
            .map(|_| ())
            .map_err(|error| failure("could not write state", error))
    }

    /// Checks for transactions on this chain. Shares the ledger's sender cache.
    pub fn tx_validator(&self) -> TxValidator {
        TxValidator::new(
            self.spec.chain_id,
            self.head.get().header.gas_limit,
            self.senders.clone(),
        )
    }

    /// Executes and commits a block from the log. The block was final when it was logged, so its timestamp and
    /// proposer are taken from it; all other rules are checked again.
    pub fn replay(&mut self, block: &[u8]) -> Result<Committed, ReplayError> {
        let claimed = block::peek(block);
        let time = claimed.as_ref().map_or(0, |header| header.timestamp);
        let proposer = claimed.as_ref().map_or(Address::ZERO, |header| header.beneficiary);
        let certificate = claimed
            .as_ref()
            .and_then(|header| header.parent_beacon_block_root)
            .unwrap_or_default();
        let height = self.tip().height;
        let verdict = self.verify(
            block,
            height.next(),
            Time::from_secs(time.min(u64::MAX / 1_000_000)),
            certificate.0,
            &[Account(proposer.0.0)],
        )?;
        let hash = verdict.map_err(|why| ReplayError::Refused { tip: height, why })?;
        Ok(self.commit(hash)?)
    }

    pub(crate) fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    pub(crate) fn store(&self) -> &StateStore<K> {
        &self.store
    }

    pub(crate) fn shared_head(&self) -> &SharedHead {
        &self.head
    }

    pub(crate) fn genesis_header(&self) -> &Arc<Header> {
        &self.genesis
    }

    pub(crate) fn senders(&self) -> &SenderCache {
        &self.senders
    }

    /// The validators around the block that is about to be committed, and the new ones if it ends an epoch.
    fn next_epoch(&self, pending: &Pending, hash: B256) -> Result<(Epoch, Option<Vec<Staker>>), ExecutionError> {
        let voting = self.epoch.voting.clone();
        if !pending.header.number.is_multiple_of(self.params.epoch_length) {
            return Ok((
                Epoch {
                    previous: voting.clone(),
                    voting,
                },
                None,
            ));
        }
        let head = self.head.get().next(pending.header.clone(), hash);
        let db = pending.state.db(head.ancestors);
        let next = stakers::stakers(&self.spec, &pending.header, db, self.params.validators_max)
            .map_err(|why| broken(format!("could not ask the stake hub: {why}")))?;
        // If no key is usable the old validators stay, so that the chain goes on.
        if ValidatorSet::new(&next).is_err() {
            return Ok((
                Epoch {
                    previous: voting.clone(),
                    voting,
                },
                None,
            ));
        }
        Ok((
            Epoch {
                voting: next.clone(),
                previous: voting,
            },
            Some(next),
        ))
    }
}

impl<K: Kv> Execution for Ledger<K> {
    fn tip(&self) -> Tip {
        let head = self.head.get();
        tip_of(&self.spec, &head.header, head.hash)
    }

    fn build(&mut self, slot: &BlockContext, offered: &[Arc<[u8]>]) -> Result<Built, ExecutionError> {
        let (hash, pending, rejected) = self.run_build(slot, offered)?;
        let block = pending.bytes.clone();
        self.pending_blocks.insert(hash, pending);
        Ok(Built { hash, block, rejected })
    }

    fn verify(
        &mut self,
        block: &[u8],
        height: Height,
        now: Time,
        parent_certificate: [u8; 32],
        proposers: &[Account],
    ) -> Result<Result<BlockHash, Refusal>, ExecutionError> {
        match self.run_verify(block, height, now, parent_certificate, proposers) {
            Ok((hash, None)) => Ok(Ok(hash)),
            Ok((hash, Some(pending))) => {
                self.pending_blocks.insert(hash, pending);
                Ok(Ok(hash))
            }
            Err(run::VerifyError::Refused(why)) => Ok(Err(Refusal(why))),
            Err(run::VerifyError::Failed(error)) => Err(error),
        }
    }

    fn commit(&mut self, hash: BlockHash) -> Result<Committed, ExecutionError> {
        let name = B256::from(hash.0);
        let pending = self
            .pending_blocks
            .get(&hash)
            .ok_or_else(|| broken(format!("block {hash} was not executed here")))?;
        // Before anything is written, because reading the stake hub can fail.
        let (epoch, next_validators) = self.next_epoch(pending, name)?;
        let header = &pending.header;
        let mut written = rows::of_block(header, name, &pending.transaction_hashes(), &pending.receipts);
        if epoch != self.epoch {
            written.push((rows::EPOCH.to_vec(), Some(rows::encode_epoch(&epoch))));
        }
        let id = BlockId {
            height: header.number,
            hash: name,
        };
        let what = format!("could not commit block {}", header.number);
        self.store
            .commit(&pending.state, id, written)
            .map_err(|error| failure(&what, error))?;

        let pending = self.pending_blocks.take(&hash).expect("it waited a moment ago");
        let (state_root, included) = (pending.header.state_root.0, pending.included);
        let head = self.head.get().next(pending.header, name);
        self.epoch = epoch;
        let tip = tip_of(&self.spec, &head.header, name);
        // Last, so that a view that sees the new head finds its state and rows.
        self.head.set(head);
        let transactions = included.len();
        Ok(Committed {
            tip,
            state_root,
            included,
            transactions,
            next_validators,
        })
    }

    fn pending_block(&self, hash: BlockHash) -> Option<&[u8]> {
        self.pending_blocks.get(&hash).map(|pending| &pending.bytes[..])
    }

    fn account(&self, account: Account) -> Result<AccountState, ExecutionError> {
        let found = self
            .store
            .tip()
            .account(&Address::from(account.0))
            .map_err(unreadable)?;
        Ok(found.map_or_else(AccountState::default, |found| AccountState {
            nonce: found.nonce,
            balance: Amount(found.balance.saturating_to()),
        }))
    }

    fn epoch(&self) -> Result<Epoch, ExecutionError> {
        Ok(self.epoch.clone())
    }

    fn header_claim(&self, block: &[u8]) -> Option<HeaderClaim> {
        let header = block::decode(block).ok()?.header;
        Some(HeaderClaim {
            hash: BlockHash(header.hash_slow().0),
            parent_certificate: header.parent_beacon_block_root.unwrap_or_default().0,
        })
    }
}

pub(crate) fn tip_of(spec: &ChainSpec, header: &Header, hash: B256) -> Tip {
    Tip {
        height: Height(header.number),
        hash: BlockHash(hash.0),
        timestamp_s: header.timestamp,
        next_base_fee: spec.next_base_fee(header).unwrap_or(0).into(),
    }
}

fn failure(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> ExecutionError {
    ExecutionError {
        what: what.to_owned(),
        source: Some(Box::new(source)),
    }
}

fn broken(what: String) -> ExecutionError {
    ExecutionError { what, source: None }
}

fn unreadable(error: StateError) -> ExecutionError {
    failure("could not read state", error)
}

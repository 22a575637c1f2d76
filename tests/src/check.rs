//! The invariants that are checked at every step of a run, whatever fails and whoever is Byzantine. The first violation
//! ends the run.
//!
//! - *Agreement*: no two hosts commit different blocks at one height.
//! - *Validity*: the checker's own executor, which gets nothing but committed blocks, accepts each of them and computes
//!   the same state root.
//! - *No double signing*: no honest validator ever signs two votes of one kind, or two proposals, in one round, restarts
//!   included.
//! - *Durability*: a block that a host has shown is in its log after every crash.
//! - *Supply*: the OPEN of all accounts together is what genesis made.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use chain::genesis::{DEV_ACCOUNTS, validator_account};
use consensus::execution::Execution;
use contracts::address::{FEE_COLLECTOR, STAKE_HUB};
use evm::{
    genesis::ChainGenesis,
    ledger::Ledger,
    senders::SenderCache,
    state::{MemKv, Options},
};
use protocol::{
    Account, Amount, BlockHash, Height, ValidatorKey, codec,
    message::{
        chain::{BODY_MAX, Entry, GOSSIP_MAX, Gossip},
        vote::VoteKind,
    },
    unit::SUPPLY,
};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two hosts committed different blocks at this height.
    Fork(Height),
    /// The checker's executor refuses a committed block.
    Invalid(Height, String),
    /// An honest validator signed two different votes, or two proposals, of one kind in this round.
    DoubleSign(ValidatorKey, Height, u32),
    /// A host lost a block that it had shown.
    Lost {
        host: usize,
        /// The highest block that it had shown.
        shown: Height,
        /// The last block in its log after the restart.
        found: Height,
    },
    /// The balances of all accounts do not add up to the supply; their sum is given.
    Supply(Height, Amount),
    /// An honest host blamed an honest host.
    Slander {
        by: usize,
        whom: usize,
        fault: consensus::node::Fault,
    },
    /// Some honest host did not reach the planned height in time; the heights of all hosts are given.
    Stall(Vec<u64>),
    /// A host could not start, or failed although no fault was injected.
    Broken(usize, String),
}

type Slot = (ValidatorKey, Height, u32, u8);

/// The checker of one run: it is told what hosts log and send, and compares.
pub struct Checker {
    auditor: Ledger<MemKv>,
    blocks: BTreeMap<Height, BlockHash>,
    said: BTreeMap<Slot, Vec<u8>>,
    accounts: Vec<Account>,
    /// Proofs of double signing found in logs.
    pub evidence: usize,
    /// Heights whose certificates hold a signature of the validator.
    pub signed: BTreeMap<ValidatorKey, Vec<Height>>,
}

impl Checker {
    /// A checker for the chain that starts with this genesis.
    pub fn new(genesis: &ChainGenesis) -> Self {
        let auditor = Ledger::open(MemKv::default(), Options::default(), genesis, SenderCache::new(4096))
            .expect("an empty database takes genesis");
        let system = [STAKE_HUB, FEE_COLLECTOR, Address::ZERO];
        let addresses = DEV_ACCOUNTS.iter().map(|(address, _)| *address).chain(system);
        let accounts = addresses.map(|address| Account(address.0.0));
        let accounts = accounts
            .chain((0..genesis.params.validators.len()).map(validator_account))
            .collect();
        Self {
            auditor,
            blocks: BTreeMap::new(),
            said: BTreeMap::new(),
            accounts,
            evidence: 0,
            signed: BTreeMap::new(),
        }
    }

    /// Checks a block that a host wrote to its log.
    pub fn logged(&mut self, height: Height, bytes: &[u8]) -> Result<(), Violation> {
        let entry: Entry = codec::decode(bytes, BODY_MAX).expect("a host reads what it writes");
        self.evidence += entry.evidence.len();
        let block = entry.certificate.block;
        if let Some(known) = self.blocks.get(&height) {
            return if *known == block {
                Ok(())
            } else {
                Err(Violation::Fork(height))
            };
        }
        self.blocks.insert(height, block);
        for (key, _) in &entry.certificate.signatures {
            self.signed.entry(*key).or_default().push(height);
        }
        if self.auditor.tip().height.next() != height {
            return Err(Violation::Invalid(
                height,
                "it was committed before its parent".to_owned(),
            ));
        }
        let committed = self
            .auditor
            .replay(&entry.block)
            .map_err(|why| Violation::Invalid(height, why.to_string()))?;
        if committed.tip.hash != block {
            return Err(Violation::Invalid(
                height,
                "its certificate is for another block".to_owned(),
            ));
        }
        self.check_supply(height)
    }

    fn check_supply(&self, height: Height) -> Result<(), Violation> {
        let mut sum = Amount::ZERO;
        for account in &self.accounts {
            let state = self
                .auditor
                .account(*account)
                .map_err(|why| Violation::Invalid(height, why.to_string()))?;
            sum = sum
                .checked_add(state.balance)
                .ok_or(Violation::Supply(height, Amount(u128::MAX)))?;
        }
        if sum == SUPPLY {
            Ok(())
        } else {
            Err(Violation::Supply(height, sum))
        }
    }

    /// Checks a gossip message that an honest host sent.
    pub fn said(&mut self, by: ValidatorKey, bytes: &[u8]) -> Result<(), Violation> {
        let message: Gossip = codec::decode(bytes, GOSSIP_MAX).expect("a host says what can be read");
        let (height, round, kind, what) = match message {
            Gossip::Vote(vote) if vote.message.validator == by => {
                let vote = vote.message;
                let kind = match vote.kind {
                    VoteKind::Prevote => 0,
                    VoteKind::Precommit => 1,
                };
                (vote.height, vote.round, kind, codec::encode(&vote.block))
            }
            Gossip::Proposal(proposal) if proposal.message.proposer == by => {
                let proposal = proposal.message;
                (
                    proposal.height,
                    proposal.round,
                    2,
                    codec::encode(&(proposal.block, proposal.polka_round)),
                )
            }
            Gossip::Vote(_) | Gossip::Proposal(_) | Gossip::Polka(_) | Gossip::Rounds(_) | Gossip::Decided(_) => {
                return Ok(());
            }
        };
        let before = self
            .said
            .entry((by, height, round, kind))
            .or_insert_with(|| what.clone());
        if *before == what {
            Ok(())
        } else {
            Err(Violation::DoubleSign(by, height, round))
        }
    }
}

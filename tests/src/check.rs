//! What must hold at every step of a run, whoever lies and whatever breaks. The first thing that does not ends the run.
//!
//! - *Agreement*: no two hosts commit different blocks at one height.
//! - *Validity*: what is committed was executed: an executor of the checker's own, fed nothing but committed blocks,
//!   accepts each and comes to the same state root.
//! - *Honesty*: no honest validator ever signs two votes of one kind, or two proposals, in one round, restarts included.
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

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two hosts committed different blocks.
    Fork(Height),
    /// A committed block that an executor refuses.
    Invalid(Height, String),
    /// An honest validator signed two different things where it may sign one.
    DoubleSign(ValidatorKey, Height, u32),
    /// A host lost a block that it had shown.
    Lost {
        /// Which host.
        host: usize,
        /// What it had shown.
        shown: Height,
        /// What its log ends with.
        found: Height,
    },
    /// OPEN came from nowhere or went there.
    Supply(Height, Amount),
    /// An honest host blamed an honest host.
    Slander {
        /// Who blamed.
        by: usize,
        /// Whom.
        whom: usize,
        /// For what.
        fault: consensus::node::Fault,
    },
    /// Not everyone got there in time.
    Stall(Vec<u64>),
    /// A host could not come up, or its disk failed where nothing had failed.
    Broken(usize, String),
}

type Slot = (ValidatorKey, Height, u32, u8);

/// Watches everything.
pub struct Checker {
    auditor: Ledger<MemKv>,
    blocks: BTreeMap<Height, BlockHash>,
    said: BTreeMap<Slot, Vec<u8>>,
    accounts: Vec<Account>,
    /// Pairs that prove a lie, found in logs.
    pub evidence: usize,
    /// Which heights each validator signed into a certificate.
    pub signed: BTreeMap<ValidatorKey, Vec<Height>>,
}

impl Checker {
    /// A checker for the chain of this genesis.
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

    /// A host logged a block.
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

    /// An honest host said something about consensus.
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

//! `openledger chain validators`: lists the validators that vote on the next block, and their stakes.
//!
//! The set is fixed for an epoch, at its first block. It is read from the running node over JSON-RPC, from the state of a
//! stopped node, or from genesis if there is no state yet.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall as _;
use anyhow::Context as _;
use clap::Args;
use consensus::execution::{Execution as _, Staker};
use contracts::{StakeHub, address::STAKE_HUB};
use evm::{genesis::ChainGenesis, ledger::Ledger, senders::SenderCache, state::Options};
use protocol::{Account, Amount, ValidatorKey};
use serde::Serialize;
use serde_json::json;
use storage::{HomeLock, Table};

use crate::cli::{Globals, exit::Exit, globals::wait, output, running::Running};
use base::{home::Home, key};
use chain::state::StateTable;

/// Cache for reading the state once.
const CACHE_BYTES: u64 = 16 << 20;
const NODES_MAX: usize = 10_000;

/// List the validators that vote, with their stakes
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger chain validators --json\n\n\
                  JSON: {height, since, validators: [{account, key, stake, ours}]}; the set was fixed at block since, stake is \
                  in OPEN, ours is true if this home has the key")]
pub(crate) struct Validators {}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    height: u64,
    since: u64,
    validators: Vec<Voter>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Voter {
    account: Account,
    key: ValidatorKey,
    stake: String,
    ours: bool,
}

impl Validators {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (home, genesis) = (globals.home(), globals.genesis()?);
        let (height, stakers) = match globals.maybe_running() {
            Some(running) => wait(request(&running, &genesis))?,
            None => read_state(&home, &genesis)?,
        };
        let own = own_key(&home);
        let voter = |staker: &Staker| Voter {
            account: staker.account,
            key: staker.key,
            stake: staker.stake.to_string(),
            ours: Some(staker.key) == own,
        };
        let shown = Shown {
            height,
            since: epoch_start(height, &genesis),
            validators: stakers.iter().map(voter).collect(),
        };
        globals.show(&shown, || text(&shown, &stakers));
        Ok(Exit::Done)
    }
}

/// The validator key of this home. `None` also if it cannot be read, which `doctor` reports.
pub(crate) fn own_key(home: &Home) -> Option<ValidatorKey> {
    key::read(&home.validator_key()).ok().map(|key| key.validator())
}

/// Calls the StakeHub contract at the first block of the epoch.
pub(crate) async fn request(running: &Running, genesis: &ChainGenesis) -> anyhow::Result<(u64, Vec<Staker>)> {
    let height = running.status().await?.height;
    let question = Bytes::from(StakeHub::computeSetCall {}.abi_encode());
    let call = json!({ "to": STAKE_HUB, "data": question });
    let at = format!("{:#x}", epoch_start(height, genesis));
    let answer: Bytes = running.call("eth_call", json!([call, at])).await.with_context(|| {
        format!(
            "the state of block {} is pruned; set storage.history_blocks to more than an epoch",
            epoch_start(height, genesis)
        )
    })?;
    let set = StakeHub::computeSetCall::abi_decode_returns(&answer).context("the stake hub did not answer")?;
    let stakers = set
        .accounts
        .iter()
        .zip(&set.keys)
        .zip(&set.stakes)
        .map(|((account, key), stake)| Staker {
            key: ValidatorKey(key.0),
            account: Account(account.0.0),
            stake: Amount(stake.saturating_to()),
        });
    Ok((height, elected(stakers.collect(), genesis.params.validators_max)))
}

/// The first block of the epoch of `height`, at which the validators were fixed.
fn epoch_start(height: u64, genesis: &ChainGenesis) -> u64 {
    height - height % genesis.params.epoch_length
}

/// Selects the validators that vote: by stake, largest first, then by key.
fn elected(mut stakers: Vec<Staker>, max: u32) -> Vec<Staker> {
    stakers.retain(|staker| staker.stake > Amount::ZERO);
    stakers.sort_by(|a, b| b.stake.cmp(&a.stake).then(a.key.cmp(&b.key)));
    stakers.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    stakers
}

/// Reads the state of a stopped node.
fn read_state(home: &Home, genesis: &ChainGenesis) -> anyhow::Result<(u64, Vec<Staker>)> {
    if !home.state().is_dir() {
        let founder = |validator: &evm::genesis::GenesisValidator| Staker {
            key: validator.key,
            account: validator.account,
            stake: validator.stake,
        };
        let founders = genesis.params.validators.iter().map(founder).collect();
        return Ok((0, elected(founders, genesis.params.validators_max)));
    }
    let _lock = HomeLock::acquire(home.root())?;
    let options = Options {
        history: None,
        nodes_max: NODES_MAX,
    };
    let table = StateTable(Table::open(&home.state(), CACHE_BYTES)?);
    let ledger = Ledger::open(table, options, genesis, SenderCache::new(1))?;
    Ok((ledger.tip().height.0, ledger.epoch()?.voting))
}

fn text(shown: &Shown, stakers: &[Staker]) -> String {
    let total: u128 = stakers.iter().map(|staker| staker.stake.0).sum();
    let line = |(voter, staker): (&Voter, &Staker)| {
        // In tenths of a percent, rounded down.
        let share = staker
            .stake
            .0
            .checked_mul(1000)
            .and_then(|part| part.checked_div(total))
            .unwrap_or(0);
        let ours = if voter.ours { "  (this node)" } else { "" };
        format!(
            "{}  {}.{} %  {}  {}{ours}",
            voter.key,
            share / 10,
            share % 10,
            voter.account,
            voter.stake
        )
    };
    let lines: Vec<_> = shown.validators.iter().zip(stakers).map(line).collect();
    let head = output::columns(&[
        ("Height", shown.height.to_string()),
        (
            "Validators",
            format!("{}, fixed at block {}", shown.validators.len(), shown.since),
        ),
    ]);
    format!("{head}\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stakes_vote_and_a_stake_of_nothing_never_does() {
        let staker = |n: u8, stake| Staker {
            key: ValidatorKey([n; 32]),
            account: Account([n; 20]),
            stake: Amount::open(stake),
        };
        let all = vec![staker(1, 5), staker(3, 9), staker(2, 9), staker(4, 0)];
        assert_eq!(elected(all.clone(), 2), [staker(2, 9), staker(3, 9)]);
        assert_eq!(elected(all, 9).len(), 3);
    }
}

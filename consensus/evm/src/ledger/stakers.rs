//! Reads the validators from the stake hub, by a system call whose changes are dropped.

use alloy_consensus::Header;
use alloy_eips::eip4788::SYSTEM_ADDRESS;
use alloy_evm::{EthEvmFactory, Evm, EvmFactory};
use alloy_sol_types::SolCall;
use consensus::execution::Staker;
use contracts::{StakeHub, address::STAKE_HUB};
use protocol::{Account, Amount, ValidatorKey};

use crate::{chain::ChainSpec, execute::overlay, state::StateDb};

/// The validators in this state, largest stake first and then by key, at most `max` of them. Empty if nobody has a
/// stake, or if the hub gives no valid answer.
pub(crate) fn stakers(spec: &ChainSpec, header: &Header, db: StateDb, max: u32) -> Result<Vec<Staker>, String> {
    let mut state = overlay(spec, db);
    let mut evm = EthEvmFactory::default().create_evm(&mut state, spec.evm_env(header));
    let question = StakeHub::computeSetCall {}.abi_encode();
    let answer = evm
        .transact_system_call(SYSTEM_ADDRESS, STAKE_HUB, question.into())
        .map_err(|error| error.to_string())?
        .result;
    let answer = answer.into_output().unwrap_or_default();
    let Ok(set) = StakeHub::computeSetCall::abi_decode_returns(&answer) else {
        return Ok(Vec::new());
    };
    let mut stakers: Vec<Staker> = set
        .accounts
        .iter()
        .zip(&set.keys)
        .zip(&set.stakes)
        .filter(|(_, stake)| !stake.is_zero())
        .map(|((account, key), stake)| Staker {
            key: ValidatorKey(key.0),
            account: Account(account.0.0),
            stake: Amount(stake.saturating_to()),
        })
        .collect();
    // Stakes and keys alone decide the order, whatever order the contract lists them in.
    stakers.sort_by(|a, b| b.stake.cmp(&a.stake).then(a.key.cmp(&b.key)));
    stakers.truncate(max as usize);
    Ok(stakers)
}

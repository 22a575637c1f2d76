//! The first block of this chain, from a genesis file in Ethereum's format with an additional `config.openledger`.
//!
//! The stake hub and Ethereum's system contracts are added here, so that every node has the same bytes without
//! copying them into files. The distribution of OPEN is the file's alone.

mod check;
mod params;

use std::collections::BTreeMap;

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{
    eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
    eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B64, B256, Bytes, U256};
use alloy_trie::{TrieAccount, root::state_root_unhashed};
use contracts::{
    StakeHub,
    address::{FEE_COLLECTOR, STAKE_HUB},
    stake_hub::{Founder, Terms, genesis_storage},
};
use protocol::{BlockHash, unit::SUPPLY};
use revm::database::BundleState;
use serde::Deserialize;

use crate::{alloc, chain::ChainSpec, collision::bare_storage};
pub use params::{GenesisValidator, Params, Timing};

/// Base fee of genesis if the file names none.
const BASE_FEE: u64 = 1_000_000_000;
/// Candidates that the stake hub lists at most. It bounds the loops of the contract.
const LISTED_MAX: u64 = 256;

/// Reason that a genesis file is refused. Each names the field and the value that it must have.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    #[error("the genesis file cannot be read")]
    Json(#[from] serde_json::Error),
    /// `config.openledger` is missing.
    #[error("config.openledger is missing; it names the validators and the length of an epoch")]
    NoParams,
    /// `config.openledger` cannot be read.
    #[error("config.openledger: {0}")]
    Params(serde_json::Error),
    /// A fork up to Osaka does not start at genesis.
    #[error("config: this chain runs Osaka's rules from block 0; set every fork up to osakaTime to 0")]
    Forks,
    /// Balances and stakes do not add up to the supply.
    #[error("alloc and stakes add up to {found}, {off} {direction} than the {SUPPLY} that there are")]
    Supply {
        /// The sum that the file has.
        found: U256,
        /// Difference to the supply.
        off: U256,
        /// `more` or `less`.
        direction: &'static str,
    },
    /// The file gives an account to the address of a system contract.
    #[error("alloc.{0} is the address of a system contract; leave it out")]
    Reserved(Address),
    /// A validator breaks a rule.
    #[error("config.openledger.validators[{index}]: {why}")]
    Validator {
        /// Its position in the list.
        index: usize,
        why: String,
    },
    #[error("{field}: {why}")]
    Range {
        /// The field's path in the file.
        field: &'static str,
        /// The range that it must be in.
        why: &'static str,
    },
    /// An account has storage that no code can reach.
    #[error("alloc.{0} has storage but neither code nor nonce; give it code or leave the storage out")]
    BareStorage(Address),
}

/// The first block, and the rules of the chain above it.
#[derive(Clone, Debug)]
pub struct ChainGenesis {
    pub spec: ChainSpec,
    pub params: Params,
    pub header: Header,
    /// The hash of block 0. It identifies the chain.
    pub hash: BlockHash,
    /// The changes that create the accounts of genesis.
    pub accounts: BundleState,
}

impl ChainGenesis {
    /// Reads and checks a genesis file, and adds the system contracts. Two nodes with the same file get the same
    /// hash.
    pub fn from_json(json: &[u8]) -> Result<Self, GenesisError> {
        Self::new(serde_json::from_slice(json)?)
    }

    /// Checks a parsed genesis file and adds the system contracts; see [`ChainGenesis::from_json`].
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        let params = read_params(&genesis.config)?;
        check::numbers(&genesis, &params)?;
        let founders = check::founders(&params)?;
        let mut spec = ChainSpec::from_config(&genesis.config).keeping_base_fee(FEE_COLLECTOR);
        spec.base_fee_min = params.base_fee_min;
        if !spec.is_osaka_active_at_timestamp(0) || !spec.is_paris_active_at_block(0) {
            return Err(GenesisError::Forks);
        }
        let mut alloc = genesis.alloc.clone();
        for (address, account) in system_accounts(&params, &founders) {
            if alloc.insert(address, account).is_some() {
                return Err(GenesisError::Reserved(address));
            }
        }
        if alloc.contains_key(&FEE_COLLECTOR) {
            return Err(GenesisError::Reserved(FEE_COLLECTOR));
        }
        check::supply(&alloc)?;
        if let Some(address) = bare_storage(&alloc).pop_first() {
            return Err(GenesisError::BareStorage(address));
        }
        let header = header(&spec, &genesis, state_root(&alloc));
        let hash = BlockHash(header.hash_slow().0);
        Ok(Self {
            spec,
            params,
            hash,
            header,
            accounts: alloc::creation(&alloc),
        })
    }
}

/// The `config` of a genesis file with every fork up to Osaka active from the first block.
pub fn osaka_from_genesis(chain_id: u64) -> ChainConfig {
    ChainConfig {
        chain_id,
        homestead_block: Some(0),
        eip150_block: Some(0),
        eip155_block: Some(0),
        eip158_block: Some(0),
        byzantium_block: Some(0),
        constantinople_block: Some(0),
        petersburg_block: Some(0),
        istanbul_block: Some(0),
        muir_glacier_block: Some(0),
        berlin_block: Some(0),
        london_block: Some(0),
        arrow_glacier_block: Some(0),
        gray_glacier_block: Some(0),
        terminal_total_difficulty: Some(U256::ZERO),
        terminal_total_difficulty_passed: true,
        shanghai_time: Some(0),
        cancun_time: Some(0),
        prague_time: Some(0),
        osaka_time: Some(0),
        ..Default::default()
    }
}

/// The header of block 0 on any chain: fields of later forks are set only where the fork is active at genesis.
pub fn header(spec: &ChainSpec, genesis: &Genesis, state_root: B256) -> Header {
    let time = genesis.timestamp;
    let cancun = spec.is_cancun_active_at_timestamp(time);
    let base_fee = genesis
        .base_fee_per_gas
        .and_then(|fee| u64::try_from(fee).ok())
        .unwrap_or(BASE_FEE);
    Header {
        parent_hash: genesis.parent_hash.unwrap_or_default(),
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: genesis.coinbase,
        state_root,
        difficulty: genesis.difficulty,
        number: genesis.number.unwrap_or(0),
        gas_limit: genesis.gas_limit,
        timestamp: time,
        extra_data: genesis.extra_data.clone(),
        mix_hash: genesis.mix_hash,
        nonce: B64::from(genesis.nonce),
        base_fee_per_gas: spec.is_london_active_at_block(0).then_some(base_fee),
        withdrawals_root: spec.is_shanghai_active_at_timestamp(time).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: cancun.then(|| genesis.blob_gas_used.unwrap_or(0)),
        excess_blob_gas: cancun.then(|| genesis.excess_blob_gas.unwrap_or(0)),
        parent_beacon_block_root: cancun.then_some(B256::ZERO),
        requests_hash: spec.is_prague_active_at_timestamp(time).then_some(EMPTY_REQUESTS_HASH),
        ..Default::default()
    }
}

/// The root of a state that holds exactly these accounts.
pub fn state_root(alloc: &BTreeMap<Address, GenesisAccount>) -> B256 {
    state_root_unhashed(
        alloc
            .iter()
            .map(|(address, account)| (*address, TrieAccount::from(account.clone()))),
    )
}

fn read_params(config: &ChainConfig) -> Result<Params, GenesisError> {
    let params = config.extra_fields.get("openledger").ok_or(GenesisError::NoParams)?;
    Params::deserialize(params).map_err(GenesisError::Params)
}

/// The contracts that exist from genesis on: the stake hub, and the two that Osaka's rules write to in every block.
fn system_accounts(params: &Params, founders: &[Founder]) -> [(Address, GenesisAccount); 3] {
    let contract = |code: Bytes| GenesisAccount::default().with_nonce(Some(1)).with_code(Some(code));
    let terms = Terms {
        minimum_stake: U256::from(params.minimum_stake.0),
        unbonding_blocks: params.unbonding_blocks,
        listed_max: LISTED_MAX,
    };
    let hub = contract(StakeHub::DEPLOYED_BYTECODE.clone())
        .with_balance(founders.iter().map(|founder| founder.stake).sum())
        .with_storage(Some(genesis_storage(&terms, founders)));
    [
        (STAKE_HUB, hub),
        (HISTORY_STORAGE_ADDRESS, contract(HISTORY_STORAGE_CODE.clone())),
        (BEACON_ROOTS_ADDRESS, contract(BEACON_ROOTS_CODE.clone())),
    ]
}

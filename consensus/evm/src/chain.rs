//! What makes one chain different from another: its id, when each fork starts, how fees move.
//!
//! A [`ChainSpec`] is a value, so the executor that runs this chain also runs foreign blocks of any fork. Left out:
//! the DAO's irregular state change and proof of work; no chain that is run here has them.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{BlobScheduleBlobParams, eip1559::BaseFeeParams, eip7840::BlobParams};
use alloy_evm::{EvmEnv, eth::spec::EthExecutorSpec};
use alloy_genesis::ChainConfig;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, B256};

/// The base fee of the first block of London, on every chain.
const LONDON_BASE_FEE: u64 = 1_000_000_000;

/// The rules of one chain.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    /// EIP-155: the id that signatures are bound to.
    pub chain_id: u64,
    /// When each fork starts; what is absent never does.
    pub forks: BTreeMap<EthereumHardfork, ForkCondition>,
    /// How many blobs a block may hold, where blobs are allowed at all.
    pub blobs: BlobScheduleBlobParams,
    /// How fast the base fee moves (EIP-1559).
    pub base_fee: BaseFeeParams,
    /// The base fee never falls below this.
    pub base_fee_min: u64,
    /// Receives the base fee; burned where there is none, as on Ethereum.
    pub fee_collector: Option<Address>,
    /// The contract whose logs are deposits (EIP-6110).
    pub deposit_contract: Address,
    /// Accounts of genesis that have storage and neither code nor nonce; see [`crate::collision`].
    pub bare_storage: BTreeSet<Address>,
}

impl ChainSpec {
    /// Reads the fork schedule of a genesis file. The base fee is burned; see [`ChainSpec::keeping_base_fee`].
    pub fn from_config(config: &ChainConfig) -> Self {
        let blocks = [
            (EthereumHardfork::Frontier, Some(0)),
            (EthereumHardfork::Homestead, config.homestead_block),
            (EthereumHardfork::Tangerine, config.eip150_block),
            (
                EthereumHardfork::SpuriousDragon,
                config.eip155_block.max(config.eip158_block),
            ),
            (EthereumHardfork::Byzantium, config.byzantium_block),
            (EthereumHardfork::Constantinople, config.constantinople_block),
            (
                EthereumHardfork::Petersburg,
                config.petersburg_block.or(config.constantinople_block),
            ),
            (EthereumHardfork::Istanbul, config.istanbul_block),
            (EthereumHardfork::MuirGlacier, config.muir_glacier_block),
            (EthereumHardfork::Berlin, config.berlin_block),
            (EthereumHardfork::London, config.london_block),
            (EthereumHardfork::ArrowGlacier, config.arrow_glacier_block),
            (EthereumHardfork::GrayGlacier, config.gray_glacier_block),
        ];
        let times = [
            (EthereumHardfork::Shanghai, config.shanghai_time),
            (EthereumHardfork::Cancun, config.cancun_time),
            (EthereumHardfork::Prague, config.prague_time),
            (EthereumHardfork::Osaka, config.osaka_time),
            (EthereumHardfork::Bpo1, config.bpo1_time),
            (EthereumHardfork::Bpo2, config.bpo2_time),
            (EthereumHardfork::Bpo3, config.bpo3_time),
            (EthereumHardfork::Bpo4, config.bpo4_time),
            (EthereumHardfork::Bpo5, config.bpo5_time),
        ];
        let mut forks: BTreeMap<_, _> = blocks
            .into_iter()
            .filter_map(|(fork, block)| Some((fork, ForkCondition::Block(block?))))
            .chain(
                times
                    .into_iter()
                    .filter_map(|(fork, time)| Some((fork, ForkCondition::Timestamp(time?)))),
            )
            .collect();
        if let Some(merge) = merge_block(config) {
            forks.insert(EthereumHardfork::Paris, ForkCondition::Block(merge));
        }
        Self {
            chain_id: config.chain_id,
            forks,
            blobs: config.blob_schedule_blob_params(),
            base_fee: BaseFeeParams::ethereum(),
            base_fee_min: 0,
            fee_collector: None,
            deposit_contract: config.deposit_contract_address.unwrap_or(Address::ZERO),
            bare_storage: BTreeSet::new(),
        }
    }

    /// A chain on which everything up to `last` is active from genesis.
    pub fn at_fork(chain_id: u64, last: EthereumHardfork) -> Self {
        let mut spec = Self::from_config(&ChainConfig {
            chain_id,
            ..Default::default()
        });
        for fork in EthereumHardfork::VARIANTS.iter().copied().filter(|fork| *fork <= last) {
            let timed = fork >= EthereumHardfork::Shanghai;
            if fork != EthereumHardfork::Dao {
                spec.forks.insert(
                    fork,
                    if timed {
                        ForkCondition::Timestamp(0)
                    } else {
                        ForkCondition::Block(0)
                    },
                );
            }
        }
        spec
    }

    /// The same chain, with the base fee credited to `collector` instead of burned: the supply stays what it was.
    #[must_use]
    pub fn keeping_base_fee(mut self, collector: Address) -> Self {
        self.fee_collector = Some(collector);
        self
    }

    /// The base fee of the block after `parent` (EIP-1559), `None` before London.
    pub fn next_base_fee(&self, parent: &Header) -> Option<u64> {
        if !self.is_london_active_at_block(parent.number + 1) {
            return None;
        }
        let next = parent.next_block_base_fee(self.base_fee).unwrap_or(LONDON_BASE_FEE);
        Some(next.max(self.base_fee_min))
    }

    /// The blob rules of a block at this time, `None` before Cancun.
    pub fn blob_params_at(&self, timestamp_s: u64) -> Option<BlobParams> {
        if let Some(scheduled) = self.blobs.active_scheduled_params_at_timestamp(timestamp_s) {
            Some(*scheduled)
        } else if self.is_osaka_active_at_timestamp(timestamp_s) {
            Some(self.blobs.osaka)
        } else if self.is_prague_active_at_timestamp(timestamp_s) {
            Some(self.blobs.prague)
        } else if self.is_cancun_active_at_timestamp(timestamp_s) {
            Some(self.blobs.cancun)
        } else {
            None
        }
    }

    /// What the EVM is told about a block.
    pub fn evm_env(&self, header: &Header) -> EvmEnv {
        EvmEnv::for_eth_block(header, self, self.chain_id, self.blob_params_at(header.timestamp))
    }

    /// The withdrawals root of a block without withdrawals, `None` before Shanghai.
    pub fn empty_withdrawals_root(&self, timestamp_s: u64) -> Option<B256> {
        self.is_shanghai_active_at_timestamp(timestamp_s)
            .then_some(EMPTY_WITHDRAWALS)
    }
}

/// The first block after the merge, as far as a genesis file tells. A chain that merges at total difficulty zero starts
/// merged; otherwise the file has to name the block.
fn merge_block(config: &ChainConfig) -> Option<u64> {
    let merged_at_genesis = config.terminal_total_difficulty.is_some_and(|ttd| ttd.is_zero());
    config.merge_netsplit_block.or(merged_at_genesis.then_some(0))
}

impl EthereumHardforks for ChainSpec {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        self.forks.get(&fork).copied().unwrap_or(ForkCondition::Never)
    }
}

impl EthExecutorSpec for ChainSpec {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(self.deposit_contract)
    }
}

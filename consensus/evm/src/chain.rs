//! The rules that differ between chains: chain id, fork schedule, fees.
//!
//! A [`ChainSpec`] is a value, so the executor of this chain also runs imported blocks of any Ethereum fork. Left
//! out are the DAO fork's irregular state change and proof of work, which no chain executed here has.
//!
//! # Why the base fee is collected, not burned
//!
//! OPEN has a fixed supply that is all issued at genesis. Ethereum burns the base fee because it also issues new
//! coins; here burning would shrink the supply for ever. Governance owns the collecting account and spends it, so
//! nothing is burned and nothing is minted.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{BlobScheduleBlobParams, eip1559::BaseFeeParams, eip7840::BlobParams};
use alloy_evm::{EvmEnv, eth::spec::EthExecutorSpec};
use alloy_genesis::ChainConfig;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, B256};

/// Base fee of the first block with EIP-1559, in wei, on every chain.
const LONDON_BASE_FEE: u64 = 1_000_000_000;

/// The rules of one chain.
///
/// ```
/// use alloy_consensus::Header;
/// use alloy_hardforks::EthereumHardfork;
/// use evm::chain::ChainSpec;
///
/// let spec = ChainSpec::at_fork(1337, EthereumHardfork::Osaka);
/// let parent = Header {
///     gas_limit: 30_000_000,
///     gas_used: 30_000_000,
///     base_fee_per_gas: Some(800),
///     ..Header::default()
/// };
/// // A full block raises the base fee by an eighth (EIP-1559).
/// assert_eq!(spec.next_base_fee(&parent), Some(900));
/// ```
#[derive(Clone, Debug)]
pub struct ChainSpec {
    /// The EIP-155 chain id, which signatures cover.
    pub chain_id: u64,
    /// The block or time at which each fork starts. A fork that is absent never starts.
    pub forks: BTreeMap<EthereumHardfork, ForkCondition>,
    /// The blob limits of each fork, where blobs are allowed at all.
    pub blobs: BlobScheduleBlobParams,
    /// Speed of base fee changes (EIP-1559).
    pub base_fee: BaseFeeParams,
    /// Lower bound of the base fee, in the smallest unit.
    pub base_fee_min: u64,
    /// The account that receives the base fee. `None` burns it, as Ethereum does.
    pub fee_collector: Option<Address>,
    /// The contract whose logs are deposits (EIP-6110).
    pub deposit_contract: Address,
    /// Genesis accounts with storage but neither code nor nonce; see [`crate::collision`].
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

    /// A chain on which every fork up to `last` is active from genesis.
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

    /// The same chain with the base fee credited to `collector` instead of burned.
    #[must_use]
    pub fn keeping_base_fee(mut self, collector: Address) -> Self {
        self.fee_collector = Some(collector);
        self
    }

    /// The base fee of the block after `parent` (EIP-1559); `None` before London.
    pub fn next_base_fee(&self, parent: &Header) -> Option<u64> {
        if !self.is_london_active_at_block(parent.number + 1) {
            return None;
        }
        let next = parent.next_block_base_fee(self.base_fee).unwrap_or(LONDON_BASE_FEE);
        Some(next.max(self.base_fee_min))
    }

    /// The blob limits of a block at this time; `None` before Cancun.
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

    /// The EVM environment of a block with this header.
    pub fn evm_env(&self, header: &Header) -> EvmEnv {
        EvmEnv::for_eth_block(header, self, self.chain_id, self.blob_params_at(header.timestamp))
    }

    /// The withdrawals root of a block without withdrawals; `None` before Shanghai.
    pub fn empty_withdrawals_root(&self, timestamp_s: u64) -> Option<B256> {
        self.is_shanghai_active_at_timestamp(timestamp_s)
            .then_some(EMPTY_WITHDRAWALS)
    }
}

/// The first block after the merge, as far as a genesis file defines it. A chain whose terminal total difficulty is zero
/// is merged from the start; otherwise the file must name the block.
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

//! `eth_`: gas prices of the next block and of past ones, and suggestions.

#![expect(
    clippy::float_arithmetic,
    reason = "percentiles come and ratios go as JSON numbers; nothing is computed on"
)]

use std::sync::{Arc, Mutex};

use alloy_consensus::{BlockHeader as _, Header, Transaction as _};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::FeeHistory;
use evm::block::ChainBlock;
use jsonrpsee::{core::async_trait, proc_macros::rpc};
use protocol::BlockHash;

use crate::rpc::{Rpc, Snapshot, failure::Failure};
use base::lock;

/// Most blocks of one fee history.
const HISTORY_MAX: u64 = 1024;
/// Most percentiles in a request.
const PERCENTILES_MAX: usize = 100;
/// Recent blocks whose tips a suggestion is based on.
const SAMPLED: u64 = 20;
/// Transactions of each block that count, the cheapest ones: they show which tip is enough.
const CHEAPEST: usize = 3;
/// Percentage of those tips below the suggestion.
const SUGGESTED_PERCENT: usize = 60;

/// Methods of `eth_` for fees.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthFees {
    /// A gas price that gets a legacy transaction included soon.
    #[method(name = "gasPrice")]
    async fn gas_price(&self) -> Result<U256, Failure>;

    /// A tip that gets a transaction included soon.
    #[method(name = "maxPriorityFeePerGas")]
    async fn tip(&self) -> Result<U256, Failure>;

    /// The base fee of the next block.
    #[method(name = "baseFee")]
    fn base_fee(&self) -> Result<U256, Failure>;

    /// The price of a unit of blob gas.
    #[method(name = "blobBaseFee")]
    fn blob_base_fee(&self) -> Result<U256, Failure>;

    /// Base fees, gas used and tips of past blocks.
    #[method(name = "feeHistory")]
    async fn fee_history(
        &self,
        count: U64,
        newest: BlockNumberOrTag,
        percentiles: Option<Vec<f64>>,
    ) -> Result<FeeHistory, Failure>;
}

/// The last suggestion, valid until the next block.
#[derive(Clone, Default)]
pub(crate) struct SuggestedTip(Arc<Mutex<Option<(BlockHash, u128)>>>);

#[async_trait]
impl EthFeesServer for Rpc {
    async fn gas_price(&self) -> Result<U256, Failure> {
        let base = self.head().view.tip().next_base_fee;
        Ok(U256::from(base.saturating_add(self.suggested_tip().await?)))
    }

    async fn tip(&self) -> Result<U256, Failure> {
        Ok(U256::from(self.suggested_tip().await?))
    }

    fn base_fee(&self) -> Result<U256, Failure> {
        Ok(U256::from(self.head().view.tip().next_base_fee))
    }

    fn blob_base_fee(&self) -> Result<U256, Failure> {
        let view = self.head().view;
        Ok(U256::from(view.blob_fee(&view.tip_header()).unwrap_or(0)))
    }

    async fn fee_history(
        &self,
        count: U64,
        newest: BlockNumberOrTag,
        percentiles: Option<Vec<f64>>,
    ) -> Result<FeeHistory, Failure> {
        check_percentiles(percentiles.as_deref().unwrap_or_default())?;
        let count = count.to::<u64>().min(HISTORY_MAX);
        self.work(move |snapshot| history(snapshot, count, newest, percentiles.as_deref()))
            .await
    }
}

impl Rpc {
    async fn suggested_tip(&self) -> Result<u128, Failure> {
        let head = self.head().hash;
        let last = || lock::locked(&self.suggested_tip_cache.0);
        if let Some((_, tip)) = last().filter(|(at, _)| *at == head) {
            return Ok(tip);
        }
        let tip = self.work(suggest).await?;
        *last() = Some((head, tip));
        Ok(tip)
    }
}

/// The tip that was enough recently, or the lowest base fee if blocks are empty.
fn suggest(snapshot: &Snapshot) -> Result<u128, Failure> {
    let floor = u128::from(snapshot.view.spec().base_fee_min.max(1));
    let mut tips = Vec::new();
    for height in snapshot.height.0.saturating_sub(SAMPLED - 1)..=snapshot.height.0 {
        let Some(block) = snapshot.view.block(height)? else {
            continue;
        };
        let base = block.header.base_fee_per_gas.unwrap_or_default();
        let mut paid: Vec<_> = block
            .body
            .transactions
            .iter()
            .filter_map(|transaction| transaction.effective_tip_per_gas(base))
            .collect();
        paid.sort_unstable();
        tips.extend(paid.into_iter().take(CHEAPEST));
    }
    tips.sort_unstable();
    Ok(tips
        .get((tips.len().saturating_sub(1)) * SUGGESTED_PERCENT / 100)
        .copied()
        .unwrap_or(floor)
        .max(1))
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), Failure> {
    if percentiles.len() > PERCENTILES_MAX {
        return Err(Failure::params(format!(
            "over the query limit {PERCENTILES_MAX} of reward percentiles"
        )));
    }
    if let Some(wrong) = percentiles
        .iter()
        .find(|percentile| !(0.0..=100.0).contains(*percentile))
    {
        return Err(Failure::params(format!("invalid reward percentile: {wrong}")));
    }
    if let Some(pair) = percentiles.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Failure::params(format!(
            "invalid reward percentile: {} is not above {}",
            pair[1], pair[0]
        )));
    }
    Ok(())
}

fn history(
    snapshot: &Snapshot,
    count: u64,
    newest: BlockNumberOrTag,
    percentiles: Option<&[f64]>,
) -> Result<FeeHistory, Failure> {
    let newest = snapshot.number(newest);
    if newest > snapshot.height.0 {
        return Err(Failure::refused(format!(
            "request beyond head block: requested {newest}, head {}",
            snapshot.height.0
        )));
    }
    let count = count.min(newest + 1);
    let mut history = FeeHistory {
        oldest_block: newest + 1 - count,
        ..FeeHistory::default()
    };
    // Geth answers an empty history with block 0 as the oldest.
    if count == 0 {
        return Ok(FeeHistory {
            oldest_block: 0,
            ..history
        });
    }
    let mut rewards = Vec::new();
    let mut last = None;
    for height in history.oldest_block..=newest {
        let block = snapshot.view.block(height)?.ok_or_else(Failure::no_block)?;
        history
            .base_fee_per_gas
            .push(block.header.base_fee_per_gas.unwrap_or_default().into());
        history
            .gas_used_ratio
            .push(ratio(block.header.gas_used, block.header.gas_limit));
        history
            .base_fee_per_blob_gas
            .push(snapshot.view.blob_fee(&block.header).unwrap_or(0));
        history.blob_gas_used_ratio.push(blob_ratio(snapshot, &block.header));
        last = Some(block.header.clone());
        if let Some(percentiles) = percentiles {
            rewards.push(reward(&tips(snapshot, block)?, percentiles));
        }
    }
    let next = last
        .as_ref()
        .and_then(|header| snapshot.view.spec().next_base_fee(header))
        .unwrap_or_default();
    history.base_fee_per_gas.push(next.into());
    let next = last.and_then(|header| next_blob_fee(snapshot, &header));
    history.base_fee_per_blob_gas.push(next.unwrap_or(0));
    history.reward = percentiles.map(|_| rewards);
    Ok(history)
}

fn ratio(used: u64, limit: u64) -> f64 {
    if limit == 0 { 0.0 } else { used as f64 / limit as f64 }
}

fn blob_ratio(snapshot: &Snapshot, header: &Header) -> f64 {
    let params = snapshot.view.spec().blob_params_at(header.timestamp);
    let limit = params.map_or(0, |params| params.max_blob_gas_per_block());
    ratio(header.blob_gas_used.unwrap_or(0), limit)
}

/// The blob base fee of the next block, assuming that it follows the same fork.
fn next_blob_fee(snapshot: &Snapshot, header: &Header) -> Option<u128> {
    let params = snapshot.view.spec().blob_params_at(header.timestamp)?;
    let excess = header.maybe_next_block_excess_blob_gas(Some(params))?;
    Some(params.calc_blob_fee(excess))
}

/// Tip and gas of every transaction of a block, lowest tip first.
fn tips(snapshot: &Snapshot, block: ChainBlock) -> Result<Vec<(u128, u64)>, Failure> {
    let base = block.header.base_fee_per_gas.unwrap_or_default();
    let receipts = snapshot.view.receipts(block.header.number)?.unwrap_or_default();
    let mut before = 0;
    let used = receipts.iter().map(|receipt| {
        let used = receipt.cumulative_gas_used() - before;
        before = receipt.cumulative_gas_used();
        used
    });
    let paid = block
        .body
        .transactions
        .iter()
        .map(|transaction| transaction.effective_tip_per_gas(base).unwrap_or_default());
    let mut tips: Vec<_> = paid.zip(used).collect();
    tips.sort_unstable();
    Ok(tips)
}

/// For each percentile of a block's gas, the tip of the transaction that used it.
fn reward(tips: &[(u128, u64)], percentiles: &[f64]) -> Vec<u128> {
    let total: u64 = tips.iter().map(|(_, gas)| gas).sum();
    let at = |percentile: &f64| {
        let wanted = total as f64 * percentile / 100.0;
        let mut sum = 0;
        let mut found = tips.iter().skip_while(|(_, gas)| {
            sum += gas;
            (sum as f64) < wanted
        });
        found.next().or(tips.last()).map_or(0, |(tip, _)| *tip)
    };
    percentiles.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_of_gas_is_the_tip_of_the_transaction_that_used_it() {
        let tips = [(1, 100), (5, 800), (9, 100)];
        assert_eq!(reward(&tips, &[0.0, 10.0, 11.0, 90.0, 91.0, 100.0]), [1, 1, 5, 5, 9, 9]);
        assert_eq!(reward(&[], &[50.0]), [0]);
    }

    #[test]
    fn percentiles_must_rise_and_be_at_most_a_hundred() {
        assert_eq!(check_percentiles(&[0.0, 50.0, 100.0]), Ok(()));
        for wrong in [&[101.0][..], &[-1.0], &[50.0, 50.0], &[f64::NAN], &[0.0; 101]] {
            assert!(matches!(check_percentiles(wrong), Err(Failure::Params(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_ratio_with_a_limit_of_zero_is_zero() {
        assert!(ratio(0, 0) == 0.0 && ratio(1, 2) == 0.5);
    }
}

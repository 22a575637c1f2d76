//! `eth_`: log searches by address and topics, over a bounded range of blocks.

use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use jsonrpsee::{core::async_trait, proc_macros::rpc};

use crate::rpc::{Rpc, Snapshot, convert, failure::Failure};

/// Methods of `eth_` for logs.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthLogs {
    /// The matching logs, in the order of the chain.
    #[method(name = "getLogs")]
    async fn logs(&self, filter: Filter) -> Result<Vec<Log>, Failure>;
}

#[async_trait]
impl EthLogsServer for Rpc {
    async fn logs(&self, filter: Filter) -> Result<Vec<Log>, Failure> {
        let (blocks_max, logs_max) = (self.log_blocks_max, self.logs_max);
        self.work(move |snapshot| {
            let (from, to) = range(snapshot, &filter, blocks_max)?;
            search(snapshot, &filter, from, to, logs_max)
        })
        .await
    }
}

/// The range of heights that a filter covers.
pub(crate) fn range(snapshot: &Snapshot, filter: &Filter, blocks_max: u64) -> Result<(u64, u64), Failure> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let height = snapshot
                .find_hash(hash)?
                .ok_or_else(|| Failure::refused("unknown block"))?;
            Ok((height, height))
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let (from, to) = (from_block.unwrap_or_default(), to_block.unwrap_or_default());
            check_range(
                snapshot.number(from),
                snapshot.number(to),
                snapshot.height.0,
                blocks_max,
            )
        }
    }
}

fn check_range(from: u64, to: u64, head: u64, blocks_max: u64) -> Result<(u64, u64), Failure> {
    if from > to {
        return Err(Failure::params("invalid block range params"));
    }
    if to > head {
        return Err(Failure::params("block range extends beyond current head block"));
    }
    if to - from >= blocks_max {
        return Err(Failure::params(format!(
            "block range is too wide: {} blocks, the limit is {blocks_max}; ask for parts of it",
            to - from + 1
        )));
    }
    Ok((from, to))
}

/// The matching logs of these heights.
pub(crate) fn search(
    snapshot: &Snapshot,
    filter: &Filter,
    from: u64,
    to: u64,
    logs_max: usize,
) -> Result<Vec<Log>, Failure> {
    let mut found = Vec::new();
    for height in from..=to {
        found.extend(matching(snapshot, filter, height)?);
        if found.len() > logs_max {
            return Err(Failure::refused(format!(
                "query returned more than {logs_max} results; narrow the filter, or ask for blocks {from} to {} first",
                height.saturating_sub(1).max(from)
            )));
        }
    }
    Ok(found)
}

/// The matching logs of one block.
pub(crate) fn matching(snapshot: &Snapshot, filter: &Filter, height: u64) -> Result<Vec<Log>, Failure> {
    let Some(logs) = snapshot.view.logs(height)? else {
        return Ok(Vec::new());
    };
    let matches: Vec<_> = (0_u64..)
        .zip(logs)
        .filter(|(_, (_, log))| filter.matches(log))
        .collect();
    if matches.is_empty() {
        return Ok(Vec::new());
    }
    // The block is only needed for the hashes in a match.
    let Some(block) = snapshot.view.block(height)? else {
        return Ok(Vec::new());
    };
    let name = block.header.hash_slow();
    let hashes: Vec<B256> = block
        .body
        .transactions
        .iter()
        .map(|transaction| *transaction.tx_hash())
        .collect();
    let position = |(log_index, (index, log)): (u64, (u32, _))| {
        let transaction = *hashes.get(index as usize).ok_or_else(|| {
            Failure::Internal(format!(
                "this node's receipts of block {height} do not belong to its block"
            ))
        })?;
        let position = convert::LogPosition {
            block: name,
            height,
            timestamp_s: block.header.timestamp,
            transaction,
            transaction_index: u64::from(index),
            log_index,
        };
        Ok(convert::log(log, position))
    };
    matches.into_iter().map(position).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, LogData};

    use super::*;

    #[test]
    fn a_range_lies_within_the_chain_and_is_not_too_wide() {
        assert_eq!(check_range(3, 6, 10, 100), Ok((3, 6)));
        assert_eq!(check_range(1, 100, 100, 100), Ok((1, 100)));
        let refuse = |from, to, text: &str| {
            let why = check_range(from, to, 1000, 100).unwrap_err();
            assert!(matches!(&why, Failure::Params(why) if why.contains(text)), "{why}");
        };
        refuse(6, 3, "invalid block range");
        refuse(990, 1001, "beyond current head block");
        refuse(1, 101, "101 blocks, the limit is 100");
    }

    #[test]
    fn a_filter_matches_by_address_and_topics_with_wildcards() {
        let (a, b) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let (x, y) = (B256::repeat_byte(7), B256::repeat_byte(8));
        let log = |address, topics: &[B256]| alloy_primitives::Log {
            address,
            data: LogData::new_unchecked(topics.to_vec(), Default::default()),
        };
        let check = |json: serde_json::Value, log: &alloy_primitives::Log, expect: bool| {
            let filter: Filter = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(filter.matches(log), expect, "{json}");
        };
        let one = log(a, &[x, y]);
        check(serde_json::json!({}), &one, true);
        check(serde_json::json!({"address": a}), &one, true);
        check(serde_json::json!({"address": [b]}), &one, false);
        check(serde_json::json!({"topics": [null, y]}), &one, true);
        check(serde_json::json!({"topics": [[], [y]]}), &one, true);
        check(serde_json::json!({"topics": [[x, y]]}), &one, true);
        check(serde_json::json!({"topics": [y]}), &one, false);
        check(serde_json::json!({"topics": [x, y, y]}), &one, false);
    }

    #[test]
    fn a_filter_names_a_block_or_a_range() {
        let both = serde_json::json!({"blockHash": B256::ZERO, "fromBlock": "0x1"});
        assert!(
            serde_json::from_value::<Filter>(both)
                .unwrap_err()
                .to_string()
                .contains("cannot specify both")
        );
    }
}

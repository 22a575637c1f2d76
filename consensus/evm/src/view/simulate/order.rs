//! Heights and timestamps of simulated blocks. Both must rise, and gaps between heights are filled with empty
//! blocks.

use alloy_consensus::Header;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};

use super::{BLOCKS_MAX, BlockStateCalls, SimulateError};
use crate::view::BlockOverrides;

/// Seconds between blocks where none are given.
const STEP_S: u64 = 12;

/// A block with its height and timestamp.
pub(super) struct OrderedBlock<'a> {
    pub(super) number: u64,
    pub(super) time_s: u64,
    pub(super) overrides: BlockOverrides,
    pub(super) state: Option<&'a StateOverride>,
    pub(super) calls: &'a [TransactionRequest],
}

/// Gives every block its height and timestamp, and fills gaps with empty blocks.
pub(super) fn fill_gaps<'a>(
    blocks: &'a [BlockStateCalls],
    base: &Header,
) -> Result<Vec<OrderedBlock<'a>>, SimulateError> {
    let mut ordered: Vec<OrderedBlock<'a>> = Vec::new();
    let (mut number, mut time_s) = (base.number, base.timestamp);
    for block in blocks {
        let overrides = block.block_overrides.clone().unwrap_or_default();
        let wanted = overrides.number.unwrap_or(U256::from(number) + U256::ONE);
        if wanted <= U256::from(number) {
            let found = wanted.saturating_to();
            return Err(SimulateError::Number { found, before: number });
        }
        if wanted - U256::from(base.number) > U256::from(BLOCKS_MAX) {
            return Err(SimulateError::Limit(format!(
                "too many blocks: a simulation reaches at most {BLOCKS_MAX} above its base"
            )));
        }
        let wanted: u64 = wanted.to();
        while number + 1 < wanted {
            (number, time_s) = (number + 1, time_s.saturating_add(STEP_S));
            ordered.push(OrderedBlock {
                number,
                time_s,
                overrides: BlockOverrides::default(),
                state: None,
                calls: &[],
            });
        }
        let time = overrides
            .time
            .map_or(time_s.saturating_add(STEP_S), |time: U64| time.to());
        if time <= time_s {
            return Err(SimulateError::Time {
                found: time,
                before: time_s,
            });
        }
        (number, time_s) = (wanted, time);
        ordered.push(OrderedBlock {
            number,
            time_s,
            overrides,
            state: block.state_overrides.as_ref(),
            calls: &block.calls,
        });
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: Option<u64>, time: Option<u64>) -> BlockStateCalls {
        BlockStateCalls {
            block_overrides: Some(BlockOverrides {
                number: number.map(U256::from),
                time: time.map(U64::from),
                ..BlockOverrides::default()
            }),
            ..BlockStateCalls::default()
        }
    }

    fn check(blocks: &[BlockStateCalls]) -> Result<Vec<(u64, u64)>, String> {
        let base = Header {
            number: 10,
            timestamp: 100,
            ..Header::default()
        };
        let ordered = fill_gaps(blocks, &base).map_err(|why| why.to_string())?;
        Ok(ordered.iter().map(|block| (block.number, block.time_s)).collect())
    }

    #[test]
    fn blocks_follow_each_other_by_twelve_seconds() {
        assert_eq!(check(&[at(None, None), at(None, None)]), Ok(vec![(11, 112), (12, 124)]));
    }

    #[test]
    fn gaps_are_filled_with_empty_blocks() {
        assert_eq!(
            check(&[at(Some(13), Some(200))]),
            Ok(vec![(11, 112), (12, 124), (13, 200)])
        );
    }

    #[test]
    fn heights_and_times_rise() {
        let text = |blocks: &[BlockStateCalls]| check(blocks).unwrap_err();
        assert_eq!(text(&[at(Some(10), None)]), "block numbers must be in order: 10 <= 10");
        assert_eq!(
            text(&[at(None, Some(100))]),
            "block timestamps must be in order: 100 <= 100"
        );
        // The empty blocks in between take time, too.
        assert_eq!(
            text(&[at(Some(13), Some(120))]),
            "block timestamps must be in order: 120 <= 124"
        );
        assert!(text(&[at(Some(10 + BLOCKS_MAX + 1), None)]).contains("at most 256"));
    }
}

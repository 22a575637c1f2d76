//! Execution results in a header: computes them for a block being built, and compares them for a block being
//! verified.

use alloy_consensus::Header;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{B256, Bloom};

use crate::{chain::ChainSpec, execute::Executed};

/// A header field that contradicts the execution of its block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("gas used is {found}, its header claims {claimed}")]
    GasUsed { found: u64, claimed: u64 },
    #[error("receipts root is {found}, its header claims {claimed}")]
    ReceiptsRoot { found: B256, claimed: B256 },
    #[error("logs bloom is not that of the logs")]
    LogsBloom,
    #[error("requests hash is {found:?}, its header claims {claimed:?}")]
    RequestsHash { found: Option<B256>, claimed: Option<B256> },
    #[error("state root is {found}, its header claims {claimed}")]
    StateRoot { found: B256, claimed: B256 },
}

/// The header fields that follow from execution, except the state root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub gas_used: u64,
    pub receipts_root: B256,
    pub logs_bloom: Bloom,
    /// Hash of the EIP-7685 requests, from Prague on.
    pub requests_hash: Option<B256>,
}

/// The header fields of a block executed at this time.
pub fn summarise(executed: &Executed, spec: &ChainSpec, timestamp_s: u64) -> Summary {
    let prague = spec.is_prague_active_at_timestamp(timestamp_s);
    Summary {
        gas_used: executed.gas_used,
        receipts_root: executed.receipts_root(),
        logs_bloom: executed.logs_bloom(),
        requests_hash: prague.then(|| executed.requests.requests_hash()),
    }
}

/// Compares a header with the execution of its block. The state root is left to the caller.
pub fn compare(header: &Header, executed: &Executed, spec: &ChainSpec) -> Result<(), Mismatch> {
    let found = summarise(executed, spec, header.timestamp);
    if found.gas_used != header.gas_used {
        return Err(Mismatch::GasUsed {
            found: found.gas_used,
            claimed: header.gas_used,
        });
    }
    if found.receipts_root != header.receipts_root {
        return Err(Mismatch::ReceiptsRoot {
            found: found.receipts_root,
            claimed: header.receipts_root,
        });
    }
    if found.logs_bloom != header.logs_bloom {
        return Err(Mismatch::LogsBloom);
    }
    if found.requests_hash != header.requests_hash {
        return Err(Mismatch::RequestsHash {
            found: found.requests_hash,
            claimed: header.requests_hash,
        });
    }
    Ok(())
}

//! What execution found, written into a header or compared with one.

use alloy_consensus::Header;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{B256, Bloom};

use crate::{chain::ChainSpec, execute::Executed};

/// A header that does not say what execution found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Gas of all transactions.
    #[error("gas used is {found}, its header says {claimed}")]
    GasUsed {
        /// By execution.
        found: u64,
        /// In the header.
        claimed: u64,
    },
    /// Root of the receipts.
    #[error("receipts root is {found}, its header says {claimed}")]
    ReceiptsRoot {
        /// By execution.
        found: B256,
        /// In the header.
        claimed: B256,
    },
    /// Filter over the logs.
    #[error("logs bloom is not that of the logs")]
    LogsBloom,
    /// Hash of the EIP-7685 requests.
    #[error("requests hash is {found:?}, its header says {claimed:?}")]
    RequestsHash {
        /// By execution.
        found: Option<B256>,
        /// In the header.
        claimed: Option<B256>,
    },
    /// Root of the state.
    #[error("state root is {found}, its header says {claimed}")]
    StateRoot {
        /// By execution.
        found: B256,
        /// In the header.
        claimed: B256,
    },
}

/// What a header says about the execution of its block, the state root aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Gas of all transactions.
    pub gas_used: u64,
    /// Root of the receipts.
    pub receipts_root: B256,
    /// Filter over the logs.
    pub logs_bloom: Bloom,
    /// Hash of the EIP-7685 requests, from Prague on.
    pub requests_hash: Option<B256>,
}

/// Summarises the execution of a block at this time.
pub fn summarise(executed: &Executed, spec: &ChainSpec, timestamp_s: u64) -> Summary {
    let prague = spec.is_prague_active_at_timestamp(timestamp_s);
    Summary {
        gas_used: executed.gas_used,
        receipts_root: executed.receipts_root(),
        logs_bloom: executed.logs_bloom(),
        requests_hash: prague.then(|| executed.requests.requests_hash()),
    }
}

/// Compares a header with the execution of its block, the state root aside.
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

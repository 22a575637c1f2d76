//! Errors of JSON-RPC methods and their codes.

use alloy_primitives::Bytes;
use evm::{
    state::AtError,
    view::{BuildError, CallError, EstimateError, TraceError, ViewError, simulate::SimulateError},
};
use jsonrpsee::types::{
    ErrorObjectOwned,
    error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
};
use tracing::error;

use crate::{actor::Stopped, ingress::IngressError};
use base::errors::chained;

/// Code of a refused request. Geth's code; wallets match on the text.
const REFUSED_CODE: i32 = -32000;
/// Code of a reverted call. `data` is the revert data.
const REVERTED_CODE: i32 = 3;

/// Reason that a method has no result, with the error code that clients know for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A parameter is invalid.
    #[error("{0}")]
    Params(String),
    /// The request is valid and cannot be fulfilled.
    #[error("{0}")]
    Refused(String),
    #[error("execution reverted{}{}", if reason.is_some() { ": " } else { "" }, reason.as_deref().unwrap_or(""))]
    Reverted {
        output: Bytes,
        /// The message in `output`, if it has one.
        reason: Option<String>,
    },
    /// An error with a code that the method defines.
    #[error("{text}")]
    Coded { code: i32, text: String },
    /// This node failed.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// An invalid parameter: the caller must change the request.
    pub fn params(text: impl Into<String>) -> Self {
        Self::Params(text.into())
    }

    /// A valid request that is refused, for instance because of the chain's state.
    pub fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    /// A block that is needed for the answer does not exist.
    pub fn no_block() -> Self {
        Self::refused("header not found")
    }
}

impl From<Failure> for ErrorObjectOwned {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::Params(_) => Self::owned(INVALID_PARAMS_CODE, text, None::<()>),
            Failure::Refused(_) => Self::owned(REFUSED_CODE, text, None::<()>),
            Failure::Reverted { output, .. } => Self::owned(REVERTED_CODE, text, Some(output)),
            Failure::Coded { code, .. } => Self::owned(code, text, None::<()>),
            Failure::Internal(_) => Self::owned(INTERNAL_ERROR_CODE, text, None::<()>),
        }
    }
}

impl From<ViewError> for Failure {
    fn from(why: ViewError) -> Self {
        match why {
            ViewError::At(AtError::Unknown(_)) => Self::no_block(),
            ViewError::At(pruned @ AtError::Pruned { .. }) => Self::refused(pruned.to_string()),
            why => {
                let why = chained(&why);
                error!(error = why, "could not read the chain for a request");
                Self::Internal(format!("this node cannot read its chain: {why}"))
            }
        }
    }
}

impl From<CallError> for Failure {
    fn from(why: CallError) -> Self {
        match why {
            CallError::View(why) => why.into(),
            CallError::Invalid(why) => Self::Refused(why),
            CallError::State(why) => {
                error!(error = why, "could not read the state for a call");
                Self::Internal(format!("this node cannot read its state: {why}"))
            }
        }
    }
}

impl From<EstimateError> for Failure {
    fn from(why: EstimateError) -> Self {
        match why {
            EstimateError::Call(why) => why.into(),
            EstimateError::Reverted { output, reason } => Self::Reverted { output, reason },
            EstimateError::TooMuch(_) | EstimateError::Halted(_) => Self::refused(why.to_string()),
        }
    }
}

impl From<SimulateError> for Failure {
    fn from(why: SimulateError) -> Self {
        let text = why.to_string();
        let coded = |code| Self::Coded {
            code,
            text: text.clone(),
        };
        match why {
            SimulateError::View(why) => why.into(),
            SimulateError::Empty => Self::Params(text),
            SimulateError::Limit(_) => coded(-38026),
            SimulateError::Number { .. } => coded(-38020),
            SimulateError::Time { .. } => coded(-38021),
            SimulateError::BlockGas { .. } => coded(-38015),
            SimulateError::Invalid { code, .. } => coded(code),
            SimulateError::Override(_) | SimulateError::Request(_) => Self::Refused(text),
            SimulateError::State(why) => {
                error!(error = why, "could not read the state for a simulation");
                Self::Internal(format!("this node cannot read its state: {why}"))
            }
        }
    }
}

impl From<TraceError> for Failure {
    fn from(why: TraceError) -> Self {
        let text = why.to_string();
        match why {
            TraceError::View(why) => why.into(),
            TraceError::Call(why) => why.into(),
            TraceError::Genesis | TraceError::NoTransaction | TraceError::Tracer(_) | TraceError::TooLong => {
                Self::Refused(text)
            }
            TraceError::Replay(_) => {
                error!(error = text, "could not trace a block");
                Self::Internal(text)
            }
        }
    }
}

impl From<BuildError> for Failure {
    fn from(why: BuildError) -> Self {
        let text = why.to_string();
        match why {
            BuildError::View(why) => why.into(),
            BuildError::Attributes(_) | BuildError::Execute(_) => Self::Refused(text),
            BuildError::State(_) => Self::Internal(text),
        }
    }
}

impl From<IngressError> for Failure {
    fn from(why: IngressError) -> Self {
        match why {
            IngressError::TxValidator(_) | IngressError::Pool(_) => Self::refused(why.to_string()),
            IngressError::Disk(_) | IngressError::Stopped(_) => Self::Internal(why.to_string()),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(why: Stopped) -> Self {
        Self::Internal(why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use consensus::mempool::PoolError;
    use evm::pool_tx::TxError;

    use super::*;

    fn check(failure: impl Into<Failure>, code: i32, text: &str) -> ErrorObjectOwned {
        let object = ErrorObjectOwned::from(failure.into());
        assert_eq!((object.code(), object.message()), (code, text));
        object
    }

    #[test]
    fn a_refused_transaction_has_the_text_that_wallets_match_on() {
        let pool = |why| IngressError::Pool(why);
        check(pool(PoolError::Known), -32000, "already known");
        check(
            pool(PoolError::NonceTooLow { expected: 4, found: 2 }),
            -32000,
            "nonce too low: next nonce 4, tx nonce 2",
        );
        check(
            pool(PoolError::Funds { have: 1, need: 2 }),
            -32000,
            "insufficient funds for gas * price + value: balance 1, tx cost 2",
        );
        check(
            IngressError::TxValidator(TxError::Chain { found: 1, wanted: 2 }),
            -32000,
            "invalid chain id for signer: have 1 want 2",
        );
    }

    #[test]
    fn a_revert_error_contains_its_data() {
        let output = Bytes::from_static(&[0xab, 0xcd]);
        let reverted = Failure::Reverted {
            output: output.clone(),
            reason: Some("assert(false)".into()),
        };
        let object = check(reverted, 3, "execution reverted: assert(false)");
        assert_eq!(object.data().unwrap().get(), "\"0xabcd\"");
        check(Failure::Reverted { output, reason: None }, 3, "execution reverted");
    }

    #[test]
    fn the_error_for_a_pruned_height_names_the_oldest_one() {
        check(ViewError::At(AtError::Unknown(7)), -32000, "header not found");
        check(
            ViewError::At(AtError::Pruned { height: 1, oldest: 44 }),
            -32000,
            "the state of height 1 is pruned; 44 is the oldest that is kept",
        );
    }
}

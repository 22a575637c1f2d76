//! `eth_`: calls that change nothing, gas estimates and access lists.

use alloy_eips::{BlockId, eip2930::AccessList};
use alloy_primitives::{Bytes, U64};
use alloy_rpc_types_eth::{AccessListResult, TransactionRequest, state::StateOverride};
use evm::view::{AccessListOutcome, BlockOverrides, CallOutcome, CallRequest, Overrides};
use jsonrpsee::{core::async_trait, proc_macros::rpc};

use crate::rpc::{Rpc, failure::Failure};

/// Methods of `eth_` that run the EVM.
#[rpc(server, namespace = "eth")]
pub(crate) trait EthCalls {
    /// The return data of a call.
    #[method(name = "call")]
    async fn call(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
        block_overrides: Option<BlockOverrides>,
    ) -> Result<Bytes, Failure>;

    /// The gas that a transaction needs.
    #[method(name = "estimateGas")]
    async fn estimate_gas(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
        block_overrides: Option<BlockOverrides>,
    ) -> Result<U64, Failure>;

    /// The accounts and slots that a call touches.
    #[method(name = "createAccessList")]
    async fn access_list(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
    ) -> Result<AccessListResult, Failure>;
}

#[async_trait]
impl EthCallsServer for Rpc {
    async fn call(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
        block_overrides: Option<BlockOverrides>,
    ) -> Result<Bytes, Failure> {
        let overrides = overrides(state_overrides, block_overrides);
        let request = read(request, self.head().view.spec().chain_id)?;
        match self
            .work(move |snapshot| Ok(snapshot.view.call(&request, snapshot.at(block)?, &overrides)?))
            .await?
        {
            CallOutcome::Returned { output, .. } => Ok(output),
            CallOutcome::Reverted { output, reason, .. } => Err(Failure::Reverted { output, reason }),
            CallOutcome::Halted { reason, .. } => Err(Failure::refused(reason)),
        }
    }

    async fn estimate_gas(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
        block_overrides: Option<BlockOverrides>,
    ) -> Result<U64, Failure> {
        let overrides = overrides(state_overrides, block_overrides);
        let request = read(request, self.head().view.spec().chain_id)?;
        let gas = self
            .work(move |snapshot| Ok(snapshot.view.estimate_gas(&request, snapshot.at(block)?, &overrides)?))
            .await?;
        Ok(U64::from(gas))
    }

    async fn access_list(
        &self,
        request: TransactionRequest,
        block: Option<BlockId>,
        state_overrides: Option<StateOverride>,
    ) -> Result<AccessListResult, Failure> {
        let overrides = overrides(state_overrides, None);
        let request = read(request, self.head().view.spec().chain_id)?;
        let listed = self
            .work(move |snapshot| Ok(snapshot.view.access_list(&request, snapshot.at(block)?, &overrides)?))
            .await?;
        Ok(shape_list(listed))
    }
}

fn overrides(state: Option<StateOverride>, block: Option<BlockOverrides>) -> Overrides {
    Overrides {
        state: state.unwrap_or_default(),
        block: block.unwrap_or_default(),
    }
}

/// A failed call has a list, too: of the slots that it touched before it failed.
fn shape_list(AccessListOutcome { list, outcome }: AccessListOutcome) -> AccessListResult {
    let (gas_used, error) = match outcome {
        CallOutcome::Returned { gas_used, .. } => (gas_used, None),
        CallOutcome::Reverted { gas_used, .. } => (gas_used, Some("execution reverted".into())),
        CallOutcome::Halted { reason, gas_used, .. } => (gas_used, Some(reason)),
    };
    AccessListResult {
        access_list: AccessList(list.0),
        gas_used: alloy_primitives::U256::from(gas_used),
        error,
    }
}

/// Reads a call request. Fields that would have no effect are refused.
pub(crate) fn read(request: TransactionRequest, chain_id: u64) -> Result<CallRequest, Failure> {
    if request.gas_price.is_some() && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some())
    {
        return Err(Failure::refused(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    if let (Some(cap), Some(tip)) = (request.max_fee_per_gas, request.max_priority_fee_per_gas)
        && cap < tip
    {
        return Err(Failure::refused(format!(
            "maxFeePerGas ({cap}) < maxPriorityFeePerGas ({tip})"
        )));
    }
    if let Some(found) = request.chain_id.filter(|found| *found != chain_id) {
        return Err(Failure::refused(format!(
            "chainId does not match node's (have={found}, want={chain_id})"
        )));
    }
    if request.sidecar.is_some() {
        return Err(Failure::params("a call takes no blobs, only their blobVersionedHashes"));
    }
    let unlike = |_| Failure::refused("both \"data\" and \"input\" are set and not equal; please use \"input\"");
    Ok(CallRequest {
        from: request.from.unwrap_or_default(),
        to: request.to.and_then(|to| to.to().copied()),
        gas: request.gas,
        fee_cap: request.gas_price.or(request.max_fee_per_gas),
        tip_cap: request.max_priority_fee_per_gas,
        value: request.value.unwrap_or_default(),
        input: request
            .input
            .try_into_unique_input()
            .map_err(unlike)?
            .unwrap_or_default(),
        nonce: request.nonce,
        access_list: request.access_list.unwrap_or_default(),
        blobs: request.blob_versioned_hashes.unwrap_or_default(),
        blob_fee_cap: request.max_fee_per_blob_gas,
        authorizations: request.authorization_list.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<CallRequest, Failure> {
        read(serde_json::from_str(json).unwrap(), 1337)
    }

    #[test]
    fn a_request_is_read_in_either_price_form() {
        let legacy = parse(r#"{"gasPrice":"0x7","data":"0x01"}"#).unwrap();
        assert_eq!(
            (legacy.fee_cap, legacy.tip_cap, &legacy.input[..]),
            (Some(7), None, &[1][..])
        );
        let dynamic = parse(r#"{"maxFeePerGas":"0x9","maxPriorityFeePerGas":"0x2","input":"0x02"}"#).unwrap();
        assert_eq!(
            (dynamic.fee_cap, dynamic.tip_cap, &dynamic.input[..]),
            (Some(9), Some(2), &[2][..])
        );
    }

    #[test]
    fn a_contradictory_request_is_refused() {
        let check = |json: &str, expect: &str| {
            let why = parse(json).unwrap_err().to_string();
            assert!(why.contains(expect), "{json}: {why}");
        };
        check(r#"{"gasPrice":"0x7","maxFeePerGas":"0x7"}"#, "both gasPrice and");
        check(
            r#"{"maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x2"}"#,
            "maxFeePerGas (1) < maxPriorityFeePerGas (2)",
        );
        check(r#"{"chainId":"0x1"}"#, "have=1, want=1337");
        check(r#"{"data":"0x01","input":"0x02"}"#, "not equal");
    }
}

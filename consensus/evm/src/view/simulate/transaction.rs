//! Turns a call request into an unsigned transaction, with defaults for absent fields.

use alloy_consensus::{
    Header, Signed, Transaction, TxEip1559, TxEip4844, TxEip4844Variant, TxEip7702, TxEnvelope, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_rpc_types_eth::TransactionRequest;
use revm::{context::TxEnv, state::AccountInfo};

use super::{GasBudget, SimulateError};
use crate::view::CallRequest;

/// A transaction that is ready to be simulated.
pub(super) struct Prepared {
    pub(super) sender: Address,
    pub(super) envelope: TxEnvelope,
    pub(super) env: TxEnv,
    /// True if it offers no price for its gas.
    pub(super) is_free: bool,
    /// True if it got less gas than it requested.
    pub(super) is_capped: bool,
}

/// Fills in the fields that `request` leaves out: the next nonce, all the gas that is left, no price.
pub(super) fn prepare(
    request: &TransactionRequest,
    account: Option<&AccountInfo>,
    header: &Header,
    chain_id: u64,
    gas_left: u64,
    budget: &GasBudget,
) -> Result<Prepared, SimulateError> {
    check(request, chain_id)?;
    let wanted = request.gas.unwrap_or(gas_left);
    if wanted > gas_left {
        return Err(SimulateError::BlockGas { left: gas_left, wanted });
    }
    let gas = wanted.min(budget.0);
    let nonce = request
        .nonce
        .unwrap_or_else(|| account.map_or(0, |account| account.nonce));
    let legacy = request.gas_price.is_some() || header.base_fee_per_gas.is_none();
    let unlike = |_| SimulateError::Request("both \"data\" and \"input\" are set and not equal".into());
    let input = request.input.clone().try_into_unique_input().map_err(unlike)?;
    let call = CallRequest {
        from: request.from.unwrap_or_default(),
        to: request.to.and_then(|to| to.to().copied()),
        gas: Some(gas),
        fee_cap: Some(request.gas_price.or(request.max_fee_per_gas).unwrap_or(0)),
        tip_cap: (!legacy).then(|| request.max_priority_fee_per_gas.unwrap_or(0)),
        value: request.value.unwrap_or_default(),
        input: input.unwrap_or_default(),
        nonce: Some(nonce),
        access_list: request.access_list.clone().unwrap_or_default(),
        blobs: request.blob_versioned_hashes.clone().unwrap_or_default(),
        blob_fee_cap: request.max_fee_per_blob_gas,
        authorizations: request.authorization_list.clone().unwrap_or_default(),
    };
    let env = call.transaction(chain_id, gas)?;
    let kind = Kind::of(request, legacy);
    Ok(Prepared {
        sender: call.from,
        is_free: call.fee_cap == Some(0) && call.tip_cap.unwrap_or(0) == 0,
        envelope: envelope(kind, call, chain_id, nonce, gas)?,
        env,
        is_capped: gas < wanted,
    })
}

fn check(request: &TransactionRequest, chain_id: u64) -> Result<(), SimulateError> {
    let dynamic = request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some();
    if request.gas_price.is_some() && dynamic {
        return Err(SimulateError::Request(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified".into(),
        ));
    }
    if let Some(found) = request.chain_id.filter(|found| *found != chain_id) {
        return Err(SimulateError::Request(format!(
            "chainId does not match node's (have={found}, want={chain_id})"
        )));
    }
    Ok(())
}

enum Kind {
    Legacy,
    Dynamic,
    Blobs,
    SetCode,
}

impl Kind {
    /// A legacy gas price makes a legacy transaction, whatever else is set.
    fn of(request: &TransactionRequest, legacy: bool) -> Self {
        if legacy {
            Self::Legacy
        } else if request.authorization_list.is_some() {
            Self::SetCode
        } else if request.blob_versioned_hashes.is_some() {
            Self::Blobs
        } else {
            Self::Dynamic
        }
    }
}

fn envelope(kind: Kind, call: CallRequest, chain_id: u64, nonce: u64, gas: u64) -> Result<TxEnvelope, SimulateError> {
    let no_signature = Signature::new(U256::ZERO, U256::ZERO, false);
    let to = call.to.map_or(TxKind::Create, TxKind::Call);
    let target = || {
        call.to
            .ok_or_else(|| SimulateError::Request("this type of transaction needs a `to`".into()))
    };
    let (max_fee_per_gas, max_priority_fee_per_gas) = (call.fee_cap.unwrap_or(0), call.tip_cap.unwrap_or(0));
    Ok(match kind {
        Kind::Legacy => {
            let legacy = TxLegacy {
                chain_id: None,
                nonce,
                gas_price: max_fee_per_gas,
                gas_limit: gas,
                to,
                value: call.value,
                input: call.input,
            };
            let hash = keccak256(encode_legacy(&legacy));
            TxEnvelope::Legacy(Signed::new_unchecked(legacy, no_signature, hash))
        }
        Kind::Dynamic => TxEnvelope::Eip1559(Signed::new_unhashed(
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value: call.value,
                access_list: call.access_list,
                input: call.input,
            },
            no_signature,
        )),
        Kind::Blobs => {
            let blobs = TxEip4844 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: target()?,
                value: call.value,
                access_list: call.access_list,
                blob_versioned_hashes: call.blobs,
                max_fee_per_blob_gas: call.blob_fee_cap.unwrap_or(0),
                input: call.input,
            };
            TxEnvelope::Eip4844(Signed::new_unhashed(TxEip4844Variant::TxEip4844(blobs), no_signature))
        }
        Kind::SetCode => TxEnvelope::Eip7702(Signed::new_unhashed(
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: target()?,
                value: call.value,
                access_list: call.access_list,
                authorization_list: call.authorizations,
                input: call.input,
            },
            no_signature,
        )),
    })
}

/// The encoding of a simulated transaction in the transactions root.
pub(super) fn encode(transaction: &TxEnvelope) -> Vec<u8> {
    match transaction {
        TxEnvelope::Legacy(legacy) => encode_legacy(legacy.tx()),
        other => other.encoded_2718(),
    }
}

/// An unsigned legacy transaction has `v`, `r` and `s` of zero.
fn encode_legacy(transaction: &TxLegacy) -> Vec<u8> {
    let mut fields = Vec::new();
    transaction.nonce.encode(&mut fields);
    transaction.gas_price.encode(&mut fields);
    transaction.gas_limit.encode(&mut fields);
    transaction.to.encode(&mut fields);
    transaction.value.encode(&mut fields);
    transaction.input.encode(&mut fields);
    [0_u8; 3].iter().for_each(|zero| zero.encode(&mut fields));
    let mut bytes = Vec::new();
    alloy_rlp::Header {
        list: true,
        payload_length: fields.len(),
    }
    .encode(&mut bytes);
    bytes.extend(fields);
    bytes
}

/// Checks that `account` may send the transaction: the checks of an EVM, in the order and with the codes of geth.
pub(super) fn check_account(
    prepared: &Prepared,
    account: Option<&AccountInfo>,
    base_fee: u64,
    validation: bool,
) -> Result<(), SimulateError> {
    let transaction = &prepared.envelope;
    let refuse = |code, why: String| Err(SimulateError::Invalid { code, why });
    let (found, next) = (transaction.nonce(), account.map_or(0, |account| account.nonce));
    if validation && found > next {
        return refuse(-38011, format!("nonce too high: next nonce {next}, tx nonce {found}"));
    }
    if validation && found < next {
        return refuse(-38010, format!("nonce too low: next nonce {next}, tx nonce {found}"));
    }
    if validation && next == u64::MAX {
        return refuse(-32603, format!("nonce has max value: address {}", prepared.sender));
    }
    let (cap, tip) = (
        transaction.max_fee_per_gas(),
        transaction.max_priority_fee_per_gas().unwrap_or(0),
    );
    if tip > cap {
        return refuse(
            -32602,
            format!("max priority fee per gas higher than max fee per gas: {tip} > {cap}"),
        );
    }
    let ignores_base_fee = !validation && prepared.is_free;
    if cap < u128::from(base_fee) && !ignores_base_fee {
        return refuse(
            -38012,
            format!(
                "max fee per gas less than block base fee: address {}, maxFeePerGas: {cap}, baseFee: {base_fee}",
                prepared.sender
            ),
        );
    }
    let blobs = U256::from(transaction.blob_gas_used().unwrap_or(0))
        * U256::from(transaction.max_fee_per_blob_gas().unwrap_or(0));
    let gas = U256::from(cap) * U256::from(transaction.gas_limit());
    let need = gas.saturating_add(transaction.value()).saturating_add(blobs);
    let have = account.map_or(U256::ZERO, |account| account.balance);
    if have < need {
        return refuse(
            -38014,
            format!(
                "insufficient funds for gas * price + value: address {} have {have} want {need}",
                prepared.sender
            ),
        );
    }
    Ok(())
}

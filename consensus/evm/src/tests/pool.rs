use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEnvelope, TxLegacy, crypto::SECP256K1N_HALF};
use alloy_eips::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256, keccak256};
use protocol::{Account, Amount, TxHash};

use super::support::*;
use crate::pool_tx::{TX_BYTES_MAX, TxError, TxValidator};

fn tx_validator() -> TxValidator {
    Chain::new().ledger.tx_validator()
}

fn payment(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        gas_limit: 21_000,
        to: TxKind::Call(wallet(6).address),
        value: U256::from(7),
        ..fee_market(nonce)
    }
}

fn refused(raw: &[u8]) -> TxError {
    tx_validator().admit(&raw.into()).expect_err("must be refused")
}

#[test]
fn an_admitted_transaction_has_every_field_that_the_mempool_needs() {
    let raw = wallet(5).sign(payment(3));
    let pooled = tx_validator().admit(&raw).unwrap();
    assert_eq!(pooled.hash, TxHash(keccak256(&raw).0));
    assert_eq!(pooled.sender, Account(wallet(5).address.0.0));
    assert_eq!((pooled.nonce, pooled.gas_limit), (3, 21_000));
    assert_eq!((pooled.fee_cap, pooled.tip_cap), (FEE_CAP, 1_000_000_000));
    assert_eq!(pooled.cost, Amount(FEE_CAP * 21_000 + 7));
    assert_eq!(pooled.raw, raw);
}

#[test]
fn legacy_access_list_and_set_code_transactions_are_admitted() {
    let mut delegate = set_code(0, wallet(6).address);
    delegate.authorization_list = vec![wallet(7).authorize(wallet(8).address, 0)];
    for raw in [
        wallet(5).sign(legacy(0, wallet(6).address)),
        wallet(5).sign(with_access_list(0, wallet(6).address)),
        wallet(5).sign(delegate),
    ] {
        assert_eq!(
            tx_validator().admit(&raw).unwrap().sender,
            Account(wallet(5).address.0.0)
        );
    }
}

#[test]
fn blob_transactions_are_refused_with_their_own_error() {
    use alloy_consensus::TxEip4844Variant;
    let transaction = TxEip4844 {
        chain_id: CHAIN_ID,
        ..Default::default()
    };
    let signature = wallet(5).sign_hash(transaction.signature_hash());
    let transaction: TxEip4844Variant = transaction.into();
    let envelope: TxEnvelope = transaction.into_signed(signature).into();
    let error = refused(&envelope.encoded_2718());
    assert_eq!(error, TxError::Blobs);
    assert!(error.to_string().contains("EIP-4844"), "{error}");
}

#[test]
fn every_rule_of_the_door_refuses() {
    let sign = |change: &dyn Fn(&mut TxEip1559)| {
        let mut transaction = payment(0);
        change(&mut transaction);
        wallet(5).sign(transaction)
    };
    let unprotected = wallet(5).sign(TxLegacy {
        chain_id: None,
        ..legacy(0, wallet(6).address)
    });
    let cases: [(Arc<[u8]>, &str); 13] = [
        (sign(&|tx| tx.chain_id = 1), "have 1 want 7777"),
        (unprotected, "sign for chain id 7777"),
        (sign(&|tx| tx.gas_limit = 20_999), "minimum needed 21000"),
        (sign(&|tx| tx.input = vec![1; 100].into()), "minimum needed 25000"),
        (sign(&|tx| tx.gas_limit = 16_777_217), "above the 16777216"),
        (
            sign(&|tx| tx.max_priority_fee_per_gas = FEE_CAP + 1),
            "priority fee per gas higher",
        ),
        (sign(&|tx| tx.value = U256::MAX), "all OPEN there is"),
        (sign(&|tx| tx.nonce = u64::MAX), "nonce has max value"),
        (
            sign(&|tx| {
                tx.to = TxKind::Create;
                tx.input = vec![0; 49_153].into();
                tx.gas_limit = 5_000_000;
            }),
            "max initcode size exceeded",
        ),
        (
            wallet(5).sign(set_code(0, wallet(6).address)),
            "non-empty authorization list",
        ),
        (vec![0; TX_BYTES_MAX + 1].into(), "oversized data"),
        (vec![2, 0xc0].into(), "not a transaction"),
        (Vec::new().into(), "not a transaction"),
    ];
    for (raw, part) in cases {
        let error = refused(&raw).to_string();
        assert!(error.contains(part), "`{error}` should say `{part}`");
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut raw = wallet(5).sign(payment(0)).to_vec();
    raw.push(0);
    assert!(refused(&raw).to_string().contains("not a transaction"));
}

/// EIP-2: both `s` and `n - s` satisfy the curve; only the low one is a signature.
#[test]
fn a_signature_with_high_s_is_refused() {
    let transaction = payment(0);
    let low = wallet(5).sign_hash(transaction.signature_hash());
    let order = SECP256K1N_HALF * U256::from(2) + U256::from(1);
    let high = Signature::new(low.r(), order - low.s(), !low.v());
    let envelope = TxEnvelope::from(transaction.into_signed(high));
    use alloy_consensus::transaction::SignerRecoverable;
    assert_eq!(
        envelope.recover_signer_unchecked().unwrap(),
        wallet(5).address,
        "the curve does not mind"
    );
    assert_eq!(refused(&envelope.encoded_2718()), TxError::Sender);
}

#[test]
fn results_of_many_transactions_are_in_the_order_of_the_input() {
    let raw: Vec<Arc<[u8]>> = (0..50_u64)
        .map(|n| {
            if n % 7 == 3 {
                vec![3, 1].into()
            } else {
                wallet(5).sign(payment(n))
            }
        })
        .collect();
    let answers = tx_validator().admit_all(&raw);
    for (n, answer) in (0_u64..).zip(answers) {
        match answer {
            Ok(pooled) => assert_eq!(pooled.nonce, n),
            Err(error) => assert_eq!((n % 7, error), (3, TxError::Blobs)),
        }
    }
}

#[test]
fn a_sender_is_recovered_once() {
    let chain = Chain::new();
    let tx_validator = chain.ledger.tx_validator();
    let raw = wallet(5).sign(payment(0));
    tx_validator.admit(&raw).unwrap();
    assert_eq!(tx_validator.senders.get(&keccak256(&raw)), Some(wallet(5).address));
    assert_eq!(
        chain.ledger.senders().len(),
        1,
        "the ledger shares the tx_validator's memory"
    );
}

#[test]
fn the_sender_cache_is_bounded() {
    let cache = crate::senders::SenderCache::new(100);
    for n in 0..1_000_u32 {
        cache.insert(keccak256(n.to_be_bytes()), wallet(1).address);
    }
    assert!(cache.len() <= 100, "{}", cache.len());
    assert!(
        cache.get(&keccak256(999_u32.to_be_bytes())).is_some(),
        "the newest are kept"
    );
}

/// Recovery must use the library in C, which takes half the time of the one in Rust. Features of other crates choose it.
#[test]
fn senders_are_recovered_by_libsecp256k1() {
    let backend = std::any::type_name_of_val(&alloy_consensus::crypto::secp256k1::public_key_to_address);
    assert!(backend.contains("impl_secp256k1"), "{backend}");
}

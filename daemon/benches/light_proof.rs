//! How long a light proof is and how fast it is checked, at four validators: `cargo bench -p daemon --bench light_proof`.
//!
//! The state holds as many accounts as the line says, and the account as many slots. `account` is the file that proves the
//! account alone, `file` the one with two of its slots.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, Bytes, U256, keccak256};
use consensus::{execution::Staker, validator::ValidatorSet};
use evm::{
    light::{FORMAT, LightProof, ProvenAccount, ProvenSlot, Signatures},
    trie::{NoNodes, Trie},
};
use protocol::{
    Account, Amount, BlockHash, Height,
    crypto::{Domain, SecretKey, Signed},
    message::vote::{Certificate, VoteKind},
};

const HERE: Domain = Domain {
    chain_id: 1337,
    genesis: [7; 32],
};
const CHECKS: u32 = 200;

#[expect(clippy::print_stdout, reason = "a bench is its printed figures")]
fn main() {
    println!(
        "{:>10} {:>8} {:>12} {:>12} {:>14}",
        "accounts", "slots", "file", "nodes", "check"
    );
    let keys = [1, 2, 3, 4].map(|seed| SecretKey::from_seed([seed; 32]));
    let staker = |key: &SecretKey| Staker {
        key: key.validator(),
        account: Account([1; 20]),
        stake: Amount::open(10_000_000),
    };
    let validators = ValidatorSet::new(&keys.iter().map(staker).collect::<Vec<_>>()).expect("four validators");
    for (accounts, slots) in [(16, 4), (1_000, 100), (100_000, 1_000), (1_000_000, 1_000)] {
        let proof = proof(&keys, accounts, slots);
        let file = serde_json::to_vec(&proof).expect("a proof is plain data");
        let nodes = proof.account.proof.len() + proof.account.slots.iter().map(|slot| slot.proof.len()).sum::<usize>();
        let mut alone = proof.clone();
        alone.account.slots.clear();
        let alone = serde_json::to_vec(&alone).expect("a proof is plain data");
        println!(
            "{accounts:>10} {slots:>8} {:>8} B {:>8} B {nodes:>7} {:>9} µs",
            alone.len(),
            file.len(),
            check(&file, &validators).as_micros()
        );
    }
}

/// Reading the file and checking all of it.
fn check(file: &[u8], validators: &ValidatorSet) -> Duration {
    let begun = Instant::now();
    for _ in 0..CHECKS {
        let proof: LightProof = serde_json::from_slice(file).expect("it was written just now");
        proof.check(&HERE, validators).expect("it holds");
    }
    begun.elapsed() / CHECKS
}

fn trie(count: u64, value: impl Fn(u64) -> (Bytes, Bytes)) -> Trie {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in (0..count).map(value) {
        trie.insert(keccak256(key).as_slice(), value).expect("a trie in memory");
    }
    trie
}

fn prove(trie: &Trie, key: &[u8]) -> Vec<Bytes> {
    trie.prove(keccak256(key).as_slice()).expect("a trie in memory")
}

fn proof(keys: &[SecretKey], accounts: u64, slots: u64) -> LightProof {
    let slot = |n: u64| B256::from(U256::from(n));
    let storage = trie(slots, |n| {
        let value = alloy_rlp::encode(U256::from(n + 1) << 64);
        (slot(n).to_vec().into(), value.into())
    });
    let address = |n: u64| Address::from_word(keccak256(n.to_be_bytes()));
    // nonce, balance, storage root, code hash
    let account = |n: u64| (n + 1, U256::from(n) << 60, storage.root(), keccak256([]));
    let encode = |(nonce, balance, root, code): (u64, U256, B256, B256)| {
        let items: [&dyn alloy_rlp::Encodable; 4] = [&nonce, &balance, &root, &code];
        let mut bytes = Vec::new();
        alloy_rlp::encode_list::<_, dyn alloy_rlp::Encodable>(&items, &mut bytes);
        Bytes::from(bytes)
    };
    let state = trie(accounts, |n| (address(n).to_vec().into(), encode(account(n))));
    let header = alloy_rlp::encode(Header {
        number: 123_456,
        state_root: state.root(),
        logs_bloom: Bloom::repeat_byte(0x5a),
        gas_limit: 60_000_000,
        gas_used: 30_000_000,
        timestamp: 1_800_000_000,
        extra_data: vec![7; 20].into(),
        base_fee_per_gas: Some(1_000_000_000),
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::repeat_byte(1)),
        requests_hash: Some(B256::repeat_byte(2)),
        ..Header::default()
    });
    let (nonce, balance, storage_root, code_hash) = account(3);
    let proven = |n: u64| ProvenSlot {
        slot: slot(n),
        value: U256::from(n + 1) << 64,
        proof: prove(&storage, slot(n).as_slice()),
    };
    LightProof {
        format: FORMAT.to_owned(),
        chain_id: HERE.chain_id,
        genesis: HERE.genesis.into(),
        certificate: sign(keys, BlockHash(keccak256(&header).0)),
        header: header.into(),
        account: ProvenAccount {
            address: address(3),
            nonce,
            balance,
            storage_root,
            code_hash,
            proof: prove(&state, address(3).as_slice()),
            slots: vec![proven(0), proven(1)],
        },
    }
}

fn sign(keys: &[SecretKey], block: BlockHash) -> Signatures {
    let mut certificate = Certificate {
        height: Height(123_456),
        round: 0,
        block,
        signatures: Vec::new(),
    };
    for key in keys {
        let vote = certificate.vote(VoteKind::Precommit, key.validator());
        let signature = Signed::new(vote, key, &HERE).signature;
        certificate.signatures.push((key.validator(), signature));
    }
    certificate.signatures.sort();
    Signatures {
        round: 0,
        signatures: certificate.signatures,
    }
}

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::TrieAccount;
use consensus::{
    execution::Staker,
    validator::{CertificateError, ValidatorSet},
};
use protocol::{
    Account, Amount, BlockHash, Height,
    crypto::{Domain, SecretKey, Signed},
    message::vote::{Certificate, VoteKind},
};

use super::{FORMAT, LightError, LightProof, ProvenAccount, ProvenSlot, Signatures};
use crate::trie::{NoNodes, Trie};

const HERE: Domain = Domain {
    chain_id: 7,
    genesis: [3; 32],
};

fn keys() -> Vec<SecretKey> {
    (1..=4).map(|seed| SecretKey::from_seed([seed; 32])).collect()
}

fn set() -> ValidatorSet {
    let staker = |key: &SecretKey| Staker {
        key: key.validator(),
        account: Account([1; 20]),
        stake: Amount::open(10),
    };
    ValidatorSet::new(&keys().iter().map(staker).collect::<Vec<_>>()).unwrap()
}

fn trie(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Trie {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in pairs {
        trie.insert(keccak256(key).as_slice(), value.into()).unwrap();
    }
    trie
}

/// An account with two slots among others, in a block that `signers` made final.
fn proof(signers: &[usize]) -> LightProof {
    let (address, slot) = (Address::repeat_byte(9), B256::with_last_byte(1));
    let slots = (1..50u8).map(|n| (B256::with_last_byte(n).to_vec(), alloy_rlp::encode(U256::from(n))));
    let storage = trie(slots);
    let account = TrieAccount {
        nonce: 1,
        balance: U256::from(5),
        storage_root: storage.root(),
        code_hash: KECCAK256_EMPTY,
    };
    let others = (10..200u8).map(|n| {
        (
            Address::repeat_byte(n).to_vec(),
            alloy_rlp::encode(TrieAccount { nonce: 2, ..account }),
        )
    });
    let state = trie(others.chain([(address.to_vec(), alloy_rlp::encode(account))]));
    let header = alloy_rlp::encode(Header {
        number: 12,
        state_root: state.root(),
        ..Header::default()
    });
    let mut certificate = Certificate {
        height: Height(12),
        round: 2,
        block: BlockHash(keccak256(&header).0),
        signatures: Vec::new(),
    };
    let keys = keys();
    for key in signers.iter().map(|at| &keys[*at]) {
        let vote = certificate.vote(VoteKind::Precommit, key.validator());
        certificate
            .signatures
            .push((key.validator(), Signed::new(vote, key, &HERE).signature));
    }
    certificate.signatures.sort();
    let absent = B256::repeat_byte(0xaa);
    let proven = |slot: B256, value: u64| ProvenSlot {
        slot,
        value: U256::from(value),
        proof: storage.prove(keccak256(slot).as_slice()).unwrap(),
    };
    LightProof {
        format: FORMAT.into(),
        chain_id: HERE.chain_id,
        genesis: HERE.genesis.into(),
        header: header.into(),
        certificate: Signatures {
            round: 2,
            signatures: certificate.signatures,
        },
        account: ProvenAccount {
            address,
            nonce: 1,
            balance: U256::from(5),
            storage_root: storage.root(),
            code_hash: KECCAK256_EMPTY,
            proof: state.prove(keccak256(address).as_slice()).unwrap(),
            slots: vec![proven(slot, 1), proven(absent, 0)],
        },
    }
}

#[test]
fn a_proof_read_back_from_its_file_is_valid() {
    let file = serde_json::to_vec(&proof(&[0, 1, 3])).unwrap();
    let read: LightProof = serde_json::from_slice(&file).unwrap();
    assert_eq!(read, proof(&[0, 1, 3]));
    let block = read.check(&HERE, &set()).unwrap();
    assert_eq!(block.header.number, 12);
    assert_eq!(block.signed * 4, block.total * 3);
}

#[test]
fn half_of_the_stake_is_not_enough() {
    let refused = proof(&[0, 1]).check(&HERE, &set());
    assert!(matches!(
        refused,
        Err(LightError::Certificate {
            height: 12,
            source: CertificateError::Quorum { .. }
        })
    ));
}

#[test]
fn a_proof_with_any_changed_field_is_refused() {
    let good = proof(&[0, 1, 2]);
    let check = |change: &dyn Fn(&mut LightProof), field: &str| {
        let mut proof = good.clone();
        change(&mut proof);
        let why = proof.check(&HERE, &set()).unwrap_err().to_string();
        assert!(why.contains(field), "{why} does not name {field}");
    };
    check(&|proof| proof.format.push('0'), "format");
    check(&|proof| proof.chain_id += 1, "chainId");
    check(&|proof| proof.genesis.0[0] ^= 1, "genesis");
    check(
        &|proof| proof.header = Header::default().parent_hash.to_vec().into(),
        "header",
    );
    check(
        &|proof| proof.header = [&proof.header[..], &[0]].concat().into(),
        "header",
    );
    check(&|proof| proof.certificate.round += 1, "certificate");
    check(&|proof| proof.certificate.signatures[0].1.0[0] ^= 1, "certificate");
    check(&|proof| proof.account.address.0[0] ^= 1, "account.proof");
    check(&|proof| proof.account.nonce += 1, "account.proof");
    check(&|proof| proof.account.balance += U256::ONE, "account.proof");
    check(&|proof| proof.account.proof.clear(), "account.proof");
    check(&|proof| drop(proof.account.proof.pop()), "account.proof");
    check(&|proof| proof.account.slots[0].value = U256::ZERO, "account.slots[0]");
    check(&|proof| proof.account.slots[1].value = U256::ONE, "account.slots[1]");
}

#[test]
fn an_existing_account_cannot_be_proven_absent() {
    let mut proof = proof(&[0, 1, 2]);
    let storage_root = alloy_consensus::EMPTY_ROOT_HASH;
    let account = ProvenAccount {
        nonce: 0,
        balance: U256::ZERO,
        storage_root,
        slots: Vec::new(),
        ..proof.account
    };
    proof.account = account;
    assert!(matches!(proof.check(&HERE, &set()), Err(LightError::Account(_))));
    // No account has this address: the same nodes would have to lead to another leaf.
    proof.account.address = Address::repeat_byte(0xee);
    assert!(matches!(proof.check(&HERE, &set()), Err(LightError::Account(_))));
}

#[test]
fn a_file_with_unknown_keys_or_short_signatures_is_refused() {
    let mut file = serde_json::to_value(proof(&[0, 1, 2])).unwrap();
    file["certificate"]["signatures"][0][1] = "AAAA".into();
    let why = serde_json::from_value::<LightProof>(file.clone())
        .unwrap_err()
        .to_string();
    assert!(why.contains("it has 64"), "{why}");
    file["more"] = 1.into();
    let why = serde_json::from_value::<LightProof>(file).unwrap_err().to_string();
    assert!(why.contains("it has 64") || why.contains("unknown field"), "{why}");
}

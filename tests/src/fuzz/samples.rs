//! Valid inputs, from which invalid ones are made.

use std::{path::Path, sync::Arc};

use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::Decodable2718;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::TrieAccount;
use chain::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID, development};
use consensus::{execution::Staker, validator::ValidatorSet};
use evm::{
    block,
    genesis::{ChainGenesis, Timing},
    light::{self, FORMAT, LightProof, ProvenAccount, ProvenSlot, Signatures},
    trie::{NoNodes, Trie},
};
use protocol::{
    Account, Amount, BlockHash, Height, codec,
    crypto::{Domain, SecretKey, Signed},
    message::{
        chain::{Body, ChainReply, ChainRequest, Direct, Entry, Gossip},
        vote::{Certificate, Evidence, Proposal, RoundCertificate, Vote, VoteKind},
    },
};
use storage::{BlockLog, FaultDisk, RecordLog, Wal, block_log::Layout, record_log::RecordLayout};

use crate::wallet::Wallet;

pub(super) const WAL_FILE: &str = "wal/wal-0";
pub(super) const WAL_BYTES: u64 = 4096;
pub(super) const LOG_FILE: &str = "log/blocks-0000.log";
pub(super) const LOG_BYTES: u64 = 4096;

pub(super) const RECORDS_FILE: &str = "list/records.log";
pub(super) const RECORDS: RecordLayout = RecordLayout {
    step_bytes: 4096,
    advice: "throw it away",
};

/// A chain of somebody else's, with Ethereum's rules from its first block on.
pub(super) const FOREIGN_GENESIS: &str = r#"{"config":{"chainId":7,"homesteadBlock":0,"eip150Block":0,"eip155Block":0,
"eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0,"istanbulBlock":0,"berlinBlock":0,
"londonBlock":0,"terminalTotalDifficulty":"0x0","terminalTotalDifficultyPassed":true,"shanghaiTime":0,"cancunTime":0},
"nonce":"0x0","timestamp":"0x0","extraData":"0x","gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{
"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266":{"balance":"0xde0b6b3a7640000"}}}"#;

const HERE: Domain = Domain {
    chain_id: DEV_CHAIN_ID,
    genesis: [7; 32],
};

fn keys() -> [SecretKey; 4] {
    [1, 2, 3, 4].map(|seed| SecretKey::from_seed([seed; 32]))
}

/// Four validators of equal stake.
pub(super) fn validators() -> ValidatorSet {
    let staker = |key: &SecretKey| Staker {
        key: key.validator(),
        account: Account([1; 20]),
        stake: Amount::open(10),
    };
    ValidatorSet::new(&keys().iter().map(staker).collect::<Vec<_>>()).expect("four validators make a set")
}

fn vote(key: &SecretKey, block: Option<BlockHash>) -> Signed<Vote> {
    let vote = Vote {
        kind: VoteKind::Precommit,
        height: Height(9),
        round: 1,
        block,
        validator: key.validator(),
    };
    Signed::new(vote, key, &HERE)
}

fn certificate(height: Height, block: BlockHash) -> Certificate {
    let mut certificate = Certificate {
        height,
        round: 0,
        block,
        signatures: Vec::new(),
    };
    for key in &keys() {
        let vote = certificate.vote(VoteKind::Precommit, key.validator());
        certificate
            .signatures
            .push((key.validator(), Signed::new(vote, key, &HERE).signature));
    }
    certificate.signatures.sort();
    certificate
}

fn a_block() -> Vec<u8> {
    block().remove(0)
}

fn body() -> Body {
    Body {
        height: Height(9),
        round: 1,
        block: a_block(),
        parent_certificate: certificate(Height(8), BlockHash([8; 32])),
    }
}

pub(super) fn gossip() -> Vec<Vec<u8>> {
    let [key, ..] = keys();
    let proposal = Proposal {
        height: Height(9),
        round: 1,
        block: BlockHash([9; 32]),
        polka_round: Some(0),
        proposer: key.validator(),
    };
    let rounds = RoundCertificate {
        height: Height(9),
        round: 1,
        precommits: true,
        votes: vec![vote(&key, None), vote(&key, Some(BlockHash([9; 32])))],
    };
    let all = [
        Gossip::Vote(vote(&key, None)),
        Gossip::Proposal(Signed::new(proposal, &key, &HERE)),
        Gossip::Polka(certificate(Height(9), BlockHash([9; 32]))),
        Gossip::Rounds(rounds),
        Gossip::Decided(certificate(Height(9), BlockHash([9; 32]))),
    ];
    all.iter().map(codec::encode).collect()
}

pub(super) fn direct() -> Vec<Vec<u8>> {
    let status = Direct::Status { tip: Height(4) };
    vec![
        codec::encode(&Direct::Body(body())),
        codec::encode(&status),
        codec::encode(&transaction()),
    ]
}

pub(super) fn ask() -> Vec<Vec<u8>> {
    let blocks = ChainRequest::Blocks {
        from: Height(1),
        count: 256,
    };
    let body = ChainRequest::Body {
        height: Height(9),
        block: BlockHash([9; 32]),
    };
    vec![codec::encode(&blocks), codec::encode(&body)]
}

pub(super) fn answer() -> Vec<Vec<u8>> {
    [
        ChainReply::Blocks(entry()),
        ChainReply::Body(None),
        ChainReply::Body(Some(body())),
    ]
    .iter()
    .map(codec::encode)
    .collect()
}

pub(super) fn entry() -> Vec<Vec<u8>> {
    let [key, ..] = keys();
    let entry = |evidence| Entry {
        block: a_block(),
        parent_certificate: certificate(Height(8), BlockHash([8; 32])),
        certificate: certificate(Height(9), BlockHash([9; 32])),
        evidence,
    };
    let twice = Evidence::Votes(vote(&key, None), vote(&key, Some(BlockHash([9; 32]))));
    vec![codec::encode(&entry(Vec::new())), codec::encode(&entry(vec![twice]))]
}

/// Blocks without and with transactions, as an executor would encode them.
pub(super) fn block() -> Vec<Vec<u8>> {
    let genesis = ChainGenesis::from_json(&genesis().remove(0)).expect("a development genesis");
    let header = |transactions: &[TxEnvelope]| Header {
        number: 1,
        parent_hash: genesis.hash.0.into(),
        transactions_root: alloy_consensus::proofs::calculate_transaction_root(transactions),
        ..genesis.header.clone()
    };
    let read = |raw: &Vec<u8>| TxEnvelope::decode_2718_exact(raw).expect("a transaction of a wallet");
    let transactions: Vec<_> = transaction().iter().map(read).collect();
    vec![
        block::encode(header(&transactions), transactions),
        block::encode(header(&[]), Vec::new()),
    ]
}

pub(super) fn transaction() -> Vec<Vec<u8>> {
    let mut wallet = Wallet::new(1);
    (0..4).map(|_| wallet.transfer().to_vec()).collect()
}

fn trie() -> Trie {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for n in 0..200u8 {
        let value: Bytes = vec![n; 1 + usize::from(n % 40)].into();
        trie.insert(keccak256([n]).as_slice(), value).expect("a trie in memory");
    }
    trie
}

pub(super) fn trie_node() -> Vec<Vec<u8>> {
    let trie = trie();
    let proof = |n: u8| trie.prove(keccak256([n]).as_slice()).expect("a trie in memory");
    (0..8).flat_map(proof).map(|node| node.to_vec()).collect()
}

pub(super) fn call() -> Vec<Vec<u8>> {
    [
        r#"{"from":"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266","to":"0x00000000000000000000000000000000000000bb",
            "gas":"0x5208","maxFeePerGas":"0x1","maxPriorityFeePerGas":"0x0","value":"0x10","data":"0x1234","nonce":"0x1",
            "accessList":[{"address":"0x00000000000000000000000000000000000000bb","storageKeys":[]}],"type":"0x2"}"#,
        r#"{"blockHash":"0x0101010101010101010101010101010101010101010101010101010101010101","requireCanonical":true}"#,
        r#""0x12""#,
        r#""latest""#,
        r#"{"fromBlock":"0x0","toBlock":"latest","address":["0x00000000000000000000000000000000000000bb"],
            "topics":[null,["0x0101010101010101010101010101010101010101010101010101010101010101"]]}"#,
        r#"{"0x00000000000000000000000000000000000000bb":{"balance":"0x1","nonce":"0x2","code":"0x00",
            "stateDiff":{"0x0101010101010101010101010101010101010101010101010101010101010101":
            "0x0101010101010101010101010101010101010101010101010101010101010101"}}}"#,
        r#"{"number":"0x5","time":"0x1","gasLimit":"0x1c9c380","baseFeePerGas":"0x7"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(super) fn config() -> Vec<Vec<u8>> {
    let short =
        "[node]\nnetwork = \"dev\"\nmoniker = \"a\"\n\n[rpc]\nlisten = \"127.0.0.1:8545\"\nmax_body = \"5 MiB\"\n";
    vec![::config::example().into_bytes(), short.as_bytes().to_vec()]
}

pub(super) fn genesis() -> Vec<Vec<u8>> {
    let keys = keys().map(|key| key.validator());
    let genesis = serde_json::to_vec(&development(&keys, 100, Timing::default()));
    vec![
        genesis.expect("a genesis is plain data"),
        FOREIGN_GENESIS.as_bytes().to_vec(),
    ]
}

pub(super) fn light_proof() -> Vec<Vec<u8>> {
    let storage = trie();
    let (address, slot) = (DEV_ACCOUNTS[0].0, B256::with_last_byte(1));
    let account = TrieAccount {
        nonce: 3,
        balance: U256::from(5),
        storage_root: storage.root(),
        code_hash: keccak256([]),
    };
    let mut state = trie();
    let leaf = alloy_rlp::encode(account);
    state
        .insert(keccak256(address).as_slice(), leaf.into())
        .expect("a trie in memory");
    let header = alloy_rlp::encode(Header {
        number: 9,
        state_root: state.root(),
        ..Header::default()
    });
    let prove = |trie: &Trie, key: &[u8]| trie.prove(keccak256(key).as_slice()).expect("a trie in memory");
    let proof = LightProof {
        format: FORMAT.to_owned(),
        chain_id: HERE.chain_id,
        genesis: HERE.genesis.into(),
        certificate: Signatures {
            round: 0,
            signatures: certificate(Height(9), BlockHash(keccak256(&header).0)).signatures,
        },
        header: header.into(),
        account: ProvenAccount {
            address,
            nonce: account.nonce,
            balance: account.balance,
            storage_root: account.storage_root,
            code_hash: account.code_hash,
            proof: prove(&state, address.as_slice()),
            slots: vec![ProvenSlot {
                slot,
                value: U256::ZERO,
                proof: prove(&storage, slot.as_slice()),
            }],
        },
    };
    let good: Result<light::FinalBlock, _> = proof.check(&HERE, &validators());
    assert!(good.is_ok(), "a sample that holds: {good:?}");
    vec![serde_json::to_vec(&proof).expect("a proof is plain data")]
}

pub(super) fn wal() -> Vec<Vec<u8>> {
    let disk = Arc::new(FaultDisk::new());
    let (mut wal, _) = Wal::open_sized(disk.clone(), Path::new("wal"), WAL_BYTES).expect("a new journal");
    wal.start_height(Height(5)).expect("a disk without faults");
    for n in 0..4 {
        wal.append(&[n; 50]).expect("a disk without faults");
    }
    wal.sync().expect("a disk without faults");
    let files = ["wal/wal-0", "wal/wal-1"]
        .iter()
        .filter_map(|name| disk.bytes(Path::new(name)));
    files.collect()
}

pub(super) fn block_log() -> Vec<Vec<u8>> {
    let disk = Arc::new(FaultDisk::new());
    let layout = Layout {
        segment_bytes: LOG_BYTES,
        ..Layout::default()
    };
    let log = BlockLog::open(disk.clone(), Path::new("log"), layout).expect("a new log");
    for height in 1..=9 {
        log.append(Height(height), &[7; 90]).expect("a disk without faults");
    }
    log.sync().expect("a disk without faults");
    vec![disk.bytes(Path::new(LOG_FILE)).expect("the first segment")]
}

pub(super) fn record_log() -> Vec<Vec<u8>> {
    let disk = Arc::new(FaultDisk::new());
    let mut log = RecordLog::open(disk.clone(), Path::new("list"), RECORDS).expect("a new list");
    for n in 1..=9 {
        log.append(&[[n; 90]]).expect("a disk without faults");
    }
    vec![disk.bytes(Path::new(RECORDS_FILE)).expect("the list")]
}

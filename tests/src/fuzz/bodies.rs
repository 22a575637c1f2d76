//! The targets themselves.

use std::{fs, path::Path, sync::Arc};

use alloy_consensus::Header;
use alloy_eips::{BlockId, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rpc_types_eth::{BlockOverrides, Filter, TransactionRequest, state::StateOverride};
use alloy_trie::Nibbles;
use bincode::{Decode, Encode};
use chain::genesis::DEV_CHAIN_ID;
use evm::{
    block,
    chain::ChainSpec,
    genesis::{ChainGenesis, osaka_from_genesis},
    imported_chain::{ImportedGenesis, ImportedLedger},
    light::LightProof,
    pool_tx::{self, TxValidator},
    senders::SenderCache,
    state::MemKv,
    trie::{NodeSource, SourceError, Trie},
};
use protocol::{
    Height, Time, codec,
    crypto::Domain,
    message::chain::{BODY_MAX, ChainReply, ChainRequest, Direct, Entry, GOSSIP_MAX, Gossip, REPLY_MAX, REQUEST_MAX},
};
use storage::{BlockLog, Disk, FaultDisk, RecordLog, Wal, block_log::Layout};

use super::samples;

pub(super) fn canonical<T: Encode + Decode<()>>(bytes: &[u8], limit: usize) {
    if let Ok(value) = codec::decode::<T>(bytes, limit) {
        assert_eq!(codec::encode(&value), bytes, "two encodings of one value");
    }
}

pub(super) fn gossip(bytes: &[u8]) {
    canonical::<Gossip>(bytes, GOSSIP_MAX);
}

pub(super) fn direct(bytes: &[u8]) {
    canonical::<Direct>(bytes, BODY_MAX);
    // What a peer sends for the mempool.
    canonical::<Vec<Vec<u8>>>(bytes, BODY_MAX);
}

pub(super) fn ask(bytes: &[u8]) {
    canonical::<ChainRequest>(bytes, REQUEST_MAX);
}

pub(super) fn answer(bytes: &[u8]) {
    canonical::<ChainReply>(bytes, REPLY_MAX);
}

pub(super) fn entry(bytes: &[u8]) {
    canonical::<Entry>(bytes, BODY_MAX);
}

pub(super) fn block(bytes: &[u8]) {
    let peeked = block::peek(bytes);
    let Ok(found) = block::decode(bytes) else { return };
    assert_eq!(
        peeked.as_ref(),
        Some(&found.header),
        "the front of a block is its header"
    );
    assert_eq!(alloy_rlp::encode(&found), bytes, "two encodings of one block");
    let parent = Header::default();
    let expected = block::Expected {
        parent: &parent,
        parent_hash: B256::ZERO,
        now: Time(0),
        parent_certificate: B256::ZERO,
        proposers: &[Address::ZERO],
    };
    let spec = ChainSpec::from_config(&osaka_from_genesis(DEV_CHAIN_ID));
    // Whether it fits is no matter, as long as that is said.
    drop(block::check(&spec, &found.header, &expected));
}

pub(super) fn foreign_chain(bytes: &[u8]) {
    let genesis = ImportedGenesis::from_json(samples::FOREIGN_GENESIS.as_bytes()).expect("a genesis file of ours");
    let mut ledger = ImportedLedger::open(MemKv::default(), &genesis).expect("an empty store takes a genesis");
    let mut rest = bytes;
    while !rest.is_empty() && ledger.append(&mut rest).is_ok() {}
}

pub(super) fn transaction(bytes: &[u8]) {
    if let Ok(transaction) = pool_tx::decode(bytes) {
        assert_eq!(transaction.encoded_2718(), bytes, "two encodings of one transaction");
    }
    drop(pool_tx::decode_with_blobs(bytes));
    let tx_validator = TxValidator::new(DEV_CHAIN_ID, 60_000_000, SenderCache::new(16));
    if let Ok(pooled) = tx_validator.admit(&Arc::from(bytes)) {
        assert_eq!(pooled.hash.0, keccak256(bytes).0, "a transaction is named by its bytes");
    }
}

#[derive(Debug)]
struct OneNode(Bytes);

impl NodeSource for OneNode {
    fn node(&self, _: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        Ok(Some(self.0.clone()))
    }
}

pub(super) fn trie_node(bytes: &[u8]) {
    let node = Bytes::copy_from_slice(bytes);
    let trie = Trie::from_root(keccak256(&node), Arc::new(OneNode(node)));
    for key in [[0; 32], [0x12; 32], [0xff; 32]] {
        drop(trie.get(&key));
        if let Ok(proof) = trie.prove(&key)
            && let Some(first) = proof.first()
        {
            assert_eq!(first, bytes, "two encodings of one node");
        }
        let (mut more, mut less) = (trie.clone(), trie.clone());
        drop(more.insert(&key, Bytes::from_static(&[1])));
        drop(less.remove(&key));
    }
}

/// Parameters of JSON-RPC as clients write them.
pub(super) fn call(bytes: &[u8]) {
    drop(serde_json::from_slice::<TransactionRequest>(bytes));
    drop(serde_json::from_slice::<BlockId>(bytes));
    drop(serde_json::from_slice::<Filter>(bytes));
    drop(serde_json::from_slice::<StateOverride>(bytes));
    drop(serde_json::from_slice::<BlockOverrides>(bytes));
}

pub(super) fn config(bytes: &[u8]) {
    let home = std::env::temp_dir().join(format!(
        "openledger-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::create_dir_all(&home).expect("a temporary folder can be made");
    fs::write(home.join(::config::FILE), bytes).expect("a temporary file can be written");
    let loaded = ::config::Config::load(&home, None, [], []);
    fs::remove_dir_all(&home).expect("a temporary folder can be removed");
    if let Ok(loaded) = loaded {
        drop(loaded.settings());
    }
}

pub(super) fn genesis(bytes: &[u8]) {
    drop(ChainGenesis::from_json(bytes));
    drop(ImportedGenesis::from_json(bytes));
}

pub(super) fn light_proof(bytes: &[u8]) {
    let Ok(proof) = serde_json::from_slice::<LightProof>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&proof).expect("a proof is plain data");
    assert_eq!(serde_json::from_slice::<LightProof>(&text).expect("it was read"), proof);
    let domain = Domain {
        chain_id: proof.chain_id,
        genesis: proof.genesis.0,
    };
    drop(proof.check(&domain, &samples::validators()));
}

pub(super) fn wal(bytes: &[u8]) {
    let disk = disk_with(samples::WAL_FILE, bytes);
    if let Ok((mut wal, recovered)) = Wal::open_sized(disk.clone(), Path::new("wal"), samples::WAL_BYTES) {
        let _ = recovered.sits_out(None);
        let next = Height(wal.height().0.saturating_add(1));
        if wal
            .start_height(next)
            .and_then(|()| wal.append(b"later"))
            .and_then(|()| wal.sync())
            .is_ok()
        {
            drop(wal);
            let again = Wal::open_sized(disk, Path::new("wal"), samples::WAL_BYTES);
            assert!(
                again.is_ok(),
                "what was written behind a damaged end does not read back"
            );
        }
    }
}

pub(super) fn block_log(bytes: &[u8]) {
    let disk = disk_with(samples::LOG_FILE, bytes);
    let layout = Layout {
        segment_bytes: samples::LOG_BYTES,
        ..Layout::default()
    };
    let dir = Path::new("log");
    if let Ok(log) = BlockLog::open(disk.clone(), dir, layout) {
        let read = log
            .iter_from(log.first().unwrap_or(Height(1)))
            .take_while(Result::is_ok)
            .count();
        let next = log.tip().map_or(Height(1), |tip| Height(tip.0.saturating_add(1)));
        if log.append(next, b"later").is_ok() && log.sync().is_ok() {
            assert!(
                log.read(next).is_ok_and(|found| found.as_deref() == Some(b"later")),
                "{read} were read"
            );
        }
    }
    drop(BlockLog::repair(disk_with(samples::LOG_FILE, bytes), dir, layout));
}

pub(super) fn record_log(bytes: &[u8]) {
    let (dir, layout) = (Path::new("list"), samples::RECORDS);
    let disk = disk_with(samples::RECORDS_FILE, bytes);
    if let Ok(mut log) = RecordLog::open(disk.clone(), dir, layout) {
        let read = log.iter().filter(Result::is_ok).count();
        assert_eq!(read, log.len(), "a list that opens reads back");
        if log.append(&[b"later"]).is_ok() {
            drop(log);
            let again = RecordLog::open(disk, dir, layout).expect("a record written behind a torn end reads back");
            let last = again.iter().last().expect("a record was added");
            assert!(last.is_ok_and(|record| record == b"later") && again.len() == read + 1);
        }
    }
    drop(RecordLog::open_undamaged_part(
        disk_with(samples::RECORDS_FILE, bytes),
        dir,
        layout,
    ));
}

/// A disk with one file.
fn disk_with(name: &str, bytes: &[u8]) -> Arc<FaultDisk> {
    let disk = Arc::new(FaultDisk::new());
    let path = Path::new(name);
    let dir = path.parent().expect("files lie in folders");
    let written = disk
        .create_dir(dir)
        .and_then(|()| disk.create(path)?.write_at(bytes, 0));
    written.expect("a disk without faults takes a file");
    disk
}

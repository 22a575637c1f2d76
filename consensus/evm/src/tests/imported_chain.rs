use std::sync::{Arc, Mutex};

use alloy_consensus::{Eip658Value, SignableTransaction, TxEip4844, TxEip4844Variant, TxEip4844WithSidecar, TxReceipt};
use alloy_eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, U256};
use protocol::TxHash;

use super::support::*;
use crate::{
    genesis::osaka_from_genesis,
    imported_chain::{AppendBlockError, ImportedGenesis, ImportedLedger},
    pool_tx::TxError,
    state::MemKv,
    view::{At, BlockAttributes, BlockSource, TransactionChoice, View},
};

#[derive(Default)]
struct Blocks(Mutex<Vec<Vec<u8>>>);

impl BlockSource for Blocks {
    fn block(&self, height: u64) -> Option<Vec<u8>> {
        self.0
            .lock()
            .unwrap()
            .get(usize::try_from(height).unwrap() - 1)
            .cloned()
    }
}

fn genesis(config: ChainConfig) -> ImportedGenesis {
    let rich = GenesisAccount::default().with_balance(U256::from(FUNDS.0));
    let genesis = Genesis {
        config,
        timestamp: START_S,
        gas_limit: 30_000_000,
        difficulty: U256::from(0x20000),
        alloc: [(wallet(1).address, rich)].into(),
        ..Default::default()
    };
    ImportedGenesis::from_json(&serde_json::to_vec(&genesis).unwrap()).unwrap()
}

struct TestChain {
    genesis: ImportedGenesis,
    kv: Arc<MemKv>,
    ledger: ImportedLedger<Arc<MemKv>>,
    blocks: Arc<Blocks>,
}

impl TestChain {
    fn new(config: ChainConfig) -> Self {
        let (genesis, kv) = (genesis(config), Arc::new(MemKv::default()));
        let ledger = ImportedLedger::open(kv.clone(), &genesis).unwrap();
        Self {
            genesis,
            kv,
            ledger,
            blocks: Arc::default(),
        }
    }

    fn view(&self) -> View<Arc<MemKv>> {
        self.ledger.view(self.blocks.clone())
    }

    /// The block that a builder would put on the tip.
    fn built(&self, offered: &[Arc<[u8]>]) -> Vec<u8> {
        let (view, tx_validator) = (self.view(), self.ledger.tx_validator());
        let time = view.tip_header().timestamp + 10;
        let shanghai = self.genesis.spec.empty_withdrawals_root(time).is_some();
        let attributes = BlockAttributes {
            timestamp_s: time,
            withdrawals: shanghai.then(Default::default),
            beacon_root: self.genesis.spec.blob_params_at(time).map(|_| B256::ZERO),
            ..BlockAttributes::default()
        };
        let wanted = offered.iter().map(|raw| tx_validator.recover(raw).unwrap()).collect();
        alloy_rlp::encode(
            view.build(attributes, TransactionChoice::Exactly(wanted))
                .unwrap()
                .block,
        )
    }

    fn append(&mut self, block: &[u8]) -> Result<(), AppendBlockError> {
        let mut rest = block;
        self.ledger.append(&mut rest)?;
        assert!(rest.is_empty());
        self.blocks.0.lock().unwrap().push(block.to_vec());
        Ok(())
    }
}

/// The chains of three eras.
fn eras() -> [(ChainConfig, bool); 3] {
    let bare = |byzantium: Option<u64>| ChainConfig {
        chain_id: CHAIN_ID,
        homestead_block: Some(0),
        eip150_block: Some(0),
        eip155_block: Some(0),
        eip158_block: Some(0),
        byzantium_block: byzantium,
        ..ChainConfig::default()
    };
    [
        (bare(None), true),
        (bare(Some(0)), false),
        (osaka_from_genesis(CHAIN_ID), false),
    ]
}

#[test]
fn built_blocks_are_appended_in_every_era() {
    for (config, has_roots) in eras() {
        let mut chain = TestChain::new(config);
        let pay = |nonce| wallet(1).sign(legacy(nonce, wallet(2).address));
        let block = chain.built(&[pay(0), pay(1)]);
        chain.append(&block).unwrap();
        let view = chain.view();
        assert_eq!(
            view.account(&wallet(2).address, At::Tip).unwrap().balance,
            U256::from(2)
        );
        assert_eq!(
            view.account(&wallet(2).address, At::Height(0)).unwrap().balance,
            U256::ZERO
        );
        assert_eq!(view.raw_block(1).unwrap().unwrap(), block);
        let receipts = view.receipts_with_transactions(1).unwrap().unwrap();
        let roots = receipts.iter().map(|found| found.receipt.status_or_post_state());
        let is_root = |outcome: Eip658Value| matches!(outcome, Eip658Value::PostState(_));
        assert!(roots.clone().all(|outcome| is_root(outcome) == has_roots));
        let name = TxHash(receipts[1].included.transaction.tx_hash().0);
        assert_eq!(view.position(name).unwrap(), Some((1, 1)));
    }
}

#[test]
fn an_imported_chain_continues_after_reopening() {
    let mut chain = TestChain::new(osaka_from_genesis(CHAIN_ID));
    let first = chain.built(&[wallet(1).sign(legacy(0, wallet(2).address))]);
    chain.append(&first).unwrap();
    chain.ledger.flush().unwrap();
    let mut again = ImportedLedger::open(chain.kv.clone(), &chain.genesis).unwrap();
    assert_eq!(again.tip(), chain.ledger.tip());
    assert!(again.contains(&first));
    let second = chain.built(&[]);
    assert!(!again.contains(&second));
    again.append(&mut &second[..]).unwrap();
}

#[test]
fn a_refused_block_changes_nothing() {
    let mut chain = TestChain::new(osaka_from_genesis(CHAIN_ID));
    let (first, other) = (
        chain.built(&[wallet(1).sign(legacy(0, wallet(2).address))]),
        chain.built(&[]),
    );
    chain.append(&first).unwrap();
    let refused = |chain: &mut TestChain, block: &[u8]| chain.append(block).unwrap_err().to_string();
    assert!(refused(&mut chain, &other).contains("the tip is block 1"), "a branch");
    assert!(refused(&mut chain, &[0xc1, 0x80]).contains("are not a block"));
    let mut forged = crate::block::reread(&chain.built(&[])).unwrap();
    forged.header.state_root = B256::repeat_byte(1);
    assert!(refused(&mut chain, &alloy_rlp::encode(forged)).contains("state root is"));
    assert_eq!(chain.ledger.tip().height.0, 1);
}

#[test]
fn the_data_of_another_chain_is_not_changed() {
    let chain = TestChain::new(osaka_from_genesis(CHAIN_ID));
    let other = genesis(osaka_from_genesis(CHAIN_ID + 1));
    assert_eq!(other.hash, chain.genesis.hash, "the id is not part of the first block");
    let file = Genesis {
        gas_limit: 5_000_000,
        ..Default::default()
    };
    let other = ImportedGenesis::from_json(&serde_json::to_vec(&file).unwrap()).unwrap();
    let error = ImportedLedger::open(chain.kv.clone(), &other).unwrap_err();
    assert!(
        error.to_string().contains("belongs to the chain with genesis"),
        "{error}"
    );
}

#[test]
fn a_blob_transaction_must_carry_the_blobs_that_it_names() {
    let chain = TestChain::new(osaka_from_genesis(CHAIN_ID));
    let sidecar = BlobTransactionSidecarEip7594::new(
        vec![Default::default()],
        vec![Default::default()],
        vec![Default::default(); 128],
    );
    let named: Vec<B256> = sidecar.versioned_hashes().collect();
    let carry = |hashes: Vec<B256>, sidecar: Option<BlobTransactionSidecarEip7594>| {
        let tx = TxEip4844 {
            chain_id: CHAIN_ID,
            gas_limit: 21_000,
            max_fee_per_gas: FEE_CAP,
            max_fee_per_blob_gas: 1,
            blob_versioned_hashes: hashes,
            to: Address::ZERO,
            ..Default::default()
        };
        let tx: TxEip4844Variant = match sidecar {
            Some(sidecar) => TxEip4844WithSidecar {
                tx,
                sidecar: BlobTransactionSidecarVariant::Eip7594(sidecar),
            }
            .into(),
            None => tx.into(),
        };
        let signature = wallet(1).sign_hash(tx.signature_hash());
        let raw =
            alloy_eips::Encodable2718::encoded_2718(&alloy_consensus::TxEnvelope::from(tx.into_signed(signature)));
        chain.ledger.tx_validator().admit(&raw.into())
    };
    let pooled = carry(named.clone(), Some(sidecar.clone())).unwrap();
    assert_eq!(pooled.cost.0, FEE_CAP * 21_000 + 131_072);
    let refused = |outcome: Result<_, TxError>| outcome.unwrap_err().to_string();
    assert!(refused(carry(named.clone(), None)).contains("without its blobs"));
    assert!(refused(carry(vec![B256::ZERO], Some(sidecar))).contains("commitments"));
}

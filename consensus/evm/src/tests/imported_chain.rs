use std::sync::{Arc, Mutex};

use alloy_consensus::{Eip658Value, SignableTransaction, TxEip4844, TxEip4844Variant, TxEip4844WithSidecar, TxReceipt};
use alloy_eips::eip7594::{BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant};
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, U256};
use protocol::TxHash;

use super::support::*;
use crate::{
    foreign::{ForeignError, ForeignGenesis, ForeignLedger},
    genesis::osaka_from_genesis,
    pool_tx::TxError,
    state::MemKv,
    view::{At, Attributes, BlockSource, View, Wanted},
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

fn genesis(config: ChainConfig) -> ForeignGenesis {
    let rich = GenesisAccount::default().with_balance(U256::from(FUNDS.0));
    let genesis = Genesis {
        config,
        timestamp: START_S,
        gas_limit: 30_000_000,
        difficulty: U256::from(0x20000),
        alloc: [(wallet(1).address, rich)].into(),
        ..Default::default()
    };
    ForeignGenesis::from_json(&serde_json::to_vec(&genesis).unwrap()).unwrap()
}

struct Foreign {
    genesis: ForeignGenesis,
    kv: Arc<MemKv>,
    ledger: ForeignLedger<Arc<MemKv>>,
    blocks: Arc<Blocks>,
}

impl Foreign {
    fn new(config: ChainConfig) -> Self {
        let (genesis, kv) = (genesis(config), Arc::new(MemKv::default()));
        let ledger = ForeignLedger::open(kv.clone(), &genesis).unwrap();
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
        let (view, door) = (self.view(), self.ledger.door());
        let time = view.tip_header().timestamp + 10;
        let shanghai = self.genesis.spec.empty_withdrawals_root(time).is_some();
        let attributes = Attributes {
            timestamp_s: time,
            withdrawals: shanghai.then(Default::default),
            beacon_root: self.genesis.spec.blob_params_at(time).map(|_| B256::ZERO),
            ..Attributes::default()
        };
        let wanted = offered.iter().map(|raw| door.recover(raw).unwrap()).collect();
        alloy_rlp::encode(view.build(attributes, Wanted::All(wanted)).unwrap().block)
    }

    fn take(&mut self, block: &[u8]) -> Result<(), ForeignError> {
        let mut rest = block;
        self.ledger.take(&mut rest)?;
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
fn what_is_built_is_taken_in_every_era() {
    for (config, has_roots) in eras() {
        let mut chain = Foreign::new(config);
        let pay = |nonce| wallet(1).sign(legacy(nonce, wallet(2).address));
        let block = chain.built(&[pay(0), pay(1)]);
        chain.take(&block).unwrap();
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
        let receipts = view.placed_receipts(1).unwrap().unwrap();
        let roots = receipts.iter().map(|placed| placed.receipt.status_or_post_state());
        let is_root = |outcome: Eip658Value| matches!(outcome, Eip658Value::PostState(_));
        assert!(roots.clone().all(|outcome| is_root(outcome) == has_roots));
        let name = TxHash(receipts[1].included.transaction.tx_hash().0);
        assert_eq!(view.place(name).unwrap(), Some((1, 1)));
    }
}

#[test]
fn a_chain_goes_on_where_it_was_left() {
    let mut chain = Foreign::new(osaka_from_genesis(CHAIN_ID));
    let first = chain.built(&[wallet(1).sign(legacy(0, wallet(2).address))]);
    chain.take(&first).unwrap();
    chain.ledger.flush().unwrap();
    let mut again = ForeignLedger::open(chain.kv.clone(), &chain.genesis).unwrap();
    assert_eq!(again.tip(), chain.ledger.tip());
    assert!(again.knows(&first));
    let second = chain.built(&[]);
    assert!(!again.knows(&second));
    again.take(&mut &second[..]).unwrap();
}

#[test]
fn a_block_that_does_not_fit_changes_nothing() {
    let mut chain = Foreign::new(osaka_from_genesis(CHAIN_ID));
    let (first, other) = (
        chain.built(&[wallet(1).sign(legacy(0, wallet(2).address))]),
        chain.built(&[]),
    );
    chain.take(&first).unwrap();
    let refused = |chain: &mut Foreign, block: &[u8]| chain.take(block).unwrap_err().to_string();
    assert!(refused(&mut chain, &other).contains("the tip is block 1"), "a branch");
    assert!(refused(&mut chain, &[0xc1, 0x80]).contains("are not a block"));
    let mut lying = crate::block::reread(&chain.built(&[])).unwrap();
    lying.header.state_root = B256::repeat_byte(1);
    assert!(refused(&mut chain, &alloy_rlp::encode(lying)).contains("state root is"));
    assert_eq!(chain.ledger.tip().height.0, 1);
}

#[test]
fn another_chains_data_is_not_touched() {
    let chain = Foreign::new(osaka_from_genesis(CHAIN_ID));
    let other = genesis(osaka_from_genesis(CHAIN_ID + 1));
    assert_eq!(other.hash, chain.genesis.hash, "the id is not part of the first block");
    let file = Genesis {
        gas_limit: 5_000_000,
        ..Default::default()
    };
    let other = ForeignGenesis::from_json(&serde_json::to_vec(&file).unwrap()).unwrap();
    let error = ForeignLedger::open(chain.kv.clone(), &other).unwrap_err();
    assert!(
        error.to_string().contains("belongs to the chain with genesis"),
        "{error}"
    );
}

#[test]
fn blobs_come_in_with_what_their_hashes_name() {
    let chain = Foreign::new(osaka_from_genesis(CHAIN_ID));
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
        chain.ledger.door().admit(&raw.into())
    };
    let pooled = carry(named.clone(), Some(sidecar.clone())).unwrap();
    assert_eq!(pooled.cost.0, FEE_CAP * 21_000 + 131_072);
    let refused = |outcome: Result<_, TxError>| outcome.unwrap_err().to_string();
    assert!(refused(carry(named.clone(), None)).contains("without its blobs"));
    assert!(refused(carry(vec![B256::ZERO], Some(sidecar))).contains("commitments"));
}

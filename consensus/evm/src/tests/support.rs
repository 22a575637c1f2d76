//! A small chain with known keys, and wallets that sign for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use alloy_consensus::{
    Header, SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy,
    crypto::secp256k1::sign_message, transaction::SignerRecoverable,
};
use alloy_eips::{Encodable2718, eip7702::Authorization};
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use consensus::{
    execution::{BlockContext, Committed, Execution, Staker},
    validator::ValidatorSet,
};
use protocol::{Account, Amount, Height, Time, ValidatorKey, unit::SUPPLY};

use crate::{
    genesis::{ChainGenesis, GenesisValidator, Params, Timing, osaka_from_genesis},
    ledger::Ledger,
    senders::SenderCache,
    state::{MemKv, Options},
    view::BlockSource,
};

pub(super) const CHAIN_ID: u64 = 7777;
pub(super) const EPOCH: u64 = 5;
pub(super) const WALLETS: u8 = 8;
pub(super) const START_S: u64 = 1_700_000_000;
/// Balance of every wallet at genesis.
pub(super) const FUNDS: Amount = Amount::open(1_000_000);
pub(super) const STAKE: Amount = Amount::open(1_000);
/// Enough for every transaction of these tests.
pub(super) const FEE_CAP: u128 = 10_000_000_000;

/// An account with a known key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wallet {
    secret: B256,
    pub(super) address: Address,
}

pub(super) fn wallet(number: u8) -> Wallet {
    let secret = keccak256([b"wallet".as_slice(), &[number]].concat());
    let probe = TxLegacy::default().into_signed(sign_message(secret, TxLegacy::default().signature_hash()).unwrap());
    let address = TxEnvelope::from(probe).recover_signer().unwrap();
    Wallet { secret, address }
}

impl Wallet {
    pub(super) fn sign_hash(&self, hash: B256) -> Signature {
        sign_message(self.secret, hash).unwrap()
    }

    pub(super) fn sign<T>(&self, transaction: T) -> Arc<[u8]>
    where
        T: SignableTransaction<Signature>,
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.sign_hash(transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature))
            .encoded_2718()
            .into()
    }

    pub(super) fn authorize(&self, address: Address, nonce: u64) -> alloy_eips::eip7702::SignedAuthorization {
        let authorization = Authorization {
            chain_id: U256::from(CHAIN_ID),
            address,
            nonce,
        };
        let signature = self.sign_hash(authorization.signature_hash());
        authorization.into_signed(signature)
    }

    pub(super) fn pay(&self, nonce: u64, to: Address, value: Amount) -> Arc<[u8]> {
        self.sign(TxEip1559 {
            to: TxKind::Call(to),
            gas_limit: 21_000,
            value: U256::from(value.0),
            ..fee_market(nonce)
        })
    }

    pub(super) fn call(&self, nonce: u64, to: Address, value: Amount, input: Vec<u8>) -> Arc<[u8]> {
        let (to, value, input) = (TxKind::Call(to), U256::from(value.0), input.into());
        self.sign(TxEip1559 {
            to,
            gas_limit: 1_000_000,
            value,
            input,
            ..fee_market(nonce)
        })
    }

    pub(super) fn deploy(&self, nonce: u64, code: Bytes) -> Arc<[u8]> {
        self.sign(TxEip1559 {
            to: TxKind::Create,
            gas_limit: 3_000_000,
            input: code,
            ..fee_market(nonce)
        })
    }
}

pub(super) fn fee_market(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        max_fee_per_gas: FEE_CAP,
        max_priority_fee_per_gas: 1_000_000_000,
        ..Default::default()
    }
}

pub(super) fn legacy(nonce: u64, to: Address) -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: FEE_CAP,
        gas_limit: 21_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        ..Default::default()
    }
}

pub(super) fn with_access_list(nonce: u64, to: Address) -> TxEip2930 {
    TxEip2930 {
        chain_id: CHAIN_ID,
        nonce,
        gas_price: FEE_CAP,
        gas_limit: 30_000,
        to: TxKind::Call(to),
        ..Default::default()
    }
}

pub(super) fn set_code(nonce: u64, to: Address) -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: FEE_CAP,
        max_priority_fee_per_gas: 1,
        to,
        ..Default::default()
    }
}

/// The keys of the four validators of genesis are owned by wallets 1 to 4.
pub(super) fn params() -> Params {
    let validator = |number: u8| GenesisValidator {
        account: Account(wallet(number).address.0.0),
        key: key(number),
        stake: STAKE,
    };
    Params {
        epoch_length: EPOCH,
        validators_max: 10,
        minimum_stake: Amount::open(100),
        unbonding_blocks: 3,
        base_fee_min: 7,
        timing: Timing::default(),
        validators: (1..=4).map(validator).collect(),
    }
}

/// A genesis with the whole supply: a treasury has what the wallets and stakes leave.
pub(super) fn genesis_file(params: &Params) -> Genesis {
    let mut config = osaka_from_genesis(CHAIN_ID);
    config
        .extra_fields
        .insert("openledger".into(), serde_json::to_value(params).unwrap());
    let funded = |amount: Amount| GenesisAccount::default().with_balance(U256::from(amount.0));
    let mut alloc: BTreeMap<_, _> = (1..=WALLETS)
        .map(|number| (wallet(number).address, funded(FUNDS)))
        .collect();
    let stakes: u128 = params.validators.iter().map(|validator| validator.stake.0).sum();
    let rest = SUPPLY.0 - stakes - FUNDS.0 * u128::from(WALLETS);
    alloc.insert(Address::repeat_byte(0x77), funded(Amount(rest)));
    Genesis {
        config,
        timestamp: START_S,
        gas_limit: 30_000_000,
        alloc,
        ..Default::default()
    }
}

pub(super) fn genesis() -> ChainGenesis {
    ChainGenesis::new(genesis_file(&params())).unwrap()
}

/// A ledger with the blocks it committed, as a node keeps them.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) ledger: Ledger<Arc<MemKv>>,
    pub(super) kv: Arc<MemKv>,
    pub(super) log: Arc<Log>,
}

/// The block log of a test.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<Vec<u8>>>);

impl Log {
    pub(super) fn blocks(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }
}

impl BlockSource for Log {
    fn block(&self, height: u64) -> Option<Vec<u8>> {
        self.0
            .lock()
            .unwrap()
            .get(usize::try_from(height).unwrap() - 1)
            .cloned()
    }
}

impl Chain {
    pub(super) fn new() -> Self {
        Self::of(&genesis())
    }

    pub(super) fn of(genesis: &ChainGenesis) -> Self {
        let kv = Arc::new(MemKv::default());
        let ledger = Ledger::open(kv.clone(), Options::default(), genesis, SenderCache::default()).unwrap();
        Self {
            ledger,
            kv,
            log: Arc::default(),
        }
    }

    pub(super) fn slot(&self) -> BlockContext {
        slot_above(&self.ledger)
    }

    /// Builds, verifies again from the bytes, and commits a block of these transactions.
    pub(super) fn add(&mut self, offered: &[Arc<[u8]>]) -> Committed {
        let built = self.ledger.build(&self.slot(), offered).unwrap();
        self.log.0.lock().unwrap().push(built.block.clone());
        self.ledger.commit(built.hash).unwrap()
    }

    /// A block of these transactions, all of which must be included.
    pub(super) fn add_all(&mut self, offered: &[Arc<[u8]>]) -> Committed {
        let committed = self.add(offered);
        assert_eq!(committed.included.len(), offered.len(), "every transaction is included");
        committed
    }

    /// Commits a block that another ledger built.
    pub(super) fn follow(&mut self, block: &[u8]) -> Committed {
        let slot = self.slot();
        let verdict = self
            .ledger
            .verify(block, slot.height, slot.time, slot.parent_certificate, &proposers())
            .unwrap();
        self.log.0.lock().unwrap().push(block.to_vec());
        self.ledger.commit(verdict.unwrap()).unwrap()
    }

    /// The verdict of `verify` about a block.
    pub(super) fn verdict(&mut self, block: &[u8]) -> Result<(), String> {
        let slot = self.slot();
        let verdict = self
            .ledger
            .verify(block, slot.height, slot.time, slot.parent_certificate, &proposers())
            .unwrap();
        verdict.map(|_| ()).map_err(|refusal| refusal.0)
    }

    pub(super) fn balance(&self, address: Address) -> Amount {
        self.ledger.account(Account(address.0.0)).unwrap().balance
    }
}

/// The accounts that may propose: the validators of genesis.
pub(super) fn proposers() -> Vec<Account> {
    (1..=4).map(|number| Account(wallet(number).address.0.0)).collect()
}

/// A block context above the tip, a second later, for the first validator.
pub(super) fn slot_above<X: Execution>(ledger: &X) -> BlockContext {
    let tip = ledger.tip();
    BlockContext {
        height: Height(tip.height.0 + 1),
        time: Time::from_secs(tip.timestamp_s + 1),
        proposer: proposers()[0],
        parent_certificate: keccak256(tip.hash.0).0,
    }
}

/// The header of an encoded block.
pub(super) fn header_of(block: &[u8]) -> Header {
    crate::block::decode(block).unwrap().header
}

/// The key of a validator with this number: real keys, since others make no epoch, in the order of their numbers.
pub(super) fn key(number: u8) -> ValidatorKey {
    let usable = |byte: &u8| {
        let staker = Staker {
            key: ValidatorKey([*byte; 32]),
            account: Account::default(),
            stake: Amount(1),
        };
        ValidatorSet::new(&[staker]).is_ok()
    };
    let byte = (1..=255).filter(usable).nth(usize::from(number) - 1);
    ValidatorKey([byte.expect("a hundred bytes are points of the curve"); 32])
}

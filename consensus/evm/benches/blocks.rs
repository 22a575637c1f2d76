//! Measures building, verifying and committing blocks of plain transfers and of token transfers.
//!
//! `cargo bench -p evm --bench blocks`. Every transaction is of its own sender, on a chain with 20,000 funded accounts; the
//! verifier is a second ledger that has not seen the transactions (cold), and one whose mempool has (warm).
#![allow(
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a bench shows figures"
)]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message, transaction::SignerRecoverable,
};
use alloy_eips::Encodable2718;
use alloy_genesis::{Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use consensus::execution::{BlockContext, Execution};
use contracts::TestToken;
use evm::{
    genesis::{ChainGenesis, GenesisValidator, Params, Timing, osaka_from_genesis},
    ledger::Ledger,
    senders::SenderCache,
    state::{MemKv, Options},
};
use protocol::{Account, Amount, Time, ValidatorKey, unit::SUPPLY};

const CHAIN_ID: u64 = 7777;
const SENDERS: u64 = 20_000;
const BLOCKS: u64 = 10;

fn main() {
    let wallets: Vec<(B256, Address)> = (0..SENDERS).map(wallet).collect();
    let genesis = genesis(&wallets);
    for per_block in [200, 1_000] {
        measure("transfers", &genesis, &wallets, per_block, None);
        measure(
            "token transfers",
            &genesis,
            &wallets,
            per_block,
            Some(wallets[0].1.create(0)),
        );
    }
}

fn measure(what: &str, genesis: &ChainGenesis, wallets: &[(B256, Address)], per_block: u64, token: Option<Address>) {
    let mut builder = open(genesis);
    let (mut cold, mut warm) = (open(genesis), open(genesis));
    let tx_validator = warm.tx_validator();
    let (mut build, mut admit, mut verify_cold, mut verify_warm, mut commit, mut flush) = Default::default();
    let mut gas = 0;
    if token.is_some() {
        let ledgers = &mut [&mut builder, &mut cold, &mut warm];
        step(ledgers, &[deploy(&wallets[0])]);
        for first in (1..=per_block * BLOCKS).step_by(1_000) {
            let gifts: Vec<_> = (first..first + 1_000).map(|n| gift(wallets, n, token)).collect();
            step(ledgers, &gifts);
        }
    }
    for block in 0..BLOCKS {
        let offered: Vec<Arc<[u8]>> = (0..per_block)
            .map(|n| (1 + n + block * per_block) % SENDERS)
            .map(|n| payment(wallets, n, token))
            .collect();
        let slot = slot(&builder);
        let built = timed(&mut build, || builder.build(&slot, &offered).expect("builds"));
        timed(&mut admit, || tx_validator.admit_all(&offered));
        for (ledger, spent) in [(&mut cold, &mut verify_cold), (&mut warm, &mut verify_warm)] {
            let verdict = timed(spent, || {
                ledger.verify(
                    &built.block,
                    slot.height,
                    slot.time,
                    slot.parent_certificate,
                    &[slot.proposer],
                )
            });
            verdict.expect("reads").expect("is valid");
            ledger.commit(built.hash).expect("commits");
        }
        let committed = timed(&mut commit, || builder.commit(built.hash).expect("commits"));
        assert_eq!(
            committed.transactions as u64, per_block,
            "every transaction is included"
        );
        gas += evm::block::peek(&built.block).expect("a block").gas_used;
        timed(&mut flush, || builder.flush().expect("flushes"));
    }
    let ms = |spent: Duration| spent.as_secs_f64() * 1e3 / BLOCKS as f64;
    println!(
        "{per_block:5} {what:15}: build {:7.2} ms (senders included), admit {:7.2}, verify cold {:7.2}, verify warm {:7.2}, \
         commit {:6.2}, flush to memory {:6.2} ms; {:.0} tx/s and {:.0} Mgas/s by verify warm + commit",
        ms(build),
        ms(admit),
        ms(verify_cold),
        ms(verify_warm),
        ms(commit),
        ms(flush),
        (per_block * BLOCKS) as f64 / (verify_warm + commit).as_secs_f64(),
        gas as f64 / 1e6 / (verify_warm + commit).as_secs_f64(),
    );
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}

fn step(ledgers: &mut [&mut Ledger<MemKv>], offered: &[Arc<[u8]>]) {
    for ledger in ledgers {
        let built = ledger.build(&slot(ledger), offered).expect("builds");
        assert_eq!(ledger.commit(built.hash).expect("commits").transactions, offered.len());
    }
}

fn slot(ledger: &Ledger<MemKv>) -> BlockContext {
    let tip = ledger.tip();
    BlockContext {
        height: tip.height.next(),
        time: Time::from_secs(tip.timestamp_s + 1),
        proposer: Account([1; 20]),
        parent_certificate: tip.hash.0,
    }
}

fn open(genesis: &ChainGenesis) -> Ledger<MemKv> {
    Ledger::open(MemKv::default(), Options::default(), genesis, SenderCache::default()).expect("opens")
}

fn wallet(n: u64) -> (B256, Address) {
    let secret = keccak256(n.to_be_bytes());
    (
        secret,
        sign(secret, TxEip1559::default()).recover_signer().expect("signed"),
    )
}

fn sign(secret: B256, transaction: TxEip1559) -> TxEnvelope {
    let signature = sign_message(secret, transaction.signature_hash()).expect("a valid key");
    transaction.into_signed(signature).into()
}

fn fee_market(to: TxKind, gas_limit: u64, input: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1,
        gas_limit,
        to,
        input,
        ..Default::default()
    }
}

fn deploy((secret, _): &(B256, Address)) -> Arc<[u8]> {
    let transaction = fee_market(TxKind::Create, 3_000_000, TestToken::BYTECODE.clone());
    sign(*secret, transaction).encoded_2718().into()
}

/// One unit from a sender of its own, of OPEN or of the token.
fn payment(wallets: &[(B256, Address)], n: u64, token: Option<Address>) -> Arc<[u8]> {
    let index = usize::try_from(n).expect("few wallets");
    let to = wallets[(index * 7 + 1) % wallets.len()].1;
    let transaction = match token {
        None => TxEip1559 {
            value: U256::from(1),
            ..fee_market(TxKind::Call(to), 21_000, Bytes::new())
        },
        Some(token) => transfer(token, to, 1),
    };
    sign(wallets[index].0, transaction).encoded_2718().into()
}

/// What the deployer of the token gives to a sender, so that it has something to pay with.
fn gift(wallets: &[(B256, Address)], n: u64, token: Option<Address>) -> Arc<[u8]> {
    let to = wallets[usize::try_from(n).expect("few wallets")].1;
    let token = token.expect("gifts are of the token");
    sign(
        wallets[0].0,
        TxEip1559 {
            nonce: n,
            ..transfer(token, to, 1_000)
        },
    )
    .encoded_2718()
    .into()
}

fn transfer(token: Address, to: Address, value: u64) -> TxEip1559 {
    let input = TestToken::transferCall {
        to,
        value: U256::from(value),
    }
    .abi_encode();
    fee_market(TxKind::Call(token), 100_000, input.into())
}

fn genesis(wallets: &[(B256, Address)]) -> ChainGenesis {
    let stake = Amount::open(1_000);
    let params = Params {
        epoch_length: 1_000,
        validators_max: 10,
        minimum_stake: stake,
        unbonding_blocks: 10,
        base_fee_min: 7,
        timing: Timing::default(),
        validators: vec![GenesisValidator {
            account: Account([1; 20]),
            key: ValidatorKey([1; 32]),
            stake,
        }],
    };
    let mut config = osaka_from_genesis(CHAIN_ID);
    config
        .extra_fields
        .insert("openledger".into(), serde_json::to_value(&params).expect("plain data"));
    let each = (SUPPLY.0 - stake.0) / u128::from(SENDERS);
    let mut alloc: BTreeMap<Address, GenesisAccount> = wallets
        .iter()
        .map(|(_, address)| (*address, GenesisAccount::default().with_balance(U256::from(each))))
        .collect();
    let rest = SUPPLY.0 - stake.0 - each * u128::from(SENDERS);
    alloc.insert(
        Address::repeat_byte(0x77),
        GenesisAccount::default().with_balance(U256::from(rest)),
    );
    ChainGenesis::new(Genesis {
        config,
        gas_limit: 200_000_000,
        alloc,
        ..Default::default()
    })
    .expect("valid")
}

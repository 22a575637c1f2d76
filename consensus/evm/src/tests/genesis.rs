use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use contracts::{StakeHub, address::STAKE_HUB};
use protocol::Amount;

use super::support::*;
use crate::{
    conformance::plain::PlainState,
    genesis::{ChainGenesis, GenesisError},
    view::{At, CallOutcome, CallRequest, Overrides},
};

fn refused(change: impl FnOnce(&mut alloy_genesis::Genesis)) -> String {
    let mut file = genesis_file(&params());
    change(&mut file);
    ChainGenesis::new(file).expect_err("must be refused").to_string()
}

fn refused_params(change: impl FnOnce(&mut crate::genesis::Params)) -> String {
    let mut params = params();
    change(&mut params);
    ChainGenesis::new(genesis_file(&params))
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_hub_that_genesis_wrote_answers_with_its_validators() {
    let chain = Chain::new();
    let request = CallRequest {
        to: Some(STAKE_HUB),
        input: StakeHub::computeSetCall {}.abi_encode().into(),
        ..Default::default()
    };
    let outcome = chain
        .ledger
        .view(chain.log.clone())
        .call(&request, At::Tip, &Overrides::default())
        .unwrap();
    let CallOutcome::Returned { output, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let set = StakeHub::computeSetCall::abi_decode_returns(&output).unwrap();
    assert_eq!(
        set.accounts,
        (1..=4).map(|number| wallet(number).address).collect::<Vec<_>>()
    );
    assert_eq!(
        set.keys,
        (1..=4).map(|number| B256::from(key(number).0)).collect::<Vec<_>>()
    );
    assert_eq!(set.stakes, vec![U256::from(STAKE.0); 4]);
    assert_eq!(chain.balance(STAKE_HUB), Amount(STAKE.0 * 4));
}

#[test]
fn every_public_variable_of_the_hub_reads_what_genesis_wrote() {
    let chain = Chain::new();
    let view = chain.ledger.view(chain.log.clone());
    let ask = |input: Vec<u8>| {
        let request = CallRequest {
            to: Some(STAKE_HUB),
            input: input.into(),
            ..Default::default()
        };
        match view.call(&request, At::Tip, &Overrides::default()).unwrap() {
            CallOutcome::Returned { output, .. } => output,
            other => panic!("{other:?}"),
        }
    };
    let number = |input: Vec<u8>| U256::from_be_slice(&ask(input));
    assert_eq!(
        number(StakeHub::minimumStakeCall {}.abi_encode()),
        U256::from(Amount::open(100).0)
    );
    assert_eq!(number(StakeHub::unbondingBlocksCall {}.abi_encode()), U256::from(3));
    assert_eq!(number(StakeHub::listedMaxCall {}.abi_encode()), U256::from(256));
    let owner = ask(StakeHub::ownerOfKeyCall {
        key: B256::from(key(3).0),
    }
    .abi_encode());
    assert_eq!(Address::from_word(B256::from_slice(&owner)), wallet(3).address);
    let record = ask(StakeHub::validatorsCall {
        account: wallet(3).address,
    }
    .abi_encode());
    let record = StakeHub::validatorsCall::abi_decode_returns(&record).unwrap();
    assert_eq!(
        (record.key, record.stake, record.position),
        (B256::from(key(3).0), U256::from(STAKE.0), 3)
    );
    assert_eq!((record.unbonding, record.releaseBlock), (U256::ZERO, 0));
}

#[test]
fn genesis_holds_the_whole_supply() {
    let state = PlainState::default().apply(&genesis().accounts);
    assert_eq!(state.supply(), U256::from(protocol::unit::SUPPLY.0));
    assert_eq!(state.root(), genesis().header.state_root);
}

#[test]
fn the_error_of_a_wrong_supply_names_the_difference() {
    let more = refused(|file| file.alloc.get_mut(&wallet(1).address).unwrap().balance += U256::from(5));
    assert!(more.contains("5 more than the 1000000000 OPEN"), "{more}");
    let less = refused(|file| file.alloc.get_mut(&wallet(1).address).unwrap().balance -= U256::from(7));
    assert!(less.contains("7 less than the 1000000000 OPEN"), "{less}");
}

#[test]
fn the_error_of_an_invalid_genesis_names_the_field() {
    let cases: [(String, &str); 13] = [
        (
            refused(|file| drop(file.config.extra_fields.remove("openledger"))),
            "config.openledger is missing",
        ),
        (refused(|file| file.config.osaka_time = None), "osakaTime"),
        (refused(|file| file.config.chain_id = 0), "config.chainId"),
        (refused(|file| file.gas_limit = 1), "gasLimit"),
        (refused(|file| file.difficulty = U256::from(1)), "difficulty"),
        (
            refused(|file| drop(file.alloc.insert(STAKE_HUB, Default::default()))),
            "system contract",
        ),
        (
            refused(|file| {
                let storage = [(B256::ZERO, B256::repeat_byte(1))].into();
                file.alloc.get_mut(&wallet(1).address).unwrap().storage = Some(storage);
            }),
            "storage but neither code nor nonce",
        ),
        (refused_params(|params| params.epoch_length = 0), "epochLength"),
        (refused_params(|params| params.validators_max = 0), "validatorsMax"),
        (
            refused_params(|params| params.validators.clear()),
            "one validator or more",
        ),
        (
            refused_params(|params| params.validators[1].key = params.validators[0].key),
            "validators[1]: key",
        ),
        (
            refused_params(|params| params.validators[2].account = params.validators[0].account),
            "validators[2]: account",
        ),
        (
            refused_params(|params| params.validators[3].stake = Amount(1)),
            "validators[3]: stake",
        ),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "`{message}` should say `{part}`");
    }
}

#[test]
fn a_misspelt_parameter_is_an_error() {
    let mut file = genesis_file(&params());
    let section = file.config.extra_fields.get_mut("openledger").unwrap();
    section.as_object_mut().unwrap().insert("epochLenght".into(), 1.into());
    let error = ChainGenesis::new(file).expect_err("unknown key");
    assert!(matches!(error, GenesisError::Params(_)), "{error}");
    assert!(error.to_string().contains("epochLenght"), "{error}");
}

#[test]
fn a_genesis_file_reads_back_to_the_same_chain() {
    let json = serde_json::to_vec(&genesis_file(&params())).unwrap();
    let read = ChainGenesis::from_json(&json).unwrap();
    assert_eq!(read.hash, genesis().hash);
    assert_eq!(read.params, params());
}

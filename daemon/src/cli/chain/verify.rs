//! `openledger chain verify FILE --genesis g.json`: checks a light proof. It needs no node and reads no home.
//!
//! An invalid proof ends with exit code 7 and the name of the wrong field. The only trust assumption, described in
//! [`evm::light`], is the validator set: that of genesis, or with `--validators` the set in a file that `openledger chain
//! validators --json` wrote. Such a file must come from a trusted source.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use alloy_primitives::B256;
use anyhow::{Context as _, ensure};
use clap::Args;
use consensus::{execution::Staker, validator::ValidatorSet};
use evm::{
    genesis::ChainGenesis,
    light::{self, FILE_BYTES_MAX, FinalBlock, LightProof},
};
use protocol::{Account, Amount, ValidatorKey, crypto::Domain};
use serde::Deserialize;
use serde_json::{Value, json};

use super::transaction::open;
use crate::cli::{
    Globals,
    exit::{Exit, ended},
    output,
};

/// Check a proof of an account, without a node
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain verify proof.json --genesis genesis.json\n\n\
                  JSON: {number, hash, timestamp_s, signed, total, validators: genesis|given, account: {address, nonce, balance, \
                  code_hash, storage_root}, slots: [{slot, value}]}"
)]
pub(crate) struct Verify {
    /// Proof that `openledger chain prove` wrote
    file: PathBuf,
    /// Genesis file of the chain
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// Validators to trust instead of those of genesis, from `openledger chain validators --json`
    #[arg(long, value_name = "FILE")]
    validators: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Listed {
    validators: Vec<Voter>,
}

#[derive(Deserialize)]
struct Voter {
    account: Account,
    key: ValidatorKey,
    stake: String,
}

impl Verify {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let genesis = read(&self.genesis)?;
        let genesis = ChainGenesis::from_json(&genesis)
            .with_context(|| format!("{} is not a genesis file", self.genesis.display()))?;
        let (validators, source) = match &self.validators {
            None => (light::founders(&genesis)?, "genesis"),
            Some(file) => (listed(file)?, "given"),
        };
        let wrong = || {
            ended(
                Exit::Unverified,
                format!("{} is not a light proof", self.file.display()),
            )
        };
        let proof: LightProof = serde_json::from_slice(&read(&self.file)?).with_context(wrong)?;
        let domain = Domain {
            chain_id: genesis.spec.chain_id,
            genesis: genesis.hash.0,
        };
        let does_not_hold = || {
            ended(
                Exit::Unverified,
                format!("the proof in {} is not valid", self.file.display()),
            )
        };
        let block = proof.check(&domain, &validators).with_context(does_not_hold)?;
        globals.show(&shown(&proof, &block, source), || text(&proof, &block, source));
        Ok(Exit::Done)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).with_context(|| format!("could not open {}", file.display()))?;
    let found = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    found.with_context(|| format!("could not read {}", file.display()))?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "{} is longer than {FILE_BYTES_MAX} bytes",
        file.display()
    );
    Ok(bytes)
}

fn listed(file: &Path) -> anyhow::Result<ValidatorSet> {
    let wrong = || {
        format!(
            "{} is not a file that `openledger chain validators --json` wrote",
            file.display()
        )
    };
    let listed: Listed = serde_json::from_slice(&read(file)?).with_context(wrong)?;
    let staker = |voter: Voter| {
        let stake: Amount = voter.stake.parse().with_context(wrong)?;
        Ok(Staker {
            key: voter.key,
            account: voter.account,
            stake,
        })
    };
    let stakers = listed
        .validators
        .into_iter()
        .map(staker)
        .collect::<anyhow::Result<Vec<_>>>()?;
    ValidatorSet::new(&stakers).with_context(wrong)
}

fn shown(proof: &LightProof, block: &FinalBlock, source: &str) -> Value {
    let account = &proof.account;
    let slot = |slot: &light::ProvenSlot| json!({ "slot": slot.slot, "value": B256::from(slot.value) });
    json!({
        "number": block.header.number,
        "hash": block.hash,
        "timestamp_s": block.header.timestamp,
        "signed": block.signed,
        "total": block.total,
        "validators": source,
        "account": {
            "address": account.address,
            "nonce": account.nonce,
            "balance": open(account.balance),
            "code_hash": account.code_hash,
            "storage_root": account.storage_root,
        },
        "slots": account.slots.iter().map(slot).collect::<Vec<_>>(),
    })
}

fn text(proof: &LightProof, block: &FinalBlock, source: &str) -> String {
    let account = &proof.account;
    let per_mille = u128::from(block.signed) * 1_000 / u128::from(block.total);
    let whose = match source {
        "genesis" => "the validators in the genesis file",
        _ => "the validators in the file of --validators",
    };
    let mut rows = vec![
        (
            "Valid",
            format!(
                "at block {}, {} s since 1970",
                block.header.number, block.header.timestamp
            ),
        ),
        ("Block", block.hash.to_string()),
        (
            "Signed by",
            format!("{}.{} % of the voting power", per_mille / 10, per_mille % 10),
        ),
        ("Trusts", format!("{whose}, and nothing else")),
        ("Account", account.address.to_string()),
        ("Balance", open(account.balance)),
        ("Nonce", account.nonce.to_string()),
        ("Code hash", account.code_hash.to_string()),
    ];
    rows.extend(
        account
            .slots
            .iter()
            .map(|slot| ("Slot", format!("{} = {}", slot.slot, B256::from(slot.value)))),
    );
    output::columns(&rows)
}

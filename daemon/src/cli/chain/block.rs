//! `openledger chain block N|HASH`: prints one block.
//!
//! The block comes from the running node over JSON-RPC, or from the block log. The certificate and the number of evidence
//! entries always come from the block log.

use std::str::FromStr;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Block as RpcBlock;
use clap::Args;
use evm::block::ChainBlock;
use protocol::{Height, ValidatorKey, message::chain::Entry};
use serde::Serialize;
use serde_json::json;

use super::archive::Archive;
use crate::cli::{
    Globals,
    exit::{Exit, ended},
    globals::wait,
    output,
    running::Running,
};

/// Print one block
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain block 1\nExample: openledger chain block latest\n\n\
                  JSON: {number, hash, parent_hash, timestamp_s, proposer, state_root, gas_used, gas_limit, base_fee, \
                  transactions: [HASH], certificate: {round, signers: [KEY]}, evidence}; evidence is a count; it and \
                  certificate are null for block 0"
)]
pub(crate) struct Block {
    /// Height, hash, or latest
    #[arg(value_name = "N|HASH")]
    which: Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Latest,
    Height(u64),
    Hash(B256),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let height = text.parse().map(Self::Height).ok();
        let hash = || text.parse().map(Self::Hash).ok().filter(|_| text.starts_with("0x"));
        let wrong = || {
            format!(
                "`{text}` does not name a block; write a height such as 12, a hash of 0x and 64 hex digits, or latest"
            )
        };
        height.or_else(hash).ok_or_else(wrong)
    }
}

#[derive(Serialize)]
struct Shown {
    number: u64,
    hash: B256,
    parent_hash: B256,
    timestamp_s: u64,
    proposer: Address,
    state_root: B256,
    gas_used: u64,
    gas_limit: u64,
    base_fee: Option<u64>,
    transactions: Vec<B256>,
    certificate: Option<Certificate>,
    evidence: Option<usize>,
}

#[derive(Serialize)]
struct Certificate {
    round: u32,
    signers: Vec<ValidatorKey>,
}

impl Block {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let archive = Archive::open(&globals.home())?;
        let found = match globals.maybe_running() {
            Some(running) => wait(request(&running, self.which))?.map(|mut shown| {
                // `eth_getBlockByNumber` has no certificate; the node's block log has it.
                if let Ok(Some((entry, _))) = archive.entry(Height(shown.number)) {
                    shown.add(&entry);
                }
                shown
            }),
            None => read_log(globals, &archive, self.which)?,
        };
        let shown = found.ok_or_else(|| {
            let tip = archive.tip().map_or(0, |tip| tip.0);
            ended(Exit::NotFound, format!("no such block; the last block here is {tip}"))
        })?;
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

async fn request(running: &Running, which: Which) -> anyhow::Result<Option<Shown>> {
    let (method, first) = match which {
        Which::Latest => ("eth_getBlockByNumber", json!("latest")),
        Which::Height(height) => ("eth_getBlockByNumber", json!(format!("{height:#x}"))),
        Which::Hash(hash) => ("eth_getBlockByHash", json!(hash)),
    };
    let block: Option<RpcBlock> = running.call(method, json!([first, false])).await?;
    Ok(block.map(|block| {
        let transactions = block.transactions.hashes().collect();
        shown(&block.header.inner, block.header.hash, transactions)
    }))
}

fn read_log(globals: &Globals, archive: &Archive, which: Which) -> anyhow::Result<Option<Shown>> {
    let tip = archive.tip().unwrap_or(Height(0));
    let (found, genesis) = match which {
        Which::Latest if tip == Height(0) => (None, Some(globals.genesis()?)),
        Which::Latest => (archive.entry(tip)?, None),
        Which::Height(0) => (None, Some(globals.genesis()?)),
        Which::Height(height) => (archive.entry(Height(height))?, None),
        Which::Hash(hash) => {
            let genesis = globals.genesis()?;
            match genesis.hash.0 == hash.0 {
                true => (None, Some(genesis)),
                false => (archive.find(hash)?, None),
            }
        }
    };
    let of_genesis = genesis.map(|genesis| shown(&genesis.header, B256::from(genesis.hash.0), Vec::new()));
    Ok(found.map(|(entry, block)| logged(&entry, &block)).or(of_genesis))
}

fn logged(entry: &Entry, block: &ChainBlock) -> Shown {
    let transactions = block.body.transactions.iter().map(|transaction| *transaction.tx_hash());
    let mut shown = shown(
        &block.header,
        B256::from(entry.certificate.block.0),
        transactions.collect(),
    );
    shown.add(entry);
    shown
}

fn shown(header: &Header, hash: B256, transactions: Vec<B256>) -> Shown {
    Shown {
        number: header.number,
        hash,
        parent_hash: header.parent_hash,
        timestamp_s: header.timestamp,
        proposer: header.beneficiary,
        state_root: header.state_root,
        gas_used: header.gas_used,
        gas_limit: header.gas_limit,
        base_fee: header.base_fee_per_gas,
        transactions,
        certificate: None,
        evidence: None,
    }
}

impl Shown {
    fn add(&mut self, entry: &Entry) {
        if entry.certificate.block.0 != self.hash.0 {
            return;
        }
        self.certificate = Some(Certificate {
            round: entry.certificate.round,
            signers: entry.certificate.signatures.iter().map(|(key, _)| *key).collect(),
        });
        self.evidence = Some(entry.evidence.len());
    }
}

fn text(shown: &Shown) -> String {
    let mut rows = vec![
        ("Block", shown.number.to_string()),
        ("Hash", shown.hash.to_string()),
        ("Parent", shown.parent_hash.to_string()),
        ("Time", format!("{} s since 1970", shown.timestamp_s)),
        ("Proposer", shown.proposer.to_string()),
        ("State root", shown.state_root.to_string()),
        ("Gas", format!("{} of {}", shown.gas_used, shown.gas_limit)),
    ];
    if let Some(certificate) = &shown.certificate {
        rows.push((
            "Final",
            format!(
                "in round {} by {} validators",
                certificate.round,
                certificate.signers.len()
            ),
        ));
    }
    let evidence = shown.evidence.filter(|count| *count > 0);
    rows.extend(evidence.map(|count| ("Evidence", format!("{count}; `openledger chain evidence` shows it"))));
    rows.push(("Transactions", shown.transactions.len().to_string()));
    rows.extend(shown.transactions.iter().map(|hash| ("", hash.to_string())));
    output::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_height_by_hash_or_as_the_last() {
        assert_eq!("12".parse(), Ok(Which::Height(12)));
        assert_eq!("latest".parse(), Ok(Which::Latest));
        assert_eq!(B256::ZERO.to_string().parse(), Ok(Which::Hash(B256::ZERO)));
        for text in ["", "0x12", "-1", "twelve", &"ab".repeat(32)] {
            assert!(
                text.parse::<Which>().unwrap_err().contains("a height such as 12"),
                "{text}"
            );
        }
    }
}

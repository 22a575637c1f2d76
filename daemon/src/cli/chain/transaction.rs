//! `openledger chain tx HASH`: prints one transaction and its receipt.
//!
//! Receipts are kept by the running node; the block log of a stopped node has only the transaction.

use alloy_consensus::{Transaction as _, transaction::SignerRecoverable as _};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{Transaction as RpcTransaction, TransactionReceipt};
use clap::Args;
use protocol::Amount;
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

/// Print one transaction
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger chain tx 0x0000000000000000000000000000000000000000000000000000000000000001\n\n\
                  JSON: {hash, state: included|waiting, block, from, to, value, nonce, success, gas_used, created}; value is \
                  in OPEN, to is null for a new contract; block, success and gas_used are null while it waits, and the last \
                  two also if no node runs"
)]
pub(crate) struct Transaction {
    /// Hash of the transaction: 0x and 64 hex digits
    #[arg(value_parser = transaction_hash)]
    hash: B256,
}

/// Parses a hash. The default parser only says "invalid string length".
fn transaction_hash(text: &str) -> Result<B256, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a transaction hash; write 0x and 64 hex digits"))
}

#[derive(Serialize)]
struct Shown {
    hash: B256,
    state: &'static str,
    block: Option<u64>,
    from: Option<Address>,
    to: Option<Address>,
    value: String,
    nonce: u64,
    success: Option<bool>,
    gas_used: Option<u64>,
    created: Option<Address>,
}

impl Transaction {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let found = match globals.maybe_running() {
            Some(running) => wait(request(&running, self.hash))?,
            None => search_log(&Archive::open(&globals.home())?, self.hash)?,
        };
        let shown = found.ok_or_else(|| {
            let text = format!(
                "transaction {} is neither in a block nor in the pool; check the hash",
                self.hash
            );
            ended(Exit::NotFound, text)
        })?;
        globals.show(&shown, || text(&shown));
        Ok(Exit::Done)
    }
}

async fn request(running: &Running, hash: B256) -> anyhow::Result<Option<Shown>> {
    let found: Option<RpcTransaction> = running.call("eth_getTransactionByHash", json!([hash])).await?;
    let Some(found) = found else { return Ok(None) };
    let receipt: Option<TransactionReceipt> = running.call("eth_getTransactionReceipt", json!([hash])).await?;
    let block = receipt
        .as_ref()
        .and_then(|receipt| receipt.block_number)
        .or(found.block_number);
    Ok(Some(Shown {
        hash,
        state: if block.is_some() { "included" } else { "waiting" },
        block,
        from: Some(found.inner.signer()),
        to: found.inner.to(),
        value: open(found.inner.value()),
        nonce: found.inner.nonce(),
        success: receipt.as_ref().map(TransactionReceipt::status),
        gas_used: receipt.as_ref().map(|receipt| receipt.gas_used),
        created: receipt.and_then(|receipt| receipt.contract_address),
    }))
}

/// Searches the log from its end, because it has no index of transactions.
fn search_log(archive: &Archive, hash: B256) -> anyhow::Result<Option<Shown>> {
    for found in archive.backwards() {
        let (_, block) = found?;
        let transaction = block
            .body
            .transactions
            .iter()
            .find(|transaction| *transaction.tx_hash() == hash);
        let Some(transaction) = transaction else { continue };
        return Ok(Some(Shown {
            hash,
            state: "included",
            block: Some(block.header.number),
            from: transaction.recover_signer().ok(),
            to: transaction.to(),
            value: open(transaction.value()),
            nonce: transaction.nonce(),
            success: None,
            gas_used: None,
            created: None,
        }));
    }
    Ok(None)
}

/// Formats an amount in OPEN. One that exceeds the total supply is printed in wei.
pub(crate) fn open(value: U256) -> String {
    u128::try_from(value).map_or_else(|_| value.to_string(), |value| Amount(value).to_string())
}

fn text(shown: &Shown) -> String {
    let to = match (shown.to, shown.created) {
        (Some(to), _) => to.to_string(),
        (None, Some(created)) => format!("new contract {created}"),
        (None, None) => "new contract".to_owned(),
    };
    let outcome = match (shown.block, shown.success) {
        (None, _) => "waits for a block".to_owned(),
        (Some(block), Some(true)) => format!("succeeded in block {block}, which is final"),
        (Some(block), Some(false)) => format!("reverted in block {block}, which is final"),
        (Some(block), None) => format!("in block {block}, which is final; start the node to see whether it succeeded"),
    };
    let mut rows = vec![("Transaction", shown.hash.to_string()), ("State", outcome)];
    rows.extend(shown.from.map(|from| ("From", from.to_string())));
    rows.extend([
        ("To", to),
        ("Value", shown.value.clone()),
        ("Nonce", shown.nonce.to_string()),
    ]);
    rows.extend(shown.gas_used.map(|gas| ("Gas used", gas.to_string())));
    output::columns(&rows)
}

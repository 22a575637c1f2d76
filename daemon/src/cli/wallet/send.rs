//! `openledger wallet send`: sends OPEN from one account to another.
//!
//! A transaction in a block is final; no confirmations are needed. With `--wait`, the exit code is 6 if no block includes
//! the transaction in time, and 1 if it was reverted.

use std::time::Duration;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U128, U256};
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use alloy_signer::SignerSync as _;
use anyhow::Context as _;
use clap::Args;
use protocol::Amount;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{party::Party, password::PasswordFile};
use crate::cli::{
    Globals,
    chain::open_amount,
    exit::{Exit, ended},
    globals::wait,
    output,
    running::Running,
};

/// Interval between two requests for the receipt.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Send OPEN to an account
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger wallet send --from dev0 --to dev1 --amount 1.5 --wait\n\n\
                  JSON: {hash, from, to, amount, nonce, max_fee_per_gas, gas, block, success, fee}; amount and fee are in OPEN, \
                  block, success and fee are null without --wait"
)]
pub(crate) struct Send {
    /// Sender: an account of this home, or dev0 to dev9 on a development network
    #[arg(long, value_name = "ADDR")]
    from: Party,
    /// Receiver: an address, or dev0 to dev9
    #[arg(long, value_name = "ADDR")]
    to: Party,
    /// Amount in OPEN
    #[arg(long, value_name = "OPEN")]
    amount: Amount,
    /// Wait until the transaction is in a block, which makes it final
    #[arg(long)]
    wait: bool,
    /// Longest time to wait
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    password: PasswordFile,
}

#[derive(Serialize)]
struct Shown {
    hash: B256,
    from: Address,
    to: Address,
    amount: String,
    nonce: u64,
    max_fee_per_gas: u128,
    gas: u64,
    block: Option<u64>,
    success: Option<bool>,
    fee: Option<String>,
}

impl Send {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let running = globals.running()?;
        let transaction = wait(self.prepare(&running))?;
        let signer = self.from.signer(globals, transaction.chain_id, &self.password)?;
        let mut shown = Shown {
            hash: B256::ZERO,
            from: self.from.address(),
            to: self.to.address(),
            amount: self.amount.to_string(),
            nonce: transaction.nonce,
            max_fee_per_gas: transaction.max_fee_per_gas,
            gas: transaction.gas_limit,
            block: None,
            success: None,
            fee: None,
        };
        let signature = signer
            .sign_hash_sync(&transaction.signature_hash())
            .context("could not sign")?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        wait(async {
            let raw = Bytes::from(signed.encoded_2718());
            shown.hash = running.call("eth_sendRawTransaction", json!([raw])).await?;
            if self.wait {
                output::note(&format!("sent {}, waiting for its block", shown.hash));
                let receipt = self.receipt(&running, shown.hash).await?;
                shown.block = receipt.block_number;
                shown.success = Some(receipt.status());
                let fee = U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price);
                shown.fee = Some(open_amount(fee));
            }
            Ok(())
        })?;
        globals.show(&shown, || text(&shown));
        Ok(if shown.success == Some(false) {
            Exit::Failed
        } else {
            Exit::Done
        })
    }

    /// Builds the transaction to sign: nonce, fees and gas come from the node.
    async fn prepare(&self, running: &Running) -> anyhow::Result<TxEip1559> {
        let (from, to, value) = (self.from.address(), self.to.address(), U256::from(self.amount.0));
        let chain_id: U64 = running.call("eth_chainId", json!([])).await?;
        let nonce: U64 = running
            .call("eth_getTransactionCount", json!([from, "pending"]))
            .await?;
        let balance: U256 = running.call("eth_getBalance", json!([from, "latest"])).await?;
        if balance < value {
            let text = format!(
                "--amount {} exceeds the balance of {from}, which is {}",
                self.amount,
                open_amount(balance)
            );
            return Err(ended(Exit::Failed, text).into());
        }
        let tip: U128 = running.call("eth_maxPriorityFeePerGas", json!([])).await?;
        let block: Block = running.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let request = json!({ "from": from, "to": to, "value": value });
        let gas: U64 = running.call("eth_estimateGas", json!([request])).await?;
        let (tip, base_fee) = (
            tip.to::<u128>(),
            u128::from(block.header.base_fee_per_gas.unwrap_or_default()),
        );
        Ok(TxEip1559 {
            chain_id: chain_id.to(),
            nonce: nonce.to(),
            gas_limit: gas.to(),
            // Six full blocks in a row double the base fee: the transaction stays payable for that long.
            max_fee_per_gas: base_fee.saturating_mul(2).saturating_add(tip),
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(to),
            value,
            ..TxEip1559::default()
        })
    }

    async fn receipt(&self, running: &Running, hash: B256) -> anyhow::Result<TransactionReceipt> {
        let until = Instant::now() + self.timeout;
        loop {
            let receipt: Option<TransactionReceipt> = running.call("eth_getTransactionReceipt", json!([hash])).await?;
            if let Some(receipt) = receipt {
                return Ok(receipt);
            }
            if Instant::now() >= until {
                let text = format!(
                    "no block included transaction {hash} within {}; it is still in the pool. `openledger chain tx {hash}` \
                     shows it, `openledger status` shows whether the chain makes blocks",
                    humantime::format_duration(self.timeout)
                );
                return Err(ended(Exit::Timeout, text).into());
            }
            sleep(POLL_EVERY).await;
        }
    }
}

fn text(shown: &Shown) -> String {
    match (shown.block, shown.success) {
        (Some(block), Some(true)) => {
            let fee = shown.fee.as_deref().unwrap_or_default();
            format!(
                "{}\nfinal in block {block}: {} to {}, fee {fee}",
                shown.hash, shown.amount, shown.to
            )
        }
        (Some(block), _) => format!("{}\nreverted in block {block}: only the fee was paid", shown.hash),
        (None, _) => shown.hash.to_string(),
    }
}

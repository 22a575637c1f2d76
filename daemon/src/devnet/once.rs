//! The self-test of `devnet --once`: sends transfers to different nodes and checks that all nodes finalise them with the
//! same state root.

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{TxKind, U256, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};

use super::{DevnetError, Member, Network, call};
use chain::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};

/// Number of transfers, sent to the nodes in turn.
const TRANSFERS: usize = 8;
const FINAL_WITHIN: Duration = Duration::from_secs(20);

/// Sends transfers, waits until every node has them in a final block, and compares block hashes and state roots.
pub(super) async fn self_test(network: &Network) -> Result<(Value, String), DevnetError> {
    let begun = Instant::now();
    let mut hashes = Vec::new();
    for number in 0..TRANSFERS {
        let member = &network.members[number % network.members.len()];
        hashes.push(transfer(member, number).await?);
    }
    let mut highest = 0;
    for member in &network.members {
        for hash in &hashes {
            highest = highest.max(included(network, member, hash).await?);
        }
    }
    let root = agree(network, highest).await?;
    let took = begun.elapsed().as_millis();
    let report = json!({
        "event": "agreed",
        "transactions": hashes,
        "height": highest,
        "state_root": root,
        "took_ms": u64::try_from(took).unwrap_or(u64::MAX),
    });
    let nodes = network.members.len();
    let text = format!(
        "\n{TRANSFERS} transfers are final on all {nodes} nodes ({took} ms).\n\
         Block {highest} has state root {root} on every one of them.",
    );
    Ok((report, text))
}

async fn transfer(member: &Member, number: usize) -> Result<String, DevnetError> {
    let answer = |why: String| DevnetError::Answer { node: member.node, why };
    let (from, to) = (
        &DEV_ACCOUNTS[number % DEV_ACCOUNTS.len()],
        &DEV_ACCOUNTS[(number + 1) % DEV_ACCOUNTS.len()],
    );
    let nonce = call(member, "eth_getTransactionCount", json!([from.0, "pending"])).await?;
    let nonce: U256 = serde_json::from_value(nonce).map_err(|error| answer(error.to_string()))?;
    let transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce: nonce.saturating_to(),
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to.0),
        value: U256::from(10).pow(U256::from(18)),
        ..Default::default()
    };
    let signer: PrivateKeySigner = from.1.parse().expect("the development keys are keys");
    let signature = signer
        .sign_hash_sync(&transaction.signature_hash())
        .expect("a local key always signs");
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    let hash = call(member, "eth_sendRawTransaction", json!([hex::encode_prefixed(raw)])).await?;
    hash.as_str()
        .map(str::to_owned)
        .ok_or_else(|| answer(format!("eth_sendRawTransaction answered {hash}")))
}

/// Waits until a node has the transaction in a final block, and returns that height.
async fn included(network: &Network, member: &Member, hash: &str) -> Result<u64, DevnetError> {
    let until = Instant::now() + FINAL_WITHIN;
    loop {
        let receipt = call(member, "eth_getTransactionReceipt", json!([hash])).await?;
        if let Some(height) = receipt["blockNumber"].as_str() {
            if receipt["status"] != "0x1" {
                return Err(DevnetError::Answer {
                    node: member.node,
                    why: format!("transfer {hash} failed: {receipt}"),
                });
            }
            let height: U256 = height.parse().unwrap_or_default();
            return Ok(height.saturating_to());
        }
        if Instant::now() > until {
            return Err(network.late(format!("transfer {hash} on node {}", member.node), FINAL_WITHIN));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the state root at `height`, or an error if two nodes differ.
async fn agree(network: &Network, height: u64) -> Result<String, DevnetError> {
    let mut seen: Option<(Value, Value)> = None;
    for member in &network.members {
        let block = call(member, "eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?;
        let found = (block["hash"].clone(), block["stateRoot"].clone());
        match &seen {
            Some(first) if *first != found => {
                return Err(DevnetError::Disagree(format!(
                    "block {height} is {} with state {} on node 0 and {} with state {} on node {}",
                    first.0, first.1, found.0, found.1, member.node
                )));
            }
            Some(_) => (),
            None => seen = Some(found),
        }
    }
    let root = seen.and_then(|(_, root)| root.as_str().map(str::to_owned));
    root.ok_or_else(|| DevnetError::Disagree(format!("no node has block {height}")))
}

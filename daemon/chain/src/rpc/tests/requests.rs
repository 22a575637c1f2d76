//! Helpers of the JSON-RPC tests: requests and signed transactions.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_network::TxSignerSync;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};

use super::test_node::TestNode;
use crate::genesis::{DEV_ACCOUNTS, DEV_CHAIN_ID};

impl TestNode {
    /// Calls a method over HTTP. Returns the result, or the error's code and message.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, (i64, String)> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let url = format!("http://{}", self.rpc);
        let answer = base::http::plain().post(url).json(&request).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        match answer.get("error") {
            Some(why) => Err((
                why["code"].as_i64().unwrap(),
                why["message"].as_str().unwrap().to_owned(),
            )),
            None => Ok(answer["result"].take()),
        }
    }

    /// Waits for the receipt of a transaction, block by block.
    pub(crate) async fn receipt(&self, hash: &Value) -> Value {
        let mut heads = self.running.chain.head.clone();
        for _ in 0..100 {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await.unwrap();
            if !receipt.is_null() {
                return receipt;
            }
            heads.changed().await.unwrap();
        }
        panic!("{hash} was not included in a hundred blocks");
    }
}

/// A signed transaction of a development account.
pub(crate) fn signed(account: usize, nonce: u64, to: TxKind, value: U256, input: Bytes) -> String {
    let mut transaction = TxEip1559 {
        chain_id: DEV_CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to,
        value,
        input,
        ..TxEip1559::default()
    };
    let signer: PrivateKeySigner = DEV_ACCOUNTS[account].1.parse().unwrap();
    let signature = signer.sign_transaction_sync(&mut transaction).unwrap();
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    format!("0x{}", hex::encode(raw))
}

/// A signed payment of a development account.
pub(crate) fn payment(account: usize, nonce: u64, to: Address, value: u64) -> String {
    signed(account, nonce, TxKind::Call(to), U256::from(value), Bytes::new())
}

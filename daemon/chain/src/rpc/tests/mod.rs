//! Tests of JSON-RPC against a running chain.

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, U256, address, bytes};
use serde_json::{Value, json};
use storage::{FaultDisk, fault::Fault};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

mod malformed_requests;
pub(super) mod requests;
pub(super) mod test_node;

use base::home::Home;

use self::{requests::*, test_node::*};
use crate::ingress::journal::PoolJournal;

const PAYEE: Address = address!("0x00000000000000000000000000000000000000aa");

/// Init code of a contract that logs `data = 1` with topic 7 when it is called, and reverts with two bytes when it
/// is called with data.
const LOGGER: Bytes =
    bytes!("601e600c600039601e6000f3" "3615601057" "61abcd6000526002601efd" "5b6001600052600760206000a100");

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_sent_included_and_found_by_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let hash = node
        .ask("eth_sendRawTransaction", json!([payment(1, 0, PAYEE, 5)]))
        .await
        .unwrap();
    let receipt = node.receipt(&hash).await;
    assert_eq!(
        (&receipt["status"], &receipt["gasUsed"]),
        (&json!("0x1"), &json!("0x5208"))
    );
    // The fields and their names are those of other clients.
    assert_eq!(
        keys(&receipt),
        [
            "blockHash",
            "blockNumber",
            "contractAddress",
            "cumulativeGasUsed",
            "effectiveGasPrice",
            "from",
            "gasUsed",
            "logs",
            "logsBloom",
            "status",
            "to",
            "transactionHash",
            "transactionIndex",
            "type"
        ]
    );
    let number = &receipt["blockNumber"];
    let found = node.ask("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!(
        keys(&found),
        [
            "accessList",
            "blockHash",
            "blockNumber",
            "blockTimestamp",
            "chainId",
            "from",
            "gas",
            "gasPrice",
            "hash",
            "input",
            "maxFeePerGas",
            "maxPriorityFeePerGas",
            "nonce",
            "r",
            "s",
            "to",
            "transactionIndex",
            "type",
            "v",
            "value",
            "yParity"
        ]
    );
    let block = node.ask("eth_getBlockByNumber", json!([number, true])).await.unwrap();
    assert_eq!(
        keys(&block),
        [
            "baseFeePerGas",
            "blobGasUsed",
            "difficulty",
            "excessBlobGas",
            "extraData",
            "gasLimit",
            "gasUsed",
            "hash",
            "logsBloom",
            "miner",
            "mixHash",
            "nonce",
            "number",
            "parentBeaconBlockRoot",
            "parentHash",
            "receiptsRoot",
            "requestsHash",
            "sha3Uncles",
            "size",
            "stateRoot",
            "timestamp",
            "transactions",
            "transactionsRoot",
            "uncles",
            "withdrawals",
            "withdrawalsRoot"
        ]
    );
    assert_eq!(block["transactions"], json!([found]));
    let same = [
        ("eth_getBlockByHash", json!([block["hash"], true]), block.clone()),
        ("eth_getBlockReceipts", json!([number]), json!([receipt])),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            json!([number, "0x0"]),
            found.clone(),
        ),
        (
            "eth_getTransactionByBlockHashAndIndex",
            json!([block["hash"], "0x0"]),
            found.clone(),
        ),
        ("eth_getBlockTransactionCountByNumber", json!([number]), json!("0x1")),
        (
            "eth_getBlockTransactionCountByHash",
            json!([block["hash"]]),
            json!("0x1"),
        ),
        ("eth_getBalance", json!([PAYEE, "latest"]), json!("0x5")),
        (
            "eth_getBalance",
            json!([PAYEE, {"blockHash": block["hash"]}]),
            json!("0x5"),
        ),
        ("eth_getBalance", json!([PAYEE, "0x0"]), json!("0x0")),
        (
            "eth_getTransactionCount",
            json!([found["from"], "pending"]),
            json!("0x1"),
        ),
        ("eth_chainId", json!([]), json!("0x539")),
        ("net_version", json!([]), json!("1337")),
        ("net_peerCount", json!([]), json!("0x0")),
        ("net_listening", json!([]), json!(true)),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_getBlockByNumber", json!(["0xffffff", false]), Value::Null),
        (
            "web3_sha3",
            json!(["0x"]),
            json!("0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        ),
    ];
    for (method, params, expect) in same {
        assert_eq!(node.ask(method, params.clone()).await, Ok(expect), "{method} {params}");
    }
    let head = node
        .ask("eth_getBlockByNumber", json!(["latest", false]))
        .await
        .unwrap();
    let proof = node
        .ask("eth_getProof", json!([PAYEE, ["0x0"], {"blockHash": head["hash"]}]))
        .await
        .unwrap();
    assert_eq!(
        (&proof["balance"], &proof["storageProof"][0]["key"]),
        (&json!("0x5"), &json!("0x0"))
    );
    let history = node.ask("eth_feeHistory", json!(["0x1", number, [50]])).await.unwrap();
    assert_eq!(history["reward"], json!([["0xf4240"]]));
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 2);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_logs_reverts_and_is_estimated() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let create = signed(1, 0, TxKind::Create, U256::ZERO, LOGGER);
    let created = node.ask("eth_sendRawTransaction", json!([create])).await.unwrap();
    let contract = node.receipt(&created).await["contractAddress"].clone();
    let address: Address = serde_json::from_value(contract.clone()).unwrap();
    let call = node
        .ask("eth_sendRawTransaction", json!([payment(1, 1, address, 0)]))
        .await
        .unwrap();
    let receipt = node.receipt(&call).await;
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 1, "{receipt}");

    let topic = format!("0x{:0>64}", "7");
    let filter = json!({"fromBlock": "earliest", "address": contract, "topics": [topic]});
    assert_eq!(
        node.ask("eth_getLogs", json!([filter])).await,
        Ok(receipt["logs"].clone())
    );
    let other = json!({"fromBlock": "earliest", "address": contract, "topics": [[], topic]});
    assert_eq!(node.ask("eth_getLogs", json!([other])).await, Ok(json!([])));
    let at = json!({"blockHash": receipt["blockHash"]});
    assert_eq!(node.ask("eth_getLogs", json!([at])).await, Ok(receipt["logs"].clone()));

    let reverted = (3, "execution reverted".to_owned());
    let wrong = json!({"to": contract, "input": "0x01"});
    assert_eq!(
        node.ask("eth_call", json!([wrong, "latest"])).await,
        Err(reverted.clone())
    );
    assert_eq!(node.ask("eth_estimateGas", json!([wrong])).await, Err(reverted));
    assert_eq!(node.ask("eth_call", json!([{"to": contract}])).await, Ok(json!("0x")));
    let gas = node.ask("eth_estimateGas", json!([{"to": contract}])).await.unwrap();
    assert_eq!(gas, receipt["gasUsed"]);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_requests_have_the_texts_that_wallets_match_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let hash = node
        .ask("eth_sendRawTransaction", json!([payment(2, 0, PAYEE, 1)]))
        .await
        .unwrap();
    node.receipt(&hash).await;
    let refuse = async |method: &str, params: Value, code: i64, text: &str| {
        let (found, why) = node.ask(method, params).await.unwrap_err();
        assert!(found == code && why.contains(text), "{method}: {found} {why}");
    };
    let send = "eth_sendRawTransaction";
    refuse(send, json!([payment(2, 0, PAYEE, 2)]), -32000, "nonce too low").await;
    let too_much = signed(2, 1, TxKind::Call(PAYEE), U256::from(u128::MAX / 2), Bytes::new());
    refuse(
        send,
        json!([too_much]),
        -32000,
        "insufficient funds for gas * price + value",
    )
    .await;
    refuse(send, json!(["0x03"]), -32000, "blob transactions").await;
    refuse(send, json!(["zz"]), -32602, "").await;
    refuse("eth_getBalance", json!([PAYEE, "0xffffff"]), -32000, "header not found").await;
    refuse("eth_getBalance", json!(["0x12"]), -32602, "").await;
    refuse(
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "toBlock": "0xffffff"}]),
        -32602,
        "beyond current head",
    )
    .await;
    refuse("eth_nonsense", json!([]), -32601, "").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_transaction_is_in_the_mempool_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    // The nonce has a gap before it, so the transaction can only be queued.
    let hash = node
        .ask("eth_sendRawTransaction", json!([payment(3, 7, PAYEE, 1)]))
        .await
        .unwrap();
    assert_eq!(
        node.ask("eth_sendRawTransaction", json!([payment(3, 7, PAYEE, 1)]))
            .await,
        Err((-32000, "already known".into()))
    );
    node.end().await;
    let node = TestNode::start(dir.path()).await;
    let mut heads = node.running.chain.head.clone();
    while node.ask("txpool_status", json!([])).await != Ok(json!({"pending": "0x0", "queued": "0x1"})) {
        heads.changed().await.unwrap();
    }
    let content = node.ask("txpool_content", json!([])).await.unwrap();
    let by_sender = content["queued"].as_object().unwrap().values().next().unwrap();
    assert_eq!(by_sender["7"]["hash"], hash);
    let waiting = node.ask("eth_getTransactionByHash", json!([hash])).await.unwrap();
    assert_eq!(
        (&waiting["blockHash"], &waiting["nonce"]),
        (&Value::Null, &json!("0x7"))
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_transaction_survives_a_power_cut_and_an_unjournalled_one_is_an_error() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), FaultDisk::new());
    let node = TestNode::start_with(dir.path(), Arc::new(disk.clone())).await;
    let (kept, lost) = (payment(4, 3, PAYEE, 1), payment(4, 4, PAYEE, 1));
    node.ask("eth_sendRawTransaction", json!([kept])).await.unwrap();
    disk.fail_after(0, Fault::NoSpace);
    let (code, why) = node.ask("eth_sendRawTransaction", json!([lost])).await.unwrap_err();
    assert!(
        code == -32603 && why.contains("the disk of this node did not keep it"),
        "{code} {why}"
    );
    node.end().await;
    disk.crash(1);
    let journal = PoolJournal::open(Arc::new(disk), &Home::new(dir.path()).mempool()).unwrap();
    let found: Vec<_> = journal
        .transactions()
        .map(|raw| format!("0x{}", hex::encode(raw)))
        .collect();
    assert_eq!(found, [kept]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_opens_for_programs_and_not_for_pages_of_other_origins() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let open = async |origin: &str| {
        let mut stream = TcpStream::connect(node.rpc).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{origin}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    assert_eq!(open("").await, "HTTP/1.1 101");
    assert_eq!(open("origin: https://evil.example\r\n").await, "HTTP/1.1 403");
    node.end().await;
}

//! Sends thousands of malformed requests to a node. Each gets a response or an error, and the node keeps running.
//!
//! A method that panics would respond with an internal error; that response fails the test.

use std::ops::Range;

use jsonrpsee::types::error::INTERNAL_ERROR_CODE;
use serde_json::{Value, json};

use super::{requests::payment, test_node::TestNode};
use chain::genesis::DEV_ACCOUNTS;

const ROUNDS: u64 = 3_000;
/// Replacements for parts of a request.
const ODD: [&str; 14] = [
    "null",
    "-1",
    "0",
    "1e400",
    "18446744073709551616",
    "\"\"",
    "\"0x\"",
    "\"0xg\"",
    "\"0xffffffffffffffffffff\"",
    "[]",
    "{}",
    "[[[[[[[[]]]]]]]]",
    "true",
    "\"latest\"",
];

/// A deterministic random number generator: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

fn requests() -> Vec<String> {
    let (account, raw) = (DEV_ACCOUNTS[0].0, payment(0, 0, DEV_ACCOUNTS[1].0, 1));
    let call = json!({ "from": account, "to": DEV_ACCOUNTS[1].0, "gas": "0x5208", "value": "0x1", "data": "0x" });
    let hash = format!("0x{}", "ab".repeat(32));
    let all = [
        ("eth_getBalance", json!([account, "latest"])),
        ("eth_getStorageAt", json!([account, "0x0", { "blockNumber": "0x0" }])),
        ("eth_getProof", json!([account, ["0x0", "0x1"], "latest"])),
        ("eth_call", json!([call, "latest"])),
        ("eth_estimateGas", json!([call])),
        ("eth_sendRawTransaction", json!([raw])),
        ("eth_getBlockByNumber", json!(["0x0", true])),
        ("eth_getBlockByHash", json!([hash, false])),
        ("eth_getBlockReceipts", json!(["earliest"])),
        ("eth_getTransactionReceipt", json!([hash])),
        ("eth_feeHistory", json!(["0x5", "latest", [10.0, 50.0]])),
        (
            "eth_getLogs",
            json!([{ "fromBlock": "0x0", "toBlock": "latest", "address": [account], "topics": [null, [hash]] }]),
        ),
        ("txpool_contentFrom", json!([account])),
        ("web3_sha3", json!(["0x1234"])),
        ("openledger_getCertificate", json!(["0x0"])),
    ];
    let request = |(method, params): &(&str, Value)| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let mut requests: Vec<_> = all.iter().map(request).collect();
    requests.push(format!("[{},{}]", requests[0], requests[1]));
    requests
}

/// A request with a few of its parts replaced or its bytes changed.
fn mutate(requests: &[String], random: &mut Random) -> Vec<u8> {
    let mut text = requests[random.below(requests.len())].clone().into_bytes();
    for _ in 0..=random.below(3) {
        let range = part(&text, random);
        match random.below(5) {
            0 => drop(text.splice(range.start..range.start, text[range.clone()].to_vec())),
            1 => text.truncate(range.start),
            2 => text[range]
                .iter_mut()
                .take(1)
                .for_each(|byte| *byte ^= 1 << random.below(8)),
            3 => drop(text.drain(range)),
            _ => drop(text.splice(range, ODD[random.below(ODD.len())].bytes())),
        }
        if text.is_empty() {
            break;
        }
    }
    text
}

/// The range from one piece of punctuation to the next: a key, a value, a string of digits.
fn part(text: &[u8], random: &mut Random) -> Range<usize> {
    let is_edge = |byte: &u8| b"{}[],:".contains(byte);
    let start = random.below(text.len());
    let start = text[start..]
        .iter()
        .position(is_edge)
        .map_or(start, |at| (start + at + 1).min(text.len() - 1));
    let length = text[start..].iter().position(is_edge).unwrap_or(1).max(1);
    start..(start + length).min(text.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_malformed_request_breaks_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let (client, url) = (base::http::plain(), format!("http://{}", node.rpc));
    let requests = requests();
    for seed in 0..ROUNDS {
        let body = mutate(&requests, &mut Random(seed));
        let context = format!("seed {seed}: {}", String::from_utf8_lossy(&body));
        let answer = client.post(&url).header("content-type", "application/json").body(body);
        let answer = answer.send().await.unwrap_or_else(|why| panic!("{context}: {why}"));
        let text = answer.text().await.unwrap_or_else(|why| panic!("{context}: {why}"));
        assert!(!text.contains(&INTERNAL_ERROR_CODE.to_string()), "{context}: {text}");
        if !text.is_empty() {
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{context}: {text}");
        }
    }
    assert!(node.ask("eth_blockNumber", json!([])).await.is_ok());
    node.end().await;
}

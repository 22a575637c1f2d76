use serde_json::{Value, json};

use super::*;
use crate::rpc::Settings;

/// A genesis of Ethereum's shape with every fork up to Osaka, in a file.
fn genesis(dir: &Path, gas_limit: &str) -> PathBuf {
    let config = evm::genesis::osaka_from_genesis(7);
    let file = json!({
        "config": config, "nonce": "0x0", "timestamp": "0x0", "extraData": "0x", "gasLimit": gas_limit,
        "difficulty": "0x0", "mixHash": alloy_primitives::B256::ZERO, "coinbase": alloy_primitives::Address::ZERO,
        "alloc": {"0x0101010101010101010101010101010101010101": {"balance": "0x64"}},
    });
    let path = dir.join(format!("genesis-{gas_limit}.json"));
    fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn a_home_contains_one_imported_chain_and_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (genesis(dir.path(), "0x1c9c380"), genesis(dir.path(), "0x1c9c381"));
    let home = Home::new(dir.path().join("home"));
    assert!(matches!(ImportedChain::open(&home), Err(ImportError::Nothing(_))));
    let first = ImportedChain::create(&home, &one).unwrap();
    let hash = first.hash();
    assert!(
        matches!(ImportedChain::open(&home), Err(ImportError::Lock(_))),
        "only one process at a time"
    );
    drop(first);
    assert_eq!(ImportedChain::open(&home).unwrap().hash(), hash);
    assert!(matches!(
        ImportedChain::create(&home, &other),
        Err(ImportError::Other(_))
    ));
    fs::write(home.config(), "").unwrap();
    assert!(matches!(ImportedChain::create(&home, &one), Err(ImportError::Node(_))));
}

#[test]
fn an_invalid_genesis_file_leaves_the_home_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (file, home) = (dir.path().join("g.json"), Home::new(dir.path().join("home")));
    fs::write(&file, "{\"config\": 1}").unwrap();
    assert!(matches!(
        ImportedChain::create(&home, &file),
        Err(ImportError::Genesis { .. })
    ));
    assert!(!home.root().exists());
}

/// The error code of a response; `None` for a result.
fn code(answer: &Value) -> Option<i64> {
    answer["error"]["code"].as_i64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_chain_responds_with_results_and_error_codes() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path().join("home"));
    let chain = ImportedChain::create(&home, &genesis(dir.path(), "0x1c9c380")).unwrap();
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Settings::default()
    };
    let serving = serve(chain, settings).await.unwrap();
    let (client, url) = (base::http::plain(), format!("http://{}", serving.address));
    let ask = |body: String| {
        let request = client.post(&url).header("content-type", "application/json").body(body);
        async { serde_json::from_str::<Value>(&request.send().await.unwrap().text().await.unwrap()).unwrap() }
    };
    let call = |method: &str, params: Value| {
        ask(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
    };

    assert_eq!(call("eth_blockNumber", json!([])).await["result"], "0x0");
    let rich = "0x0101010101010101010101010101010101010101";
    assert_eq!(call("eth_getBalance", json!([rich])).await["result"], "0x64");
    let filter = call("eth_newBlockFilter", json!([])).await["result"].clone();
    assert_eq!(call("eth_getFilterChanges", json!([filter])).await["result"], json!([]));
    assert_eq!(code(&call("eth_getFilterChanges", json!(["0x1"])).await), Some(-32000));
    // An address without 0x, in a request of its own and in a batch.
    let bare = call("eth_getBalance", json!([&rich[2..]])).await;
    assert_eq!((code(&bare), bare["error"].get("data")), (Some(-32602), None));
    assert!(
        bare["error"]["message"].as_str().unwrap().contains("without 0x prefix"),
        "{bare}"
    );
    let batch = json!([{"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": [1]}, {"jsonrpc": "2.0", "id": 8, "method": "eth_chainId"}]);
    let batch = ask(batch.to_string()).await;
    assert_eq!((code(&batch[0]), &batch[1]["result"]), (Some(-32602), &json!("0x7")));
    assert_eq!(code(&ask("{".into()).await), Some(-32700));
    assert_eq!(code(&call("eth_nothing", json!([])).await), Some(-32601));
    // Simulations and block building have error codes of their own.
    assert_eq!(
        code(&call("eth_simulateV1", json!([{"blockStateCalls": []}])).await),
        Some(-32602)
    );
    let many = json!([{"blockStateCalls": vec![json!({}); 257]}]);
    assert_eq!(code(&call("eth_simulateV1", many).await), Some(-38026));
    let misspelt = json!([{"blockStateCalls": [{"blockOverrides": {"gaslimit": "0x1"}}]}]);
    assert_eq!(code(&call("eth_simulateV1", misspelt).await), Some(-32602));
    let attributes =
        json!({"timestamp": "0x1", "prevRandao": alloy_primitives::B256::ZERO, "suggestedFeeRecipient": rich});
    let build = call(
        "testing_buildBlockV1",
        json!([alloy_primitives::B256::ZERO, attributes, [], "0x"]),
    )
    .await;
    assert_eq!(build["error"]["message"], "parentHash is not current head");
    serving.stop().await;
}

//! The interfaces of a whole node, used as an operator's tools would.

use super::*;
use base::operator::status::Status;
use test_node::TestNode;

/// A chain with one validator, in this process; shared with the tests of `chain`.
#[expect(dead_code, reason = "the chain's own tests ask JSON-RPC too")]
#[path = "../../../chain/src/rpc/tests/test_node.rs"]
mod test_node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_figures_and_status_are_told_to_this_machine_only() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(dir.path()).await;
    let running = node.running.clone();
    let parts = Parts {
        chain: running.chain,
        ingress: running.ingress,
        net: running.net,
        data: Arc::default(),
        about: Arc::new(About {
            moniker: "node".into(),
            network: "devnet".into(),
            wants_peers: true,
            started: Instant::now(),
        }),
    };
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let settings = Settings {
        rpc: rpc::Settings {
            listen: anywhere,
            ..rpc::Settings::default()
        },
        ops: anywhere,
    };
    let api = Api::start(settings, parts).await.unwrap();
    let ops = api.ops;
    let get = async |path: &str, host: Option<&str>| {
        let mut request = base::http::plain().get(format!("http://{ops}{path}"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/healthz", None).await, (200, "ok\n".into()));
    assert_eq!(get("/readyz", Some("localhost")).await, (200, "ready\n".into()));
    assert_eq!(get("/healthz", Some("evil.example")).await.0, 403);
    let (_, page) = get("/metrics", None).await;
    for name in page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split([' ', '{']).next().unwrap())
    {
        assert!(
            page.contains(&format!("# HELP {name} ")) && page.contains(&format!("# TYPE {name} ")),
            "{name}"
        );
    }
    assert!(page.contains("\nopenledger_consensus_signing 1\n"), "{page}");
    let status: Status = serde_json::from_str(&get("/v1/status", None).await.1).unwrap();
    assert_eq!(
        (status.chain_id, status.moniker.as_str(), status.signing.as_str()),
        (1337, "node", "on")
    );
    api.stop().await;
    node.end().await;
}

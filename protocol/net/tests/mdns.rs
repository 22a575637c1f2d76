//! Discovery of data planes on the local network. Not every machine has multicast, so the test is ignored by default:
//! `cargo test -p net --test mdns -- --ignored`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use net::data::{Alpn, ByteStream, DataConfig, DataPlane, StreamHandler};
use protocol::NodeId;

/// Sends a word to each connecting peer.
struct Greeter;

impl StreamHandler for Greeter {
    fn may_connect(&self, _node: NodeId) -> bool {
        true
    }

    fn handle(&self, mut stream: ByteStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            drop(stream.read_message(16).await);
            drop(stream.write_message(b"hello").await);
            drop(stream.finish().await);
        })
    }
}

async fn plane(seed: u8, mdns: bool) -> DataPlane {
    let config = DataConfig {
        bind: vec![SocketAddr::from(([0, 0, 0, 0], 0))],
        mdns,
        ..DataConfig::new([seed; 32])
    };
    let plane = DataPlane::start(config).await.expect("starts");
    plane.accept(Alpn::stream("greeting"), Arc::new(Greeter));
    plane
}

async fn greeted(from: &DataPlane, to: NodeId) -> bool {
    let Ok(mut stream) = from.open(to, &Alpn::stream("greeting")).await else {
        return false;
    };
    let asked = stream.write_message(b"hi").await.is_ok();
    asked
        && stream
            .read_message(16)
            .await
            .is_ok_and(|word| word.as_deref() == Some(b"hello"))
}

#[ignore = "needs a network with multicast"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_on_one_network_find_each_other_by_id_if_both_enable_mdns() {
    let (one, two, shy) = (plane(1, true).await, plane(2, true).await, plane(3, false).await);
    let found = async {
        while !greeted(&one, two.id()).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found)
        .await
        .expect("it is found on the local network");
    assert!(!greeted(&one, shy.id()).await, "it does not want to be found");
    for plane in [one, two, shy] {
        plane.shutdown().await;
    }
}

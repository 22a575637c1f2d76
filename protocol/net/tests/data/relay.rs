//! Data planes without a direct path, and a relay that both can reach.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use iroh_relay::server::{RelayConfig, Server, ServerConfig};
use net::data::{DataConfig, FetchEvent, Wanted};

use crate::{
    common::{Node, bytes, within},
    control::Control,
};

/// Two nodes without a direct path to each other.
struct Apart {
    one: Node,
    me: Node,
    /// Kept, so that the nodes know each other.
    _control: (Control, Control),
}

impl Apart {
    async fn start(seed: u8, relay: Option<&str>) -> Self {
        let start = async |seed: u8, bind: SocketAddr| {
            Node::start(DataConfig {
                bind: vec![bind],
                relay: relay.map(str::to_owned),
                ..DataConfig::new([seed; 32])
            })
            .await
        };
        let one = start(seed, elsewhere(seed)).await;
        let me = start(seed + 1, SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let book = |node: &Node| Some(node.plane.addresses().with_relay(relay));
        let first = Control::start(seed, &[], book(&one)).await;
        let mut second = Control::start(seed + 1, &[&first], book(&me)).await;
        second.until_connected(one.id()).await;
        let _control = (first, second);
        Self { one, me, _control }
    }
}

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// An address that is not looked up for a node whose control connection comes from 127.0.0.1.
fn elsewhere(seed: u8) -> SocketAddr {
    match has_ipv6() {
        true => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        false => SocketAddr::from(([127, 0, 0, seed], 0)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_direct_path_is_reached_over_a_shared_relay() {
    let mut config = ServerConfig::default();
    config.relay = Some(RelayConfig::new(([127, 0, 0, 1], 0)));
    let server = within(Server::spawn(config)).await.expect("it listens");
    let relay = format!("http://{}", server.http_addr().expect("it listens"));
    let Apart { one, me, _control } = Apart::start(21, Some(&relay)).await;
    let blob = one.add(bytes(1 << 20, 1)).await;
    let mut fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()]));
    let mut relayed = false;
    while let Some(event) = within(fetch.next()).await {
        relayed |= matches!(event, FetchEvent::Provider { path: Some(path), .. } if path.relayed);
    }
    let got = within(fetch.done()).await.expect("fetched");
    assert_eq!((got.bytes, got.providers[&one.id()]), (1 << 20, (1 << 20) + 1024));
    // Without IPv6, both listen on loopback, and the relay soon shows them a direct path.
    assert!(relayed || !has_ipv6(), "{:?}", me.plane.path(one.id()));
    within(server.shutdown()).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_direct_path_or_relay_is_unreachable() {
    let Apart { one, me, _control } = Apart::start(31, None).await;
    let blob = one.add(bytes(1 << 10, 1)).await;
    let wanted = Wanted {
        stall_timeout: std::time::Duration::from_secs(2),
        ..Wanted::blob(blob, vec![one.id()])
    };
    let fetched = within(me.plane.fetch(&me.store, wanted).done()).await;
    assert!(fetched.is_err(), "{fetched:?}");
}

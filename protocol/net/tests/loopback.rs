//! Nodes over real sockets on this machine. Every wait is for an event, with a limit that only a failure reaches.

use std::time::Duration;

use net::{
    ChainTag, GossipError, Net, NetConfig, NetEvent, NetHandle, Offence, RequestError, SendError, Topic, Verdict,
};
use protocol::NodeId;
use tokio::{sync::mpsc, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);
const CHAIN: ChainTag = ChainTag {
    chain_id: 1337,
    genesis: [7; 32],
};

struct Node {
    net: NetHandle,
    events: mpsc::Receiver<NetEvent>,
    address: String,
}

impl Node {
    async fn start(config: NetConfig) -> Self {
        let (net, events) = Net::start(config).await.expect("starts");
        let mut node = Self {
            net,
            events,
            address: String::new(),
        };
        node.address = node
            .until(|event| match event {
                NetEvent::Listening(address) => Some(address),
                _ => None,
            })
            .await;
        node
    }

    async fn new(seed: u8, bootstrap: &[&Node]) -> Self {
        let bootstrap = bootstrap.iter().map(|node| node.address.clone()).collect();
        Self::start(NetConfig {
            bootstrap,
            ..NetConfig::new([seed; 32], CHAIN)
        })
        .await
    }

    /// Waits for an event from which `want` returns a value; skips others.
    async fn until<T>(&mut self, mut want: impl FnMut(NetEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = want(event) {
                    return found;
                }
            }
        };
        timeout(LIMIT, wait).await.expect("the event comes in time")
    }

    async fn until_connected(&mut self, to: NodeId) {
        self.until(|event| matches!(event, NetEvent::Connected(node) if node == to).then_some(()))
            .await;
    }

    async fn until_gone(&mut self, node: NodeId) {
        self.until(|event| matches!(event, NetEvent::Disconnected(who) if who == node).then_some(()))
            .await;
    }

    async fn message(&mut self) -> (NodeId, Vec<u8>) {
        self.until(|event| match event {
            NetEvent::Message { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }

    /// Waits for gossip, accepts it and returns it.
    async fn gossip(&mut self) -> (Topic, Vec<u8>) {
        let (id, topic, bytes) = self
            .until(|event| match event {
                NetEvent::Gossip { id, topic, bytes, .. } => Some((id, topic, bytes)),
                _ => None,
            })
            .await;
        self.net.verdict(id, Verdict::Accept);
        (topic, bytes)
    }
}

async fn pair() -> (Node, Node) {
    let mut one = Node::new(1, &[]).await;
    let mut two = Node::new(2, &[&one]).await;
    one.until_connected(two.net.id()).await;
    two.until_connected(one.net.id()).await;
    (one, two)
}

/// Publishes repeatedly until a peer receives it: subscriptions arrive after the connection.
async fn gossip_until_heard(from: &NetHandle, topic: Topic, text: &str) {
    let heard = async {
        for n in 0.. {
            let before = from.metrics().gossip_sent;
            from.gossip(topic, format!("{text} {n}").into_bytes())
                .expect("small enough");
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if from.metrics().gossip_sent > before {
                return;
            }
        }
    };
    timeout(LIMIT, heard).await.expect("somebody subscribes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_with_one_bootstrap_node_connect_and_gossip_reaches_all() {
    let mut first = Node::new(1, &[]).await;
    let mut nodes = [
        Node::new(2, &[&first]).await,
        Node::new(3, &[&first]).await,
        Node::new(4, &[&first]).await,
    ];
    // Discovery: each finds the two nodes that it was not told of.
    for n in 0..nodes.len() {
        let mut missing: Vec<_> = nodes.iter().map(|node| node.net.id()).collect();
        missing.remove(n);
        missing.push(first.net.id());
        nodes[n]
            .until(|event| {
                if let NetEvent::Connected(node) = event {
                    missing.retain(|id| *id != node);
                }
                missing.is_empty().then_some(())
            })
            .await;
    }
    assert_eq!(nodes[0].net.peers().len(), 3);
    gossip_until_heard(&nodes[0].net, Topic::Votes, "vote").await;
    let (topic, bytes) = first.gossip().await;
    assert_eq!((topic, bytes.starts_with(b"vote ")), (Topic::Votes, true));
    for node in &mut nodes[1..] {
        assert!(node.gossip().await.1.starts_with(b"vote "));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_messages_arrive_in_order_and_large_ones_whole() {
    let (one, mut two) = pair().await;
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    for n in 0..500u32 {
        one.net
            .send(two.net.id(), n.to_le_bytes().to_vec())
            .expect("there is room");
    }
    one.net.send(two.net.id(), large.clone()).expect("there is room");
    for n in 0..500u32 {
        assert_eq!(two.message().await, (one.net.id(), n.to_le_bytes().to_vec()));
    }
    assert!(two.message().await.1 == large);
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_also_connect_over_quic() {
    let listen = || vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
    let mut one = Node::start(NetConfig {
        listen: listen(),
        ..NetConfig::new([1; 32], CHAIN)
    })
    .await;
    let bootstrap = vec![one.address.clone()];
    let mut two = Node::start(NetConfig {
        listen: listen(),
        bootstrap,
        ..NetConfig::new([2; 32], CHAIN)
    })
    .await;
    two.until_connected(one.net.id()).await;
    one.until_connected(two.net.id()).await;
    one.net.send(two.net.id(), vec![5; 100_000]).expect("there is room");
    assert_eq!(two.message().await, (one.net.id(), vec![5; 100_000]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_gets_its_reply_or_a_timeout() {
    let (one, mut two) = pair().await;
    let asked = tokio::spawn({
        let (net, to) = (one.net.clone(), two.net.id());
        async move { net.request(to, b"block 7?".to_vec()).await }
    });
    let (from, id, bytes) = two
        .until(|event| match event {
            NetEvent::Request { from, id, bytes } => Some((from, id, bytes)),
            _ => None,
        })
        .await;
    assert_eq!((from, bytes.as_slice()), (one.net.id(), &b"block 7?"[..]));
    two.net.respond(id, vec![9; 10 << 20]);
    assert_eq!(asked.await.expect("no panic"), Ok(vec![9; 10 << 20]));
    let stranger = NodeId([0x55; 32]);
    assert_eq!(
        one.net.request(stranger, Vec::new()).await,
        Err(RequestError::NotConnected { to: stranger })
    );
    let (net, to) = (one.net.clone(), two.net.id());
    let waiting = tokio::spawn(async move { net.request(to, b"again?".to_vec()).await });
    two.until(|event| matches!(event, NetEvent::Request { .. }).then_some(()))
        .await;
    two.net.shutdown().await;
    assert!(matches!(
        waiting.await.expect("no panic"),
        Err(RequestError::Failed { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_chain_is_refused_without_an_event() {
    let mut ours = Node::new(1, &[]).await;
    let other = ChainTag {
        genesis: [8; 32],
        ..CHAIN
    };
    let bootstrap = vec![ours.address.clone()];
    let foreign = Node::start(NetConfig {
        bootstrap,
        ..NetConfig::new([2; 32], other)
    })
    .await;
    let refused = async {
        while ours.net.metrics().foreign_peers == 0 && foreign.net.metrics().foreign_peers == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, refused).await.expect("one of the two sees it");
    // A node of our chain is reported, and is the first.
    let friend = Node::new(3, &[&ours]).await;
    let announced = ours
        .until(|event| match event {
            NetEvent::Connected(node) => Some(node),
            _ => None,
        })
        .await;
    assert_eq!(announced, friend.net.id());
    assert!(foreign.net.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_message_is_refused_before_it_is_sent() {
    let (one, two) = pair().await;
    let to = two.net.id();
    let error = one
        .net
        .gossip(Topic::Blocks, vec![0; (16 << 10) + 1])
        .expect_err("too large");
    assert_eq!(error, GossipError::Oversize { bytes: 16385 });
    assert!(error.to_string().contains("the limit is 16384"), "{error}");
    let limit = 4 << 20;
    assert_eq!(
        one.net.send(to, vec![0; limit + 1]),
        Err(SendError::Oversize {
            bytes: limit + 1,
            limit
        })
    );
    let refused = one.net.request(to, vec![0; limit + 1]).await;
    assert_eq!(
        refused,
        Err(RequestError::Oversize {
            bytes: limit + 1,
            limit
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_an_oversized_message_is_banned() {
    let mut strict = NetConfig::new([1; 32], CHAIN);
    strict.limits.message_bytes_max = 1000;
    let mut strict = Node::start(strict).await;
    let mut lavish = Node::new(2, &[&strict]).await;
    lavish.until_connected(strict.net.id()).await;
    strict.until_connected(lavish.net.id()).await;
    // Two are enough: 50 points each. The stream between them breaks and is reopened.
    for _ in 0..50 {
        if lavish.net.send(strict.net.id(), vec![0; 2000]).is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    strict.until_gone(lavish.net.id()).await;
    assert_eq!(
        (strict.net.metrics().bans, strict.net.metrics().direct_received),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_keeps_gossiping_invalid_messages_is_banned() {
    let (one, mut two) = pair().await;
    gossip_until_heard(&one.net, Topic::Transactions, "first").await;
    // The next message follows the verdict on the previous one, so that no invalid message passes along with another.
    let (net, mut n) = (two.net.clone(), 0u8);
    two.until(|event| match event {
        NetEvent::Gossip { id, .. } => {
            net.verdict(id, Verdict::Reject);
            n += 1;
            one.net.gossip(Topic::Transactions, vec![n; 100]).expect("small enough");
            None
        }
        NetEvent::Disconnected(node) => (node == one.net.id()).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(two.net.metrics().bans, 1);
    assert!(two.net.metrics().gossip_rejected >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_reconnects_after_the_ban() {
    let mut config = NetConfig::new([1; 32], CHAIN);
    config.limits.ban = Duration::from_secs(2);
    let mut one = Node::start(config).await;
    let mut two = Node::new(2, &[&one]).await;
    one.until_connected(two.net.id()).await;
    two.until_connected(one.net.id()).await;
    for _ in 0..5 {
        one.net.report(two.net.id(), Offence::Invalid);
    }
    one.until_gone(two.net.id()).await;
    two.until_gone(one.net.id()).await;
    assert_eq!(one.net.metrics().bans, 1);
    assert!(matches!(
        one.net.send(two.net.id(), vec![1]),
        Err(SendError::NotConnected { .. })
    ));
    two.until_connected(one.net.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_reconnected_at_its_address() {
    let (mut one, mut two) = pair().await;
    let (id, address) = (one.net.id(), one.address.clone());
    one.net.shutdown().await;
    two.until_gone(id).await;
    drop(one);
    let listen = vec![address.split("/p2p/").next().expect("an address").to_owned()];
    one = Node::start(NetConfig {
        listen,
        ..NetConfig::new([1; 32], CHAIN)
    })
    .await;
    assert_eq!(one.net.id(), id, "the seed is the name");
    two.until_connected(id).await;
    one.until_connected(two.net.id()).await;
    one.net.send(two.net.id(), b"back".to_vec()).expect("there is room");
    assert_eq!(two.message().await, (id, b"back".to_vec()));
}

#[tokio::test]
async fn a_bad_address_and_a_taken_port_are_clear_errors() {
    let bad = NetConfig {
        listen: vec!["127.0.0.1:4001".to_owned()],
        ..NetConfig::new([1; 32], CHAIN)
    };
    let error = Net::start(bad).await.expect_err("not an address").to_string();
    assert!(
        error.starts_with("`127.0.0.1:4001` is not an address; write one such as /ip4/"),
        "{error}"
    );
    let one = Node::new(1, &[]).await;
    let listen = vec![one.address.split("/p2p/").next().expect("an address").to_owned()];
    let error = Net::start(NetConfig {
        listen,
        ..NetConfig::new([2; 32], CHAIN)
    })
    .await
    .expect_err("taken")
    .to_string();
    assert!(error.contains("could not listen on /ip4/127.0.0.1/tcp/"), "{error}");
}

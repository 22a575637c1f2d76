//! Both planes together: data addresses from `identify`, announcements, and the directory of providers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use net::{
    ChainTag, Net, NetConfig, NetEvent, NetHandle,
    data::{AddressBook, Wanted},
};
use protocol::{
    BlobHash, NodeId, Time,
    crypto::{SecretKey, Signed},
    message::announce::{Announcement, Claim, Term},
};
use tokio::sync::{broadcast, mpsc};

use crate::common::{Node, bytes, within};

const CHAIN: ChainTag = ChainTag {
    chain_id: 1337,
    genesis: [7; 32],
};

pub(crate) struct Control {
    key: SecretKey,
    pub(crate) net: NetHandle,
    heard: broadcast::Receiver<Announcement>,
    events: mpsc::Receiver<NetEvent>,
    pub(crate) address: String,
}

impl Control {
    pub(crate) async fn start(seed: u8, bootstrap: &[&Self], data: Option<AddressBook>) -> Self {
        let bootstrap = bootstrap.iter().map(|other| other.address.clone()).collect();
        let config = NetConfig {
            bootstrap,
            data,
            ..NetConfig::new([seed; 32], CHAIN)
        };
        let (net, mut events) = Net::start(config).await.expect("starts");
        let listening = async {
            loop {
                if let NetEvent::Listening(address) = events.recv().await.expect("it runs") {
                    return address;
                }
            }
        };
        let address = within(listening).await;
        let (heard, key) = (net.announcements(), SecretKey::from_seed([seed; 32]));
        Self {
            key,
            net,
            heard,
            events,
            address,
        }
    }

    pub(crate) async fn until_connected(&mut self, to: NodeId) {
        let met = async { while !matches!(self.events.recv().await, Some(NetEvent::Connected(node)) if node == to) {} };
        within(met).await;
    }

    fn claim(&self, root: BlobHash) -> Signed<Claim> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let claim = Claim {
            datanet: None,
            root,
            provider: self.net.id(),
            term: Term::starting(Time(0).after(now), 3_600_000),
        };
        Signed::new(claim, &self.key, &CHAIN.domain())
    }

    fn announce(&self, root: BlobHash) {
        self.net.announce(Announcement::Claim(self.claim(root)));
    }

    /// Waits for an announcement of `root`.
    async fn hears(&mut self, root: BlobHash) {
        let hears = async {
            loop {
                if let Ok(Announcement::Claim(claim)) = self.heard.recv().await
                    && claim.message.root == root
                {
                    return;
                }
            }
        };
        within(hears).await;
    }
}

/// Announces until a peer receives it: subscriptions arrive after the connection.
async fn announce_until_heard(from: &Control, first: u8) {
    let heard = async {
        for n in first.. {
            let before = from.net.metrics().announcements_sent;
            from.announce(BlobHash([n; 32]));
            tokio::time::sleep(Duration::from_millis(100)).await;
            if from.net.metrics().announcements_sent > before {
                return;
            }
        }
    };
    within(heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_the_control_plane_is_reachable_on_the_data_plane() {
    let (one, me) = (Node::new(1).await, Node::new(9).await);
    let first = Control::start(1, &[], Some(one.plane.addresses())).await;
    let mut second = Control::start(9, &[&first], Some(me.plane.addresses())).await;
    assert_eq!(
        (first.net.id(), second.net.id()),
        (one.id(), me.id()),
        "one seed, one name"
    );
    second.until_connected(one.id()).await;
    assert_eq!(second.net.peers()[0].data, Some(one.address()));
    let blob = one.add(bytes(100_000, 1)).await;
    first.net.provide(first.claim(blob));
    let found = async {
        loop {
            let claims = second.net.providers(blob).await;
            if let Some(claim) = claims.first() {
                return claim.message.provider;
            }
        }
    };
    let provider = within(found).await;
    let got = within(me.plane.fetch(&me.store, Wanted::blob(blob, vec![provider])).done())
        .await
        .expect("fetched");
    assert_eq!(got.bytes, 100_000);
    let path = me.plane.path(provider).expect("called");
    assert_eq!((path.address, path.relayed), (one.address().to_string(), false));
    first.net.withdraw(blob);
    within(async { while !second.net.providers(blob).await.is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_announcement_is_not_forwarded_and_penalises_its_sender() {
    let mut first = Control::start(1, &[], None).await;
    let mut second = Control::start(2, &[&first], None).await;
    let mut third = Control::start(3, &[&first], None).await;
    second.until_connected(first.net.id()).await;
    third.until_connected(first.net.id()).await;
    first.until_connected(second.net.id()).await;
    announce_until_heard(&second, 1).await;
    let mut forged = second.claim(BlobHash([200; 32]));
    forged.message.root = BlobHash([201; 32]);
    second.net.announce(Announcement::Claim(forged));
    let seen = async {
        while first.net.metrics().announcements_rejected == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(seen).await;
    let held = first
        .net
        .peers()
        .into_iter()
        .find(|peer| peer.id == second.net.id())
        .expect("not banned for one");
    assert!(held.offence_points > 0);
    second.announce(BlobHash([202; 32]));
    first.hears(BlobHash([202; 32])).await;
    third.hears(BlobHash([202; 32])).await;
    // The third may be a peer of the second by now; from the first it never received the forged one.
    let from_first = third
        .net
        .peers()
        .into_iter()
        .find(|peer| peer.id == first.net.id())
        .expect("a peer");
    assert_eq!(from_first.offence_points, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_reach_all_of_twenty_four_nodes() {
    const NODES: u8 = 24;
    let mut nodes: Vec<Control> = Vec::new();
    for n in 0..NODES {
        let known: Vec<_> = nodes.iter().rev().take(3).collect();
        let node = Control::start(n + 1, &known, None).await;
        nodes.push(node);
    }
    let ready = async {
        while nodes.iter().any(|node| node.net.peers().len() < 4) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(ready).await;
    for node in &nodes {
        announce_until_heard(node, 100).await;
    }
    for (n, node) in (0u8..).zip(&nodes) {
        node.announce(BlobHash([n; 32]));
    }
    for (me, node) in (0u8..).zip(&mut nodes) {
        let mut missing: Vec<_> = (0..NODES).filter(|n| *n != me).map(|n| BlobHash([n; 32])).collect();
        let all = async {
            while !missing.is_empty() {
                if let Ok(Announcement::Claim(claim)) = node.heard.recv().await {
                    missing.retain(|root| *root != claim.message.root);
                }
            }
        };
        within(all).await;
    }
}

//! Benchmark of message latency over loopback: `cargo bench -p net`. Times are one way: half a round trip.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::{Duration, Instant};

use net::{ChainTag, Net, NetConfig, NetEvent, NetHandle, Topic, Verdict};
use tokio::sync::mpsc::Receiver;

const ROUNDS: usize = 1000;
const CHAIN: ChainTag = ChainTag {
    chain_id: 1337,
    genesis: [7; 32],
};

#[tokio::main]
async fn main() {
    let (one, mut events) = Net::start(NetConfig::new([1; 32], CHAIN)).await.expect("starts");
    let address = loop {
        if let Some(NetEvent::Listening(address)) = events.recv().await {
            break address;
        }
    };
    let bootstrap = vec![address];
    let (two, mut echo) = Net::start(NetConfig {
        bootstrap,
        ..NetConfig::new([2; 32], CHAIN)
    })
    .await
    .expect("starts");
    while !matches!(events.recv().await, Some(NetEvent::Connected(_))) {}
    while !matches!(echo.recv().await, Some(NetEvent::Connected(_))) {}
    // Subscriptions arrive after the connection.
    while one.metrics().gossip_sent == 0 {
        one.gossip(Topic::Votes, two.metrics().gossip_received.to_le_bytes().to_vec())
            .expect("small");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::spawn(async move {
        while let Some(event) = echo.recv().await {
            answer(&two, event);
        }
    });
    for (what, bytes) in [
        ("direct, 200 B", 200),
        ("direct, 25 KB", 25_000),
        ("direct, 1 MB", 1_000_000),
    ] {
        let mut took = Vec::new();
        for _ in 0..if bytes > 100_000 { 100 } else { ROUNDS } {
            let start = Instant::now();
            one.send(one_peer(&one), vec![7; bytes]).expect("there is room");
            until(&mut events, |event| matches!(event, NetEvent::Message { .. })).await;
            took.push(start.elapsed() / 2);
        }
        report(what, took);
    }
    for (what, bytes) in [("request, 200 B", 200), ("request, 25 KB", 25_000)] {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            one.request(one_peer(&one), vec![7; bytes]).await.expect("answered");
            took.push(start.elapsed() / 2);
        }
        report(what, took);
    }
    let mut took = Vec::new();
    for n in 0..ROUNDS as u64 {
        let start = Instant::now();
        one.gossip(Topic::Votes, [n.to_le_bytes(); 25].concat()).expect("small");
        until(&mut events, |event| matches!(event, NetEvent::Gossip { .. })).await;
        took.push(start.elapsed() / 2);
    }
    report("gossip, 200 B", took);
}

fn one_peer(net: &NetHandle) -> protocol::NodeId {
    net.peers()[0].id
}

fn answer(net: &NetHandle, event: NetEvent) {
    match event {
        NetEvent::Message { from, bytes } => net.send(from, bytes).expect("there is room"),
        NetEvent::Request { id, bytes, .. } => net.respond(id, bytes),
        NetEvent::Gossip {
            id, topic, mut bytes, ..
        } => {
            net.verdict(id, Verdict::Accept);
            bytes.push(0); // Equal bytes would be the same message.
            net.gossip(topic, bytes).expect("small");
        }
        NetEvent::Connected(_) | NetEvent::Disconnected(_) | NetEvent::Listening(_) => (),
    }
}

async fn until(events: &mut Receiver<NetEvent>, want: impl Fn(&NetEvent) -> bool) {
    while !want(&events.recv().await.expect("the network runs")) {}
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].as_micros();
    println!("{what:<16} p50 {:>6}  p99 {:>6}  max {:>6} us", at(50), at(99), at(100));
}

//! Fetching on this machine: the swarm, providers with false data, and the life of an endpoint.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use iroh::{Endpoint, RelayMode, endpoint::presets};
use iroh_blobs::{Hash, hashseq::HashSeq, protocol::Request};
use net::data::{
    Alpn, BlobRequest, ByteStream, DataConfig, DataPlane, FetchError, FetchEvent, OpenError, ProviderGone,
    StreamHandler, Wanted,
};
use protocol::{BlobHash, NodeId};

use crate::common::{Node, bytes, within};

const MIB: usize = 1 << 20;

fn hash(blob: BlobHash) -> Hash {
    Hash::from_bytes(blob.0)
}

/// Returns a size in MiB from an environment variable, or the default.
fn mib(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
        * MIB
}

/// Replacement bytes; `None` sends nothing and leaves the stream open.
type Change = Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync>;

/// A provider that speaks the protocol and alters its replies.
struct Liar {
    id: NodeId,
    address: std::net::SocketAddr,
    endpoint: Endpoint,
}

impl Liar {
    /// Replies to each request with what `honest` has, with `change` applied to the bytes on the wire.
    async fn start(
        seed: u8,
        honest: &Node,
        change: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .secret_key(iroh::SecretKey::from_bytes(&[seed; 32]))
            .alpns(vec![iroh_blobs::ALPN.to_vec()])
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .expect("an address")
            .bind()
            .await
            .expect("binds");
        let (store, accepting, change) = (honest.store.clone(), endpoint.clone(), Arc::new(change));
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let Ok(connection) = incoming.await else { continue };
                let (store, change) = (store.clone(), change.clone());
                tokio::spawn(async move {
                    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                        let Ok((Request::Get(get), _)) = Request::read_async(&mut recv).await else {
                            continue;
                        };
                        let ranges = get.ranges.iter().next().cloned().unwrap_or_default();
                        let wire = store
                            .export_bao(get.hash, ranges)
                            .bao_to_vec()
                            .await
                            .expect("it has it");
                        match change(wire) {
                            Some(wire) => {
                                let _ = send.write_all(&wire).await;
                                let _ = send.finish();
                            }
                            None => std::mem::forget(send), // Silence.
                        }
                    }
                });
            }
        });
        Self {
            id: NodeId(*endpoint.id().as_bytes()),
            address: endpoint.bound_sockets()[0],
            endpoint,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_comes_from_one_provider_and_from_three_at_once() {
    let (one, two, three, me) = (
        Node::new(1).await,
        Node::new(2).await,
        Node::new(3).await,
        Node::new(9).await,
    );
    me.knows(&[&one, &two, &three]);
    for len in [0, 1, 16 << 10, (16 << 10) + 1, 5 * MIB + 77] {
        let blob = one.add(bytes(len, 1)).await;
        let got = within(me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()])).done())
            .await
            .expect("fetched");
        assert_eq!((got.bytes, got.had), (len as u64, 0));
        assert_eq!(me.store.get_bytes(hash(blob)).await.expect("there"), bytes(len, 1));
    }
    let content = bytes(48 * MIB, 2);
    for node in [&one, &two, &three] {
        node.add(content.clone()).await;
    }
    let blob = one.add(content.clone()).await;
    let wanted = Wanted::blob(blob, vec![one.id(), two.id(), three.id()]);
    let got = within(me.plane.fetch(&me.store, wanted).done()).await.expect("fetched");
    assert_eq!(got.providers.values().filter(|bytes| **bytes > 0).count(), 3, "{got:?}");
    assert!(me.store.get_bytes(hash(blob)).await.expect("there") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_is_fetched_with_its_children_only_once() {
    let (one, me) = (Node::new(1).await, Node::new(9).await);
    me.knows(&[&one]);
    let mut children = vec![hash(one.add(Vec::new()).await)];
    for n in 0..12u8 {
        children.push(hash(one.add(bytes(usize::from(n) * 50_000 + 1, n)).await));
    }
    let sequence: HashSeq = children.iter().copied().collect();
    let root = one.add(sequence.into_inner().to_vec()).await;
    one.rule.publish(BlobRequest::Sequence(root));
    let fetch = || within(me.plane.fetch(&me.store, Wanted::sequence(root, vec![one.id()])).done());
    let got = fetch().await.expect("fetched");
    assert_eq!(got.had, 0);
    for child in &children {
        assert!(me.store.has(*child).await.expect("asked"));
    }
    let again = fetch().await.expect("all is there");
    assert_eq!(
        (again.bytes, again.had, again.providers.values().sum()),
        (got.bytes, got.bytes, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_fetch_resumes_where_it_was() {
    let mut slow = DataConfig::new([1; 32]);
    slow.upload_per_s = NonZeroU64::new(16 << 20);
    let (one, me) = (Node::start(slow).await, Node::new(9).await);
    me.knows(&[&one]);
    let blob = one.add(bytes(16 * MIB, 1)).await;
    let mut fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()]));
    let half = async {
        loop {
            match fetch.next().await.expect("it goes on") {
                FetchEvent::Progress { have, .. } if have > 4 << 20 => return have,
                _ => (),
            }
        }
    };
    let have = within(half).await;
    drop(fetch);
    let got = within(me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()])).done())
        .await
        .expect("fetched");
    // Pieces on their way into the store may be lost: one for each running task.
    assert!(got.had + (1 << 20) >= have, "had {} after {have}", got.had);
    assert!(me.store.get_bytes(hash(blob)).await.expect("there") == bytes(16 * MIB, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_with_false_data_is_caught_within_a_group_and_never_asked_again() {
    let (one, me) = (Node::new(1).await, Node::new(9).await);
    let blob = one.add(bytes(8 * MIB, 1)).await;
    let flips = |at: usize| {
        move |mut wire: Vec<u8>| {
            if let Some(byte) = wire.get_mut(at) {
                *byte ^= 1;
            }
            Some(wire)
        }
    };
    let lies: [(&str, Change); 4] = [
        ("a bit of the data", Box::new(flips(5_000))),
        ("a bit of the hashes", Box::new(flips(40))),
        ("the size", Box::new(flips(2))),
        ("other bytes", Box::new(|wire| Some(vec![7; wire.len()]))),
    ];
    for (n, (what, change)) in (100u8..).zip(lies) {
        let liar = Liar::start(n, &one, change).await;
        let me = Node::new(9).await;
        me.knows(&[&one]);
        assert!(me.plane.addresses().insert(liar.id, liar.address));
        let fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![liar.id]));
        // The honest provider is offered only afterwards, so that the other one was asked first.
        let told = async {
            while me.plane.blamed().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(told).await;
        fetch.offer(one.id());
        let got = within(fetch.done()).await.expect(what);
        assert_eq!(got.blamed.len(), 1, "{what}");
        let blame = &got.blamed[0];
        assert_eq!((blame.node, blame.blob), (liar.id, blob), "{what}");
        assert!(blame.offset <= 16 << 10, "{what}: {blame:?}");
        assert_eq!(got.providers.get(&liar.id).copied().unwrap_or(0), 0, "{what}");
        let again = me.plane.fetch(
            &me.store,
            Wanted {
                stall_timeout: Duration::from_millis(300),
                ..Wanted::blob(BlobHash([3; 32]), vec![liar.id])
            },
        );
        assert!(
            matches!(within(again.done()).await, Err(FetchError::NoProvider { .. })),
            "{what}"
        );
        assert_eq!(me.plane.metrics().providers_blamed, 1, "{what}");
        liar.endpoint.close().await;
    }
    drop(me);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_truncates_or_falls_silent_is_replaced() {
    let one = Node::new(1).await;
    let blob = one.add(bytes(8 * MIB, 1)).await;
    let short = Liar::start(2, &one, |mut wire| {
        wire.truncate(wire.len() / 2);
        Some(wire)
    })
    .await;
    let silent = Liar::start(3, &one, |_| None).await;
    for bad in [&short, &silent] {
        let me = Node::new(9).await;
        me.knows(&[&one]);
        me.plane.addresses().insert(bad.id, bad.address);
        let fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![bad.id, one.id()]));
        let got = within(fetch.done()).await.expect("the other one has it");
        assert_eq!(got.blamed, [], "to give too little is no lie");
        assert!(me.store.has(hash(blob)).await.expect("asked"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_provider_and_an_oversized_blob_are_clear_errors() {
    let (one, me) = (Node::new(1).await, Node::new(9).await);
    me.knows(&[&one]);
    let blob = one.add(bytes(MIB, 1)).await;
    let stall_timeout = Duration::from_millis(300);
    let error = within(
        me.plane
            .fetch(
                &me.store,
                Wanted {
                    stall_timeout,
                    ..Wanted::blob(blob, Vec::new())
                },
            )
            .done(),
    )
    .await;
    let error = error.expect_err("nobody").to_string();
    assert!(
        error.contains("no provider of blob 0x") && error.contains("name other providers"),
        "{error}"
    );
    let wanted = Wanted {
        bytes_max: 1000,
        ..Wanted::blob(blob, vec![one.id()])
    };
    let error = within(me.plane.fetch(&me.store, wanted).done())
        .await
        .expect_err("too long");
    assert!(
        matches!(
            error,
            FetchError::TooLong {
                bytes: 1_048_576,
                bytes_max: 1000,
                ..
            }
        ),
        "{error}"
    );
    let secret = one
        .store
        .add_bytes(bytes(100, 5))
        .await
        .expect("added, not published")
        .hash;
    let mut fetch = me.plane.fetch(
        &me.store,
        Wanted {
            stall_timeout,
            ..Wanted::blob(BlobHash(*secret.as_bytes()), vec![one.id()])
        },
    );
    let gone = async {
        loop {
            if let FetchEvent::Gone { why, .. } = fetch.next().await.expect("it goes on") {
                return why;
            }
        }
    };
    assert_eq!(within(gone).await, ProviderGone::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_does_not_break_the_connection() {
    let one = Node::new(1).await;
    let len = mib("OPENLEDGER_WINDOW_MIB", 48);
    let blob = one.add(bytes(len, 1)).await;
    let mut slow = DataConfig::new([9; 32]);
    slow.download_per_s = NonZeroU64::new(24 << 20);
    let me = Node::start(slow).await;
    me.knows(&[&one]);
    let fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()]));
    let got = tokio::time::timeout(Duration::from_secs(600), fetch.done())
        .await
        .expect("in time")
        .expect("fetched");
    assert_eq!(got.bytes, len as u64);
    // One connection served everything: none broke over gaps in a slowly read stream.
    assert_eq!(
        (one.plane.metrics().connections_in, me.plane.metrics().providers_dropped),
        (1, 0)
    );
}

/// Echoes each message.
struct Echo;

impl StreamHandler for Echo {
    fn may_connect(&self, node: NodeId) -> bool {
        node != NodeId(*iroh::SecretKey::from_bytes(&[66; 32]).public().as_bytes())
    }

    fn handle(&self, mut stream: ByteStream) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(message)) = stream.read_message(1000).await {
                if stream.write_message(&message).await.is_err() {
                    return;
                }
            }
            let _ = stream.finish().await;
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn byte_streams_carry_messages_to_admitted_peers() {
    let (one, me, other) = (Node::new(1).await, Node::new(9).await, Node::new(66).await);
    let alpn = Alpn::stream("echo/1");
    one.plane.accept(alpn.clone(), Arc::new(Echo));
    me.knows(&[&one]);
    other.knows(&[&one]);
    let mut stream = within(me.plane.open(one.id(), &alpn)).await.expect("opens");
    for text in [&b"hello"[..], b"", &[7; 1000]] {
        stream.write_message(text).await.expect("sent");
        assert_eq!(
            within(stream.read_message(1000)).await.expect("read").as_deref(),
            Some(text)
        );
    }
    assert_eq!(stream.peer, one.id());
    stream.write_message(&[7; 1001]).await.expect("sent");
    assert_eq!(
        within(stream.read_message(1000)).await.expect("ended"),
        None,
        "too long for the other side"
    );
    let refused = async {
        let mut stream = other.plane.open(one.id(), &alpn).await?;
        let _ = stream.write_message(b"hello").await;
        Ok::<_, OpenError>(stream.read_message(1000).await.is_ok_and(|message| message.is_some()))
    };
    assert!(!within(refused).await.unwrap_or(false));
    let nothing = within(me.plane.open(one.id(), &Alpn::stream("nothing/1"))).await;
    assert!(matches!(nothing, Err(OpenError::Unreachable { .. })));
    assert_eq!(
        me.plane.open(me.id(), &alpn).await.expect_err("itself"),
        OpenError::Itself
    );
}

/// Returns the number of sockets of this process.
fn sockets() -> usize {
    let of = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    let open = std::fs::read_dir("/proc/self/fd").expect("a list of open files");
    open.filter_map(of)
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn the_data_plane_starts_and_stops_a_hundred_times_without_leaks() {
    // In a process of its own: other tests open sockets meanwhile.
    if std::env::var_os("ALONE").is_none() {
        let me = std::env::current_exe().expect("this program");
        let name = "swarm::the_data_plane_starts_and_stops_a_hundred_times_without_leaks";
        let status = std::process::Command::new(me)
            .args(["--exact", name])
            .env("ALONE", "1")
            .status();
        assert!(status.expect("runs").success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let mut before = (0, 0);
        for n in 0..100 {
            let (one, me) = (Node::new(1).await, Node::new(9).await);
            me.knows(&[&one]);
            let blob = one.add(bytes(100_000, 1)).await;
            within(me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()])).done())
                .await
                .expect("fetched");
            within(async { tokio::join!(me.plane.shutdown(), one.plane.shutdown()) }).await;
            let late = me
                .plane
                .fetch(&me.store, Wanted::blob(BlobHash([1; 32]), vec![one.id()]));
            assert!(matches!(within(late.done()).await, Err(FetchError::Down)));
            drop((one, me));
            let settled = async {
                // The first rounds open sockets that stay for the life of the runtime.
                let now = || (sockets(), tokio::runtime::Handle::current().metrics().num_alive_tasks());
                while n >= 5 && (now().0 > before.0 || now().1 > before.1) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                now()
            };
            let after = within(settled).await;
            if n < 5 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let now = (sockets(), tokio::runtime::Handle::current().metrics().num_alive_tasks());
                before = (now.0.max(before.0), now.1.max(before.1));
            } else {
                assert!(after.0 <= before.0 && after.1 <= before.1);
            }
        }
    });
}

#[tokio::test]
async fn a_taken_port_and_a_bad_relay_are_clear_errors() {
    let one = Node::new(1).await;
    let mut taken = DataConfig::new([2; 32]);
    taken.bind = vec![one.address()];
    let error = DataPlane::start(taken).await.expect_err("taken").to_string();
    assert!(error.starts_with("could not listen for data on"), "{error}");
    let mut bad = DataConfig::new([2; 32]);
    bad.relay = Some("no relay".to_owned());
    let error = DataPlane::start(bad).await.expect_err("no address").to_string();
    assert!(error.contains("write one such as https://relay.example"), "{error}");
}

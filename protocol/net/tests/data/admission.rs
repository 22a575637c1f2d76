//! Admission: every kind of peer, every kind of request, every protocol.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use iroh::{Endpoint, EndpointAddr, RelayMode, endpoint::presets};
use iroh_blobs::{
    Hash,
    api::Store,
    hashseq::HashSeq,
    protocol::{
        ChunkRanges, ChunkRangesExt as _, ChunkRangesSeq, GetManyRequest, GetRequest, ObserveRequest, PushRequest,
        Request, RequestType,
    },
    store::mem::MemStore,
};
use net::data::{Alpn, BlobRequest, DataConfig, FetchError, FetchEvent, Share, Wanted};
use protocol::{BlobHash, DatanetId, NodeId};

use crate::common::{Node, Rule, bytes, within};

struct Datanet {
    alpn: Alpn,
    wire: Vec<u8>,
    store: Store,
    rule: Rule,
    secret: Hash,
    root: Hash,
    own: Hash,
}

/// A datanet with a shard, its published sequence, and an unpublished sequence of the same shard by someone else.
async fn datanet(node: &Node, id: u8) -> Datanet {
    let (store, rule) = ((*MemStore::new()).clone(), Rule::default());
    let add = async |bytes: Vec<u8>| store.add_bytes(bytes).await.expect("added").hash;
    let secret = add(bytes(100_000, id)).await;
    let published: HashSeq = [secret].into_iter().collect();
    let root = add(published.into_inner().to_vec()).await;
    // In the store by another way, and never published.
    let forged: HashSeq = [secret, secret].into_iter().collect();
    let own = add(forged.into_inner().to_vec()).await;
    rule.publish(BlobRequest::Blob(BlobHash(*secret.as_bytes())));
    rule.publish(BlobRequest::Sequence(BlobHash(*root.as_bytes())));
    rule.publish(BlobRequest::Blob(BlobHash(*root.as_bytes())));
    let alpn = Alpn::datanet(DatanetId([id; 32]));
    let share = Share {
        store: store.clone(),
        admission: Arc::new(rule.clone()),
    };
    node.plane.serve(alpn.clone(), share);
    let digest = protocol::crypto::digest("openledger/alpn/datanet/1", &[&[id; 32]]);
    let name: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let wire = format!("openledger/datanet/1/{name}").into_bytes();
    Datanet {
        alpn,
        wire,
        store,
        rule,
        secret,
        root,
        own,
    }
}

async fn endpoint(seed: u8) -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .secret_key(iroh::SecretKey::from_bytes(&[seed; 32]))
        .clear_ip_transports();
    builder
        .bind_addr("127.0.0.1:0")
        .expect("an address")
        .bind()
        .await
        .expect("binds")
}

fn name(endpoint: &Endpoint) -> NodeId {
    NodeId(*endpoint.id().as_bytes())
}

/// Returns the bytes that a raw request gets, beyond the eight of a size.
async fn answer(endpoint: &Endpoint, node: &Node, wire: &[u8], request: Vec<u8>) -> usize {
    let address =
        EndpointAddr::new(iroh::PublicKey::from_bytes(&node.id().0).expect("a key")).with_ip_addr(node.address());
    let ask = async {
        let connection = endpoint.connect(address, wire).await.ok()?;
        let (mut send, mut recv) = connection.open_bi().await.ok()?;
        send.write_all(&request).await.ok()?;
        send.finish().ok()?;
        let mut got = 0;
        let mut buffer = vec![0; 65_536];
        // An observe stream stays open: what arrives at once is enough.
        while let Ok(Ok(Some(read))) = tokio::time::timeout(Duration::from_millis(500), recv.read(&mut buffer)).await {
            got += read;
        }
        connection.close(0u32.into(), b"");
        Some(got)
    };
    within(ask).await.unwrap_or(0)
}

fn requests(net: &Datanet) -> Vec<(&'static str, bool, Vec<u8>)> {
    let encode = |request: Request| postcard(&request);
    let some = ChunkRanges::chunks(0..16);
    let many = GetManyRequest::new(vec![net.secret], ChunkRangesSeq::all());
    // One admitted hash does not admit another in the same request.
    let mixed = GetManyRequest::new(vec![net.secret, net.own], ChunkRangesSeq::all());
    let child = ChunkRangesSeq::from_ranges([ChunkRanges::empty(), ChunkRanges::all()]);
    let mut push = vec![RequestType::Push as u8];
    let body = postcard(&PushRequest::new(net.secret, ChunkRangesSeq::root()));
    push.push(u8::try_from(body.len()).expect("short"));
    push.extend(body);
    vec![
        ("get", true, encode(Request::Get(GetRequest::blob(net.secret)))),
        (
            "ranges",
            true,
            encode(Request::Get(GetRequest::blob_ranges(net.secret, some))),
        ),
        ("get-many", true, encode(Request::GetMany(many))),
        ("sequence", true, encode(Request::Get(GetRequest::all(net.root)))),
        (
            "observe",
            true,
            encode(Request::Observe(ObserveRequest::new(net.secret))),
        ),
        (
            "sequence of one's own",
            false,
            encode(Request::Get(GetRequest::all(net.own))),
        ),
        (
            "ranges of a child of one's own",
            false,
            encode(Request::Get(GetRequest::new(net.own, child))),
        ),
        ("get-many with one's own", false, encode(Request::GetMany(mixed))),
        (
            "observe one's own",
            false,
            encode(Request::Observe(ObserveRequest::new(net.own))),
        ),
        ("push", false, push),
    ]
}

fn postcard<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("encodes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_members_get_bytes_and_only_on_their_own_protocol() {
    let node = Node::new(1).await;
    let (ours, theirs) = (datanet(&node, 1).await, datanet(&node, 2).await);
    let (member, former, stranger) = (endpoint(11).await, endpoint(12).await, endpoint(13).await);
    let nobody = endpoint(14).await;
    ours.rule.admit(name(&member));
    ours.rule.admit(name(&former));
    theirs.rule.admit(name(&stranger)); // A member elsewhere.
    ours.rule.expel(name(&former));
    for (what, may, request) in requests(&ours) {
        for (who, caller) in [
            ("member", &member),
            ("former member", &former),
            ("member elsewhere", &stranger),
            ("stranger", &nobody),
        ] {
            for (wire, own) in [
                (&ours.wire, true),
                (&theirs.wire, false),
                (&iroh_blobs::ALPN.to_vec(), false),
            ] {
                let got = answer(caller, &node, wire, request.clone()).await;
                let expect = may && own && who == "member";
                assert_eq!(
                    got > 0,
                    expect,
                    "{who}, {what}, on its own protocol: {own}: {got} bytes"
                );
            }
        }
    }
    assert_eq!(ours.store.list_len().await, 3, "nothing was pushed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_member_loses_its_transfer_and_may_return_when_admitted() {
    let mut slow = DataConfig::new([1; 32]);
    slow.upload_per_s = NonZeroU64::new(2 << 20);
    let (node, me, other) = (Node::start(slow).await, Node::new(9).await, Node::new(10).await);
    let net = datanet(&node, 1).await;
    let large = net.store.add_bytes(bytes(8 << 20, 7)).await.expect("added").hash;
    let blob = BlobHash(*large.as_bytes());
    net.rule.publish(BlobRequest::Blob(blob));
    for member in [&me, &other] {
        member.knows(&[&node]);
        net.rule.admit(member.id());
    }
    let wanted = || Wanted {
        alpn: net.alpn.clone(),
        stall_timeout: Duration::from_secs(3),
        ..Wanted::blob(blob, vec![node.id()])
    };
    let mut fetch = me.plane.fetch(&me.store, wanted());
    let begun =
        async { while !matches!(fetch.next().await, Some(FetchEvent::Progress { have, .. }) if have > 1 << 20) {} };
    within(begun).await;
    net.rule.expel(me.id());
    node.plane.revoke(&net.alpn, me.id());
    let error = within(fetch.done()).await.expect_err("revoked");
    assert!(matches!(error, FetchError::NoProvider { .. }), "{error}");
    assert_eq!(node.plane.metrics().connections_revoked, 1);
    assert!(!me.store.has(large).await.expect("asked"));
    // Others are served as before, even on connections with the numbers of the revoked ones.
    let first = other.plane.fetch(
        &other.store,
        Wanted {
            stall_timeout: Duration::from_secs(30),
            ..wanted()
        },
    );
    net.rule.admit(me.id());
    let back = me.plane.fetch(
        &me.store,
        Wanted {
            stall_timeout: Duration::from_secs(30),
            ..wanted()
        },
    );
    let (first, back) = within(async { tokio::join!(first.done(), back.done()) }).await;
    assert_eq!(first.expect("a member").bytes, 8 << 20);
    assert!(back.expect("a member again").had > 1 << 20);
}

trait ListLen {
    async fn list_len(&self) -> usize;
}

impl ListLen for Store {
    async fn list_len(&self) -> usize {
        self.blobs().list().hashes().await.expect("a list").len()
    }
}

//! Data planes on loopback with stores in memory, and table-driven admission.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use iroh_blobs::{api::Store, store::mem::MemStore};
use net::data::{Admission, Alpn, BlobRequest, DataConfig, DataPlane, Share};
use protocol::{BlobHash, NodeId};
use tokio::time::timeout;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Admits members to what is published; everyone if there is no list of members.
#[derive(Clone, Default)]
pub(crate) struct Rule {
    pub(crate) members: Arc<Mutex<Option<BTreeSet<NodeId>>>>,
    pub(crate) published: Arc<Mutex<Vec<BlobRequest>>>,
}

impl Rule {
    pub(crate) fn publish(&self, ask: BlobRequest) {
        self.published.lock().expect("nobody panicked").push(ask);
    }

    pub(crate) fn admit(&self, node: NodeId) {
        self.members
            .lock()
            .expect("nobody panicked")
            .get_or_insert_default()
            .insert(node);
    }

    pub(crate) fn expel(&self, node: NodeId) {
        self.members
            .lock()
            .expect("nobody panicked")
            .get_or_insert_default()
            .remove(&node);
    }
}

impl Admission for Rule {
    fn may_connect(&self, node: NodeId) -> bool {
        self.members
            .lock()
            .expect("nobody panicked")
            .as_ref()
            .is_none_or(|members| members.contains(&node))
    }

    fn may_fetch(&self, node: NodeId, ask: BlobRequest) -> bool {
        self.may_connect(node) && self.published.lock().expect("nobody panicked").contains(&ask)
    }
}

pub(crate) struct Node {
    pub(crate) plane: DataPlane,
    pub(crate) store: Store,
    pub(crate) rule: Rule,
}

impl Node {
    pub(crate) async fn start(config: DataConfig) -> Self {
        let plane = DataPlane::start(config).await.expect("starts");
        let (store, rule) = ((*MemStore::new()).clone(), Rule::default());
        plane.serve(
            Alpn::public(),
            Share {
                store: store.clone(),
                admission: Arc::new(rule.clone()),
            },
        );
        Self { plane, store, rule }
    }

    pub(crate) async fn new(seed: u8) -> Self {
        Self::start(DataConfig::new([seed; 32])).await
    }

    pub(crate) fn id(&self) -> NodeId {
        self.plane.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let port = self.plane.addresses().ports().v4.expect("listens on IPv4");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    pub(crate) fn knows(&self, others: &[&Node]) {
        for other in others {
            assert!(self.plane.addresses().insert(other.id(), other.address()));
        }
    }

    /// Adds bytes and publishes them.
    pub(crate) async fn add(&self, bytes: Vec<u8>) -> BlobHash {
        let tag = self.store.add_bytes(bytes).await.expect("added");
        let hash = BlobHash(*tag.hash.as_bytes());
        self.rule.publish(BlobRequest::Blob(hash));
        hash
    }
}

/// Pseudo-random bytes, the same each time.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it happens in time")
}

//! The state of one datanet on this node: its statements, on disk and in memory, its keys, and its store if it is
//! permissioned.
//!
//! This node's own statements are durable before they take effect or are sent. Those of others take effect once they
//! verify, and are durable before they are acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use net::data::{Admission, BlobRequest};
use protocol::{
    BlobHash, DatanetId, NodeId, Time,
    crypto::{Domain, Signed},
    datanet::{Access, Act, Charter, Registry, Statement, StatementId},
    seal::{DatanetSecret, EpochKey, Header, KeyEpoch, MemberSecret, WrappedKey},
};
use storage::blob::BlobStore;

use super::DatanetError;
use crate::{peer::Peer, record_list::RecordList, shard_store::ShardStore, shards::Sealing};
use base::{clock::Clock, entropy, lock};

/// A record in the datanet's list on disk.
#[derive(Clone, bincode::Encode, bincode::Decode)]
pub(super) enum Record {
    /// The charter; always the first record.
    Charter(Box<Signed<Charter>>),
    Statement(Box<Signed<Statement>>),
    /// An epoch key, encrypted to this node's member key.
    Key(WrappedKey),
    /// A node that can be asked about the datanet.
    Source(NodeId),
}

/// One datanet as this node knows it.
pub(crate) struct LocalDatanet {
    pub(crate) id: DatanetId,
    pub(crate) charter: Charter,
    registry: RwLock<Registry>,
    records: RecordList,
    secret: Option<DatanetSecret>,
    keys: RwLock<BTreeMap<KeyEpoch, EpochKey>>,
    sources: RwLock<BTreeSet<NodeId>>,
    /// Store of the sealed shards; `None` for a public datanet.
    pub(crate) store: Option<BlobStore>,
    /// Published blobs, which members may fetch; true for the root of a dataset.
    open: RwLock<BTreeMap<BlobHash, bool>>,
    /// Nodes with open transfers; checked again after each new statement.
    admitted: Mutex<BTreeSet<NodeId>>,
    speaking: tokio::sync::Mutex<()>,
}

/// Arguments of [`LocalDatanet::open`].
pub(super) struct Parts<'a> {
    pub(super) dir: &'a Path,
    pub(super) domain: &'a Domain,
    pub(super) member: &'a MemberSecret,
    pub(super) secret: Option<DatanetSecret>,
    pub(super) store: Option<BlobStore>,
}

/// Reads the charter from a datanet's folder; `None` if the folder has none.
pub(super) fn read_charter(dir: &Path) -> Result<Option<Signed<Charter>>, DatanetError> {
    let records = RecordList::open(&dir.join("said"))?.read::<Record>()?;
    Ok(records.into_iter().find_map(|record| match record {
        Record::Charter(charter) => Some(*charter),
        Record::Statement(_) | Record::Key(_) | Record::Source(_) => None,
    }))
}

impl LocalDatanet {
    /// Opens the datanet in `dir`, and creates its list if it is new.
    pub(super) async fn open(charter: Signed<Charter>, parts: Parts<'_>) -> Result<Self, DatanetError> {
        let mut registry = Registry::new(charter.clone(), parts.domain)?;
        let records = RecordList::open(&parts.dir.join("said"))?;
        let (mut keys, mut sources, mut known) = (BTreeMap::new(), BTreeSet::new(), false);
        for record in records.read()? {
            match record {
                Record::Charter(_) => known = true,
                Record::Statement(said) => {
                    if let Err(error) = registry.insert([*said]) {
                        tracing::warn!(%error, datanet = %format_args!("{:#}", registry.id()), "a stored statement is no longer valid and is ignored");
                    }
                }
                Record::Key(wrapped) => {
                    if let Ok(key) = wrapped.open(parts.member) {
                        keys.insert(wrapped.epoch, key);
                    }
                }
                Record::Source(node) => drop(sources.insert(node)),
            }
        }
        if !known {
            records.add(&[Record::Charter(Box::new(charter.clone()))]).await?;
        }
        Ok(Self {
            id: registry.id(),
            charter: charter.message,
            registry: RwLock::new(registry),
            records,
            secret: parts.secret,
            keys: RwLock::new(keys),
            sources: RwLock::new(sources),
            store: parts.store,
            open: RwLock::default(),
            admitted: Mutex::default(),
            speaking: tokio::sync::Mutex::default(),
        })
    }

    /// The statements, and the state that follows from them.
    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        lock::read(&self.registry)
    }

    fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        lock::write(&self.registry)
    }

    /// Returns true if only members may read.
    pub(crate) fn is_permissioned(&self) -> bool {
        self.charter.access == Access::Permissioned
    }

    /// Returns true if `node` may learn that the datanet exists, and read its statements.
    pub(crate) fn knows(&self, node: NodeId, now: Time) -> bool {
        let registry = self.registry();
        let contributor = self.charter.contribution == protocol::datanet::Contribution::Members
            && registry.may_contribute(&node, now);
        registry.may_read(&node, now) || registry.may_approve(&node, now) || contributor
    }

    /// Signs a statement of this node, stores it, and applies it.
    pub(super) async fn say(
        &self,
        peer: &Peer,
        now: Time,
        act: impl FnOnce(&Registry) -> Result<Act, DatanetError>,
    ) -> Result<(StatementId, Signed<Statement>), DatanetError> {
        let _one_at_a_time = self.speaking.lock().await;
        let said = {
            let registry = self.registry();
            let statement = registry.next(peer.id(), now, act(&registry)?);
            let said = peer.sign(statement);
            // Validate it on a copy first: a record on disk cannot be undone.
            registry.clone().insert([said.clone()])?;
            said
        };
        self.records.add(&[Record::Statement(Box::new(said.clone()))]).await?;
        self.registry_mut().insert([said.clone()])?;
        Ok((said.message.id(), said))
    }

    /// Applies and stores statements of others; returns the new ones. They are durable when this returns.
    pub(super) async fn receive_statements(
        &self,
        said: Vec<Signed<Statement>>,
    ) -> Result<Vec<Signed<Statement>>, DatanetError> {
        let (new, learnt) = {
            let mut registry = self.registry_mut();
            let unknown = |said: &Signed<Statement>| registry.statement(&said.message.id()).is_none();
            let fresh: Vec<_> = said.into_iter().filter(unknown).collect();
            let learnt = registry.insert(fresh.clone());
            let taken = |said: &Signed<Statement>| registry.statement(&said.message.id()).is_some();
            (fresh.into_iter().filter(taken).collect::<Vec<_>>(), learnt)
        };
        let records: Vec<_> = new
            .iter()
            .map(|said| Record::Statement(Box::new(said.clone())))
            .collect();
        self.records.add(&records).await?;
        learnt?;
        Ok(new)
    }

    /// Decrypts and stores keys that were sent to this node; returns the number of new ones.
    pub(super) async fn receive_keys(
        &self,
        boxes: Vec<WrappedKey>,
        member: &MemberSecret,
    ) -> Result<usize, DatanetError> {
        let mut new = Vec::new();
        for wrapped in boxes {
            let known = self.epoch_key(wrapped.epoch).is_some();
            if wrapped.datanet == self.id
                && !known
                && let Ok(key) = wrapped.open(member)
            {
                new.push((wrapped, key));
            }
        }
        let records: Vec<_> = new.iter().map(|(wrapped, _)| Record::Key(wrapped.clone())).collect();
        self.records.add(&records).await?;
        let count = new.len();
        let mut keys = lock::write(&self.keys);
        keys.extend(new.into_iter().map(|(wrapped, key)| (wrapped.epoch, key)));
        Ok(count)
    }

    /// The key of an epoch, if this node holds it.
    pub(crate) fn epoch_key(&self, epoch: KeyEpoch) -> Option<EpochKey> {
        if let Some(secret) = &self.secret {
            return Some(secret.epoch_key(&self.id, epoch));
        }
        lock::read(&self.keys).get(&epoch).cloned()
    }

    /// The first epoch, from `from` to the current one, whose key this node does not hold.
    pub(super) fn missing_key(&self, from: KeyEpoch) -> Option<KeyEpoch> {
        let last = self.registry().epoch();
        (from.0..=last.0)
            .map(KeyEpoch)
            .find(|epoch| self.epoch_key(*epoch).is_none())
    }

    /// The keys that `node` may hold, from epoch `from` on, each encrypted to its member key.
    pub(super) fn wrapped_keys(&self, node: NodeId, from: KeyEpoch, now: Time) -> Vec<WrappedKey> {
        let registry = self.registry();
        let epochs = (from.0..=registry.epoch().0).map(KeyEpoch);
        let member = |epoch| Some((epoch, registry.may_hold(&node, epoch, now)?));
        let wrap = |(epoch, member): (KeyEpoch, protocol::datanet::Member)| {
            let key = self.epoch_key(epoch)?;
            WrappedKey::new(&key, self.id, epoch, &member.key, entropy::bytes()).ok()
        };
        epochs
            .filter_map(member)
            .filter_map(wrap)
            .take(protocol::message::datanet::KEYS_MAX)
            .collect()
    }

    /// The key that seals new shards.
    pub(crate) fn sealing(&self) -> Result<Sealing, DatanetError> {
        let epoch = self.registry().epoch();
        let key = self.epoch_key(epoch).ok_or(DatanetError::NoKey {
            datanet: self.id,
            epoch,
        })?;
        Ok(Sealing {
            key,
            datanet: self.id,
            epoch,
        })
    }

    /// The store of a permissioned datanet with its keys.
    pub(crate) fn shard_store(self: &Arc<Self>) -> Option<ShardStore> {
        let (blobs, local) = (self.store.clone()?, self.clone());
        let keys = move |header: &Header| local.epoch_key(header.epoch).filter(|_| header.datanet == local.id);
        Some(ShardStore {
            blobs,
            datanet: Some(self.id),
            keys: Arc::new(keys),
        })
    }

    /// Nodes that can be asked about the datanet: owner, curators, members, and others that answered before.
    pub(crate) fn sources(&self, now: Time) -> BTreeSet<NodeId> {
        let mut nodes = lock::read(&self.sources).clone();
        nodes.insert(self.charter.owner);
        nodes.extend(&self.charter.curators);
        nodes.extend(self.registry().readers(now).iter().map(|member| member.node));
        nodes
    }

    /// Stores a node that can be asked about the datanet.
    pub(super) async fn add_source(&self, node: NodeId) -> Result<(), DatanetError> {
        let new = lock::write(&self.sources).insert(node);
        if new {
            self.records.add(&[Record::Source(node)]).await?;
        }
        Ok(())
    }

    /// Updates the blobs that are served from the published datasets; returns connected nodes that may no longer read.
    pub(crate) async fn refresh(&self, now: Time) -> Vec<NodeId> {
        let Some(store) = &self.store else { return Vec::new() };
        let roots: Vec<_> = self.registry().published().keys().copied().collect();
        let mut open = BTreeMap::new();
        for root in roots {
            if let Ok(children) = store.children(root).await {
                open.extend(children.into_iter().map(|child| (child, false)));
                open.insert(root, true);
            }
        }
        *lock::write(&self.open) = open;
        self.take_former_members(now)
    }

    /// Removes and returns the connected nodes that may no longer read.
    pub(super) fn take_former_members(&self, now: Time) -> Vec<NodeId> {
        let registry = self.registry();
        let mut admitted = lock::locked(&self.admitted);
        let gone: Vec<_> = admitted
            .iter()
            .copied()
            .filter(|node| !registry.may_read(node, now))
            .collect();
        admitted.retain(|node| !gone.contains(node));
        gone
    }

    /// Returns true if `node` may fetch this: members what is published, curators also what is proposed.
    pub(crate) fn serves(&self, node: NodeId, ask: BlobRequest, now: Time) -> bool {
        let registry = self.registry();
        if !registry.may_read(&node, now) {
            return false;
        }
        let open = lock::read(&self.open);
        let published = match ask {
            BlobRequest::Blob(hash) => open.contains_key(&hash),
            BlobRequest::Sequence(root) => open.get(&root) == Some(&true),
        };
        published || registry.may_approve(&node, now)
    }
}

/// The admission rule of a permissioned datanet: members, and only published blobs.
pub(super) struct Members {
    pub(super) local: Arc<LocalDatanet>,
    pub(super) clock: Clock,
}

impl Admission for Members {
    fn may_connect(&self, node: NodeId) -> bool {
        let may = self.local.registry().may_read(&node, self.clock.now());
        if may {
            lock::locked(&self.local.admitted).insert(node);
            // A revocation may have come between the check and the insertion: check again, so that one of the two sees it.
            return self.local.registry().may_read(&node, self.clock.now());
        }
        false
    }

    fn may_fetch(&self, node: NodeId, ask: BlobRequest) -> bool {
        self.local.serves(node, ask, self.clock.now())
    }
}

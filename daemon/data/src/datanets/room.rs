//! One datanet on this node: what was said in it, on disk and in memory, its keys, and its store if it is permissioned.
//!
//! Its own words are durable before they are believed or told. What others say is believed when it verifies, and durable
//! before it is acknowledged.

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
use crate::{notes::Notes, peer::Peer, shards::Sealing, shelf::Shelf};
use base::{clock::Clock, entropy, lock};

/// What is remembered of a datanet.
#[derive(Clone, bincode::Encode, bincode::Decode)]
pub(super) enum Note {
    /// How it was founded; the first of all.
    Charter(Box<Signed<Charter>>),
    /// What somebody said.
    Statement(Box<Signed<Statement>>),
    /// A key that was boxed for this node.
    Key(WrappedKey),
    /// A node that knows the datanet.
    Source(NodeId),
}

/// One datanet.
pub(crate) struct Room {
    pub(crate) id: DatanetId,
    pub(crate) charter: Charter,
    registry: RwLock<Registry>,
    notes: Notes,
    /// The owner's.
    secret: Option<DatanetSecret>,
    keys: RwLock<BTreeMap<KeyEpoch, EpochKey>>,
    sources: RwLock<BTreeSet<NodeId>>,
    /// Where its sealed shards are; none where everybody may read.
    pub(crate) store: Option<BlobStore>,
    /// Blobs of what may be served from the store, and the roots that release them.
    open: RwLock<BTreeMap<BlobHash, bool>>,
    /// Who was let in; looked at again whenever something was said.
    admitted: Mutex<BTreeSet<NodeId>>,
    speaking: tokio::sync::Mutex<()>,
}

/// What a room is opened with.
pub(super) struct Parts<'a> {
    pub(super) dir: &'a Path,
    pub(super) domain: &'a Domain,
    pub(super) member: &'a MemberSecret,
    pub(super) secret: Option<DatanetSecret>,
    pub(super) store: Option<BlobStore>,
}

/// What the first record in a folder says of a datanet.
pub(super) fn founded(dir: &Path) -> Result<Option<Signed<Charter>>, DatanetError> {
    let notes = Notes::open(&dir.join("said"))?.read::<Note>()?;
    Ok(notes.into_iter().find_map(|note| match note {
        Note::Charter(charter) => Some(*charter),
        Note::Statement(_) | Note::Key(_) | Note::Source(_) => None,
    }))
}

impl Room {
    /// A datanet that is remembered in `dir`, or is from now on.
    pub(super) async fn open(charter: Signed<Charter>, parts: Parts<'_>) -> Result<Self, DatanetError> {
        let mut registry = Registry::new(charter.clone(), parts.domain)?;
        let notes = Notes::open(&parts.dir.join("said"))?;
        let (mut keys, mut sources, mut known) = (BTreeMap::new(), BTreeSet::new(), false);
        for note in notes.read()? {
            match note {
                Note::Charter(_) => known = true,
                Note::Statement(said) => {
                    if let Err(error) = registry.insert([*said]) {
                        tracing::warn!(%error, datanet = %format_args!("{:#}", registry.id()), "a remembered statement is not taken");
                    }
                }
                Note::Key(wrapped) => {
                    if let Ok(key) = wrapped.open(parts.member) {
                        keys.insert(wrapped.epoch, key);
                    }
                }
                Note::Source(node) => drop(sources.insert(node)),
            }
        }
        if !known {
            notes.add(&[Note::Charter(Box::new(charter.clone()))]).await?;
        }
        Ok(Self {
            id: registry.id(),
            charter: charter.message,
            registry: RwLock::new(registry),
            notes,
            secret: parts.secret,
            keys: RwLock::new(keys),
            sources: RwLock::new(sources),
            store: parts.store,
            open: RwLock::default(),
            admitted: Mutex::default(),
            speaking: tokio::sync::Mutex::default(),
        })
    }

    /// What was said, and what it comes to.
    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        lock::read(&self.registry)
    }

    fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        lock::write(&self.registry)
    }

    /// Whether only members read.
    pub(crate) fn is_permissioned(&self) -> bool {
        self.charter.access == Access::Permissioned
    }

    /// Whether `node` may know that the datanet exists and what is said in it.
    pub(crate) fn knows(&self, node: NodeId, now: Time) -> bool {
        let registry = self.registry();
        let contributor = self.charter.contribution == protocol::datanet::Contribution::Members
            && registry.may_contribute(&node, now);
        registry.may_read(&node, now) || registry.may_approve(&node, now) || contributor
    }

    /// Says something in this node's name: durable first, believed and handed out after.
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
            // Whether it will be taken is found out on a copy: on disk it could not be taken back.
            registry.clone().insert([said.clone()])?;
            said
        };
        self.notes.add(&[Note::Statement(Box::new(said.clone()))]).await?;
        self.registry_mut().insert([said.clone()])?;
        Ok((said.message.id(), said))
    }

    /// Takes what others said; gives what was new of it. It is durable when this returns.
    pub(super) async fn hear(&self, said: Vec<Signed<Statement>>) -> Result<Vec<Signed<Statement>>, DatanetError> {
        let (new, learnt) = {
            let mut registry = self.registry_mut();
            let unknown = |said: &Signed<Statement>| registry.statement(&said.message.id()).is_none();
            let fresh: Vec<_> = said.into_iter().filter(unknown).collect();
            let learnt = registry.insert(fresh.clone());
            let taken = |said: &Signed<Statement>| registry.statement(&said.message.id()).is_some();
            (fresh.into_iter().filter(taken).collect::<Vec<_>>(), learnt)
        };
        let notes: Vec<_> = new.iter().map(|said| Note::Statement(Box::new(said.clone()))).collect();
        self.notes.add(&notes).await?;
        learnt?;
        Ok(new)
    }

    /// Opens and remembers boxed keys.
    pub(super) async fn receive(&self, boxes: Vec<WrappedKey>, member: &MemberSecret) -> Result<usize, DatanetError> {
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
        let notes: Vec<_> = new.iter().map(|(wrapped, _)| Note::Key(wrapped.clone())).collect();
        self.notes.add(&notes).await?;
        let count = new.len();
        let mut keys = lock::write(&self.keys);
        keys.extend(new.into_iter().map(|(wrapped, key)| (wrapped.epoch, key)));
        Ok(count)
    }

    /// The key of an epoch, if it is here.
    pub(crate) fn epoch_key(&self, epoch: KeyEpoch) -> Option<EpochKey> {
        if let Some(secret) = &self.secret {
            return Some(secret.epoch_key(&self.id, epoch));
        }
        lock::read(&self.keys).get(&epoch).cloned()
    }

    /// The first epoch up to the one that runs whose key is not here.
    pub(super) fn missing_key(&self, from: KeyEpoch) -> Option<KeyEpoch> {
        let last = self.registry().epoch();
        (from.0..=last.0)
            .map(KeyEpoch)
            .find(|epoch| self.epoch_key(*epoch).is_none())
    }

    /// The keys that `node` may hold, from an epoch on, boxed for it.
    pub(super) fn boxed(&self, node: NodeId, from: KeyEpoch, now: Time) -> Vec<WrappedKey> {
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

    /// What new shards are sealed with.
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

    /// Its store with the keys that open it.
    pub(crate) fn shelf(self: &Arc<Self>) -> Option<Shelf> {
        let (blobs, room) = (self.store.clone()?, self.clone());
        let keys = move |header: &Header| room.epoch_key(header.epoch).filter(|_| header.datanet == room.id);
        Some(Shelf {
            blobs,
            datanet: Some(self.id),
            keys: Arc::new(keys),
        })
    }

    /// Nodes that may know more.
    pub(crate) fn sources(&self, now: Time) -> BTreeSet<NodeId> {
        let mut nodes = lock::read(&self.sources).clone();
        nodes.insert(self.charter.owner);
        nodes.extend(&self.charter.curators);
        nodes.extend(self.registry().readers(now).iter().map(|member| member.node));
        nodes
    }

    /// Remembers a node that knows the datanet.
    pub(super) async fn remember(&self, node: NodeId) -> Result<(), DatanetError> {
        let new = lock::write(&self.sources).insert(node);
        if new {
            self.notes.add(&[Note::Source(node)]).await?;
        }
        Ok(())
    }

    /// Brings what is served up to what is published; gives those that were let in and may no longer read.
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
        self.gone(now)
    }

    /// Those that were let in and may no longer read.
    pub(super) fn gone(&self, now: Time) -> Vec<NodeId> {
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

    /// Whether `node` may be served this: members what is published, and whoever decides what was proposed too.
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

/// Admits members to what is published.
pub(super) struct Members {
    pub(super) room: Arc<Room>,
    pub(super) clock: Clock,
}

impl Admission for Members {
    fn may_connect(&self, node: NodeId) -> bool {
        let may = self.room.registry().may_read(&node, self.clock.now());
        if may {
            lock::locked(&self.room.admitted).insert(node);
            // Taken out between the question and the note: asked again, so that one of the two finds it.
            return self.room.registry().may_read(&node, self.clock.now());
        }
        false
    }

    fn may_fetch(&self, node: NodeId, ask: BlobRequest) -> bool {
        self.room.serves(node, ask, self.clock.now())
    }
}

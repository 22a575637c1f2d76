//! The datanets that this node knows: created here or joined.
//!
//! On disk, statements are in `data/datanets/ID/said`, the owner's secret in `keys/datanets/ID.key`, and sealed shards in
//! `data/datanets/ID/blobs`. A permissioned datanet is served under a protocol name of its own and to members only; other
//! nodes cannot find out that it exists.

mod acts;
mod error;
mod local;
mod peer_requests;
mod sync;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, RwLock},
};

use protocol::{
    BlobHash, DatanetId,
    crypto::Domain,
    datanet::{Access, Charter},
    seal::{DatanetSecret, MemberKey, MemberSecret},
};
use storage::secret;

pub use error::DatanetError;
pub(crate) use local::LocalDatanet;

use self::local::Parts;
use crate::{
    open::open_store,
    peer::{Offline, Peer},
    shard_store::ShardStore,
};
use base::{
    entropy,
    home::{Home, folders},
    lock,
};

/// All datanets of a node. Clones share them.
#[derive(Clone)]
pub struct Datanets(Arc<Inner>);

struct Inner {
    peer: Peer,
    member: MemberSecret,
    home: Home,
    data: config::Data,
    floor: config::Size,
    all: RwLock<BTreeMap<DatanetId, Arc<LocalDatanet>>>,
    /// Wakes the synchronisation: a statement changed keys or members.
    wake: tokio::sync::Notify,
}

impl Datanets {
    /// Opens all datanets of a home. Without a chain to sign for there are none.
    pub(crate) async fn open(home: &Home, config: &config::Config, peer: Peer) -> Result<Self, DatanetError> {
        let datanets = Self(Arc::new(Inner {
            member: MemberSecret::of_node(peer.key()),
            peer,
            home: home.clone(),
            data: config.data.clone(),
            floor: config.storage.min_free_space,
            all: RwLock::default(),
            wake: tokio::sync::Notify::new(),
        }));
        if datanets.domain().is_err() {
            return Ok(datanets);
        }
        let path = home.datanets();
        for folder in folders(&path).map_err(|source| DatanetError::Folder { path, source })? {
            // A folder without a charter is left by a crash before the datanet was announced.
            if let Some(charter) = local::read_charter(&folder)? {
                let secret = datanets.secret(charter.message.id())?;
                datanets.enter(charter, secret).await?;
            }
        }
        Ok(datanets)
    }

    /// Handles requests of peers, serves the stores and synchronises, until the node stops.
    pub(crate) fn start(&self) {
        self.0.peer.handle(peer_requests::request_handler(self));
        for local in self.all() {
            self.serve(&local);
        }
        self.0.peer.spawn_until_stopped(|stop| sync::follow(self.clone(), stop));
    }

    /// The domain that statements are signed for.
    fn domain(&self) -> Result<Domain, Offline> {
        self.0.peer.domain().ok_or(Offline)
    }

    /// Number of datanets that this node knows.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The stores of the permissioned datanets.
    pub(crate) fn stores(&self) -> Vec<ShardStore> {
        self.all().iter().filter_map(LocalDatanet::shard_store).collect()
    }

    /// Finds the permissioned datanet with this ID, or else the one that has published the dataset.
    pub(crate) fn permissioned(
        &self,
        root: Option<BlobHash>,
        named: Option<DatanetId>,
    ) -> Result<Option<Arc<LocalDatanet>>, DatanetError> {
        let sealed = |local: &Arc<LocalDatanet>| local.is_permissioned();
        Ok(match named {
            Some(id) => Some(self.get(id)?).filter(sealed),
            None => {
                let has = |local: &Arc<LocalDatanet>| {
                    root.is_some_and(|root| local.registry().published().contains_key(&root))
                };
                self.all().into_iter().filter(sealed).find(has)
            }
        })
    }

    /// Closes the stores of the datanets.
    pub(crate) async fn close(&self) {
        for local in self.all() {
            if let Some(store) = &local.store {
                store.shutdown().await;
            }
        }
    }

    /// All datanets that this node knows.
    pub(crate) fn all(&self) -> Vec<Arc<LocalDatanet>> {
        let all = lock::read(&self.0.all);
        all.values().cloned().collect()
    }

    /// Finds a datanet; `None` if this node does not know it.
    pub(crate) fn find(&self, id: DatanetId) -> Option<Arc<LocalDatanet>> {
        lock::read(&self.0.all).get(&id).cloned()
    }

    /// Finds a datanet, or returns an error that says how to join it.
    pub(crate) fn get(&self, id: DatanetId) -> Result<Arc<LocalDatanet>, DatanetError> {
        self.domain()?;
        self.find(id).ok_or(DatanetError::Absent { id })
    }

    /// The public key to which datanet keys are encrypted for this node.
    pub fn member_key(&self) -> Result<MemberKey, DatanetError> {
        self.domain()?;
        Ok(self.0.member.public())
    }

    /// Creates a datanet. Its secret is written before its charter, so that a crash never leaves a datanet without it.
    async fn establish(&self, charter: Charter) -> Result<Arc<LocalDatanet>, DatanetError> {
        self.domain()?;
        charter.check().map_err(protocol::datanet::InsertError::from)?;
        let id = charter.id();
        let secret = match charter.access {
            Access::Public => None,
            Access::Permissioned => {
                let made = DatanetSecret::new(entropy::bytes());
                let path = self.secret_path(id);
                private_folder(path.parent().expect("a key lies in a folder"))?;
                secret::write(&path, hex::encode(made.bytes()).as_bytes())?;
                Some(made)
            }
        };
        self.enter(self.0.peer.sign(charter), secret).await
    }

    /// Opens a datanet, and adds it if it is new.
    pub(super) async fn enter(
        &self,
        charter: protocol::crypto::Signed<Charter>,
        secret: Option<DatanetSecret>,
    ) -> Result<Arc<LocalDatanet>, DatanetError> {
        let id = charter.message.id();
        if let Some(local) = self.find(id) {
            return Ok(local);
        }
        let dir = self.0.home.datanets().join(hex::encode(id.0));
        let store = match charter.message.access {
            Access::Public => None,
            Access::Permissioned => {
                let opened = open_store(&dir.join("blobs"), &self.0.data, self.0.floor).await;
                Some(opened.map_err(|source| DatanetError::Store {
                    id,
                    source: Box::new(source),
                })?)
            }
        };
        let (domain, member) = (&self.domain()?, &self.0.member);
        let parts = Parts {
            dir: &dir,
            domain,
            member,
            secret,
            store,
        };
        let local = Arc::new(LocalDatanet::open(charter, parts).await?);
        local.refresh(self.0.peer.now()).await;
        let mut all = lock::write(&self.0.all);
        Ok(all.entry(id).or_insert(local).clone())
    }

    fn secret_path(&self, id: DatanetId) -> PathBuf {
        self.0
            .home
            .keys()
            .join("datanets")
            .join(format!("{}.key", hex::encode(id.0)))
    }

    fn secret(&self, id: DatanetId) -> Result<Option<DatanetSecret>, DatanetError> {
        let path = self.secret_path(id);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = secret::read(&path)?;
        let bytes = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| hex::decode(text.trim()).ok());
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let wrong = || std::io::Error::other("it does not hold 64 hex digits; restore it from a backup");
        let bytes = bytes.ok_or_else(|| DatanetError::Folder { path, source: wrong() })?;
        Ok(Some(DatanetSecret::new(bytes)))
    }
}

fn private_folder(path: &std::path::Path) -> Result<(), DatanetError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DatanetError::Folder {
        path: path.to_owned(),
        source,
    })
}

//! The datanets that this node knows: founded here or joined.
//!
//! What was said lies in `data/datanets/ID/said`, the owner's secret in `keys/datanets/ID.key`, sealed shards in
//! `data/datanets/ID/blobs`. A permissioned datanet is served on a protocol of its own, to members only, and to anybody
//! else it does not exist.

mod acts;
mod error;
mod exchange;
mod room;
mod sync;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use protocol::{
    DatanetId, NodeId,
    crypto::{Domain, SecretKey, Signed},
    datanet::{Access, Charter},
    seal::{DatanetSecret, MemberKey, MemberSecret},
};
use storage::secret;

pub use error::DatanetError;
pub(super) use exchange::desk;
pub(crate) use room::Room;
pub(super) use sync::follow;

use self::room::Parts;
use super::open_store;
use base::{clock::Clock, entropy, home::Home};

/// All datanets of a node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Datanets(Arc<Inner>);

struct Inner {
    me: NodeId,
    key: SecretKey,
    domain: Domain,
    member: MemberSecret,
    clock: Clock,
    home: Home,
    data: config::Data,
    floor: config::Size,
    rooms: RwLock<BTreeMap<DatanetId, Arc<Room>>>,
}

impl Datanets {
    /// Opens everything that is remembered in a home.
    pub(super) async fn open(
        home: &Home,
        config: &config::Config,
        key: SecretKey,
        domain: Domain,
        clock: Clock,
    ) -> Result<Self, DatanetError> {
        let datanets = Self(Arc::new(Inner {
            me: NodeId(key.public()),
            member: MemberSecret::of_node(&key),
            key,
            domain,
            clock,
            home: home.clone(),
            data: config.data.clone(),
            floor: config.storage.min_free_space,
            rooms: RwLock::default(),
        }));
        for folder in folders(&home.datanets())? {
            // A folder without a charter is what a kill left of a datanet that nobody was told of.
            if let Some(charter) = room::founded(&folder)? {
                let secret = datanets.secret(charter.message.id())?;
                datanets.enter(charter, secret).await?;
            }
        }
        Ok(datanets)
    }

    /// Closes the stores.
    pub(super) async fn close(&self) {
        for room in self.all() {
            if let Some(store) = &room.store {
                store.shutdown().await;
            }
        }
    }

    /// Every datanet.
    pub(crate) fn all(&self) -> Vec<Arc<Room>> {
        let rooms = self.0.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.values().cloned().collect()
    }

    /// One of them, if it is known.
    pub(crate) fn find(&self, id: DatanetId) -> Option<Arc<Room>> {
        self.0
            .rooms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// One of them.
    pub(crate) fn room(&self, id: DatanetId) -> Result<Arc<Room>, DatanetError> {
        self.find(id).ok_or(DatanetError::Absent { id })
    }

    /// The key that grants to this node carry.
    pub(crate) fn member_key(&self) -> MemberKey {
        self.0.member.public()
    }

    /// Founds a datanet. Its secret is on disk before its charter is.
    pub(super) async fn found(&self, charter: Charter) -> Result<Arc<Room>, DatanetError> {
        charter.check().map_err(protocol::datanet::LearnError::from)?;
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
        self.enter(Signed::new(charter, &self.0.key, &self.0.domain), secret)
            .await
    }

    /// Opens a datanet, known before or not.
    pub(super) async fn enter(
        &self,
        charter: Signed<Charter>,
        secret: Option<DatanetSecret>,
    ) -> Result<Arc<Room>, DatanetError> {
        let id = charter.message.id();
        if let Some(room) = self.find(id) {
            return Ok(room);
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
        let (domain, member) = (&self.0.domain, &self.0.member);
        let parts = Parts {
            dir: &dir,
            domain,
            member,
            secret,
            store,
        };
        let room = Arc::new(Room::open(charter, parts).await?);
        room.refresh(self.0.clock.now()).await;
        let mut rooms = self.0.rooms.write().unwrap_or_else(PoisonError::into_inner);
        Ok(rooms.entry(id).or_insert(room).clone())
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

/// The folders in a folder, which need not exist, in order.
fn folders(dir: &std::path::Path) -> Result<Vec<PathBuf>, DatanetError> {
    let failed = |source| DatanetError::Folder {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        folders.extend(path.is_dir().then_some(path));
    }
    folders.sort();
    Ok(folders)
}

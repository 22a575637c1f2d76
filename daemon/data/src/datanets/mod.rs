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
pub(crate) use room::Room;

use self::room::Parts;
use crate::{
    peer::{Offline, Peer},
    shelf::Shelf,
    stage::open_store,
};
use base::{
    entropy,
    home::{Home, folders},
    lock,
};

/// All datanets of a node. Clones are the same.
#[derive(Clone)]
pub struct Datanets(Arc<Inner>);

struct Inner {
    peer: Peer,
    member: MemberSecret,
    home: Home,
    data: config::Data,
    floor: config::Size,
    rooms: RwLock<BTreeMap<DatanetId, Arc<Room>>>,
    /// Something was said that others may know more about.
    wake: tokio::sync::Notify,
}

impl Datanets {
    /// Opens everything that is remembered in a home; nothing where there is no chain to sign for.
    pub(crate) async fn open(home: &Home, config: &config::Config, peer: Peer) -> Result<Self, DatanetError> {
        let datanets = Self(Arc::new(Inner {
            member: MemberSecret::of_node(peer.key()),
            peer,
            home: home.clone(),
            data: config.data.clone(),
            floor: config.storage.min_free_space,
            rooms: RwLock::default(),
            wake: tokio::sync::Notify::new(),
        }));
        if datanets.domain().is_err() {
            return Ok(datanets);
        }
        let path = home.datanets();
        for folder in folders(&path).map_err(|source| DatanetError::Folder { path, source })? {
            // A folder without a charter is what a kill left of a datanet that nobody was told of.
            if let Some(charter) = room::founded(&folder)? {
                let secret = datanets.secret(charter.message.id())?;
                datanets.enter(charter, secret).await?;
            }
        }
        Ok(datanets)
    }

    /// Serves them and follows what is said in them, until the node ends.
    pub(crate) fn start(&self) {
        self.0.peer.answer(exchange::desk(self));
        for room in self.all() {
            self.serve(&room);
        }
        self.0.peer.keep(|stop| sync::follow(self.clone(), stop));
    }

    /// The chain that everything in them is signed for.
    fn domain(&self) -> Result<Domain, Offline> {
        self.0.peer.domain().ok_or(Offline)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The stores of permissioned ones.
    pub(crate) fn shelves(&self) -> Vec<Shelf> {
        self.all().iter().filter_map(Room::shelf).collect()
    }

    /// The permissioned datanet of that name, or the one that has published a dataset.
    pub(crate) fn room_for(
        &self,
        root: Option<BlobHash>,
        named: Option<DatanetId>,
    ) -> Result<Option<Arc<Room>>, DatanetError> {
        let sealed = |room: &Arc<Room>| room.is_permissioned();
        Ok(match named {
            Some(id) => Some(self.room(id)?).filter(sealed),
            None => {
                let has = |room: &Arc<Room>| root.is_some_and(|root| room.registry().published().contains_key(&root));
                self.all().into_iter().filter(sealed).find(has)
            }
        })
    }

    /// Closes the stores.
    pub(crate) async fn close(&self) {
        for room in self.all() {
            if let Some(store) = &room.store {
                store.shutdown().await;
            }
        }
    }

    /// Every datanet.
    pub(crate) fn all(&self) -> Vec<Arc<Room>> {
        let rooms = lock::read(&self.0.rooms);
        rooms.values().cloned().collect()
    }

    /// One of them, if it is known.
    pub(crate) fn find(&self, id: DatanetId) -> Option<Arc<Room>> {
        lock::read(&self.0.rooms).get(&id).cloned()
    }

    /// One of them.
    pub(crate) fn room(&self, id: DatanetId) -> Result<Arc<Room>, DatanetError> {
        self.domain()?;
        self.find(id).ok_or(DatanetError::Absent { id })
    }

    /// The key that grants to this node carry.
    pub fn member_key(&self) -> Result<MemberKey, DatanetError> {
        self.domain()?;
        Ok(self.0.member.public())
    }

    /// Founds a datanet. Its secret is on disk before its charter is.
    async fn establish(&self, charter: Charter) -> Result<Arc<Room>, DatanetError> {
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

    /// Opens a datanet, known before or not.
    pub(super) async fn enter(
        &self,
        charter: protocol::crypto::Signed<Charter>,
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
        let (domain, member) = (&self.domain()?, &self.0.member);
        let parts = Parts {
            dir: &dir,
            domain,
            member,
            secret,
            store,
        };
        let room = Arc::new(Room::open(charter, parts).await?);
        room.refresh(self.0.peer.now()).await;
        let mut rooms = lock::write(&self.0.rooms);
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

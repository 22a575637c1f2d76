//! Announcements of datasets: this node's own, and those of others until they expire.
//!
//! Gossip reaches the peers that are connected when an announcement is made. Later peers look up providers in the DHT and
//! request the signed claim of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use protocol::{
    BlobHash, NodeId, Time,
    crypto::Signed,
    message::announce::{self, Announcement, Claim, Term},
};
use storage::blob::Format;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{peer::Peer, public_store::PublicStore};
use base::{
    lock,
    operator::dataset::{KnownResponse, Travel},
};

/// Lifetime of an announcement.
const LIFE_MS: u64 = 60 * 60 * 1000;
/// Most announcements of others that are kept. At the limit, expired ones are dropped, then new ones ignored.
const HEARD_MAX: usize = 65_536;

/// Announcements of other nodes, by dataset and provider.
#[derive(Debug, Default)]
struct Heard {
    datasets: BTreeMap<BlobHash, BTreeMap<NodeId, Received>>,
    count: usize,
}

#[derive(Debug)]
struct Received {
    message: announce::Dataset,
    received: Time,
}

impl Heard {
    /// Keeps an announcement whose signature the network has checked.
    fn note(&mut self, now: Time, said: Announcement) {
        let message = match said {
            Announcement::Dataset(Signed { message, .. }) => message,
            Announcement::Worker(_) | Announcement::Claim(_) => return,
        };
        if self.count >= HEARD_MAX {
            self.forget(now);
        }
        if self.count < HEARD_MAX {
            let providers = self.datasets.entry(message.root).or_default();
            let (provider, said) = (message.provider, Received { message, received: now });
            self.count += usize::from(providers.insert(provider, said).is_none());
        }
    }

    fn forget(&mut self, now: Time) {
        for providers in self.datasets.values_mut() {
            providers.retain(|_, said| said.message.term.expires > now);
        }
        self.datasets.retain(|_, providers| !providers.is_empty());
        self.count = self.datasets.values().map(BTreeMap::len).sum();
    }

    /// Returns the unexpired announcements of a dataset.
    fn of(&self, now: Time, root: BlobHash) -> Vec<&announce::Dataset> {
        let providers = self.datasets.get(&root).into_iter().flat_map(BTreeMap::values);
        let messages = providers.map(|said| &said.message);
        messages.filter(|said| said.term.expires > now).collect()
    }

    /// Returns when each announcement of a dataset was issued and received.
    fn travels(&self, now: Time, root: BlobHash) -> Vec<Travel> {
        let providers = self.datasets.get(&root).into_iter().flat_map(BTreeMap::values);
        let travel = |said: &Received| Travel {
            from: said.message.provider,
            issued_us: said.message.term.issued.0,
            heard_us: said.received.0,
        };
        let holds = |said: &&Received| said.message.term.expires > now;
        providers.filter(holds).map(travel).collect()
    }

    /// Returns every dataset with an unexpired announcement.
    fn roots(&self, now: Time) -> BTreeSet<BlobHash> {
        let all = self.datasets.values().flat_map(BTreeMap::values);
        all.filter(|said| said.message.term.expires > now)
            .map(|said| said.message.root)
            .collect()
    }
}

/// Announcements of this node and of others. Clones share them.
#[derive(Clone)]
pub struct Announcements(Arc<Inner>);

struct Inner {
    peer: Peer,
    public: PublicStore,
    heard: Mutex<Heard>,
}

impl Announcements {
    /// Starts with no announcements of others.
    pub(crate) fn new(peer: Peer, public: PublicStore) -> Self {
        Self(Arc::new(Inner {
            peer,
            public,
            heard: Mutex::default(),
        }))
    }

    /// Starts the tasks that listen to others and repeat this node's announcements until the node stops.
    pub(crate) fn start(&self) {
        let (peer, again) = (self.0.peer.clone(), Duration::from_millis(LIFE_MS / 3));
        let own = self.clone();
        let tell = move || {
            let own = own.clone();
            async move { own.announce_all().await }
        };
        self.0
            .peer
            .spawn_until_stopped(|stop| peer.repeat_announcing(again, stop, tell));
        self.0.peer.spawn_until_stopped(|stop| listen(self.clone(), stop));
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        lock::locked(&self.0.heard)
    }

    /// Announces that this node has a dataset.
    pub(crate) async fn announce(&self, root: BlobHash) {
        let Some(net) = self.0.peer.net() else { return };
        let (bytes, shards) = match self.0.public.blobs.children(root).await {
            Ok(children) => (self.bytes_of(root).await, children.len()),
            Err(_) => return,
        };
        let now = self.0.peer.now();
        let term = Term::starting(now, LIFE_MS);
        let (provider, datanet) = (self.0.peer.id(), None);
        let claim = Claim {
            datanet,
            root,
            provider,
            term,
        };
        net.provide(self.0.peer.sign(claim));
        let said = announce::Dataset {
            datanet,
            root,
            bytes,
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
            provider,
            term,
        };
        net.announce(Announcement::Dataset(self.0.peer.sign(said)));
    }

    /// Announces every public dataset that is kept here.
    async fn announce_all(&self) {
        for (root, kept) in self.0.public.blobs.kept() {
            if kept.format == Format::Sequence {
                self.announce(root).await;
            }
        }
    }

    async fn bytes_of(&self, root: BlobHash) -> u64 {
        let content = storage::blob::Content::sequence(root);
        self.0.public.blobs.settle(content).await.unwrap_or(0)
    }

    /// Withdraws the claim that this node has a dataset.
    pub(crate) fn withdraw(&self, root: BlobHash) {
        if let Some(net) = self.0.peer.net() {
            net.withdraw(root);
        }
    }

    /// Returns the announced size of a dataset in bytes; the smallest, because announcements may be false.
    pub(crate) fn announced_bytes(&self, root: BlobHash) -> u64 {
        let heard = self.heard();
        heard
            .of(self.0.peer.now(), root)
            .iter()
            .map(|said| said.bytes)
            .min()
            .unwrap_or(0)
    }

    /// Returns the named nodes and those that announced the dataset; asks the DHT if there are none.
    pub(crate) async fn providers_or(&self, root: BlobHash, named: Vec<NodeId>) -> Vec<NodeId> {
        let mut providers: BTreeSet<_> = named.into_iter().collect();
        providers.extend(
            self.heard()
                .of(self.0.peer.now(), root)
                .iter()
                .map(|said| said.provider),
        );
        if let Some(net) = self.0.peer.net()
            && providers.is_empty()
        {
            let found = net.providers(root).await;
            providers.extend(found.iter().map(|claim| claim.message.provider));
        }
        providers.remove(&self.0.peer.id());
        providers.into_iter().collect()
    }

    /// Lists the other nodes that announced a dataset.
    pub(crate) fn others(&self, root: BlobHash) -> Vec<NodeId> {
        let (heard, now) = (self.heard(), self.0.peer.now());
        let providers = heard.of(now, root).into_iter().map(|said| said.provider);
        providers.filter(|node| *node != self.0.peer.id()).collect()
    }

    /// Lists every announced dataset with its announced size and its providers.
    pub fn known(&self) -> Vec<KnownResponse> {
        let (heard, now) = (self.heard(), self.0.peer.now());
        let known = |root| {
            let said = heard.of(now, root);
            KnownResponse {
                root,
                bytes: said.iter().map(|said| said.bytes).min().unwrap_or(0),
                providers: said.iter().map(|said| said.provider).collect(),
                heard: heard.travels(now, root),
            }
        };
        heard.roots(now).into_iter().map(known).collect()
    }

    /// Lists the nodes that are known to have a dataset, with this node.
    pub async fn providers(&self, root: BlobHash) -> Vec<NodeId> {
        let mut providers = self.providers_or(root, Vec::new()).await;
        if self.0.public.blobs.reasons(root).is_some() {
            providers.push(self.0.peer.id());
        }
        providers
    }
}

/// Keeps what others announce until the node stops.
async fn listen(own: Announcements, stop: CancellationToken) {
    let Some(net) = own.0.peer.net() else { return };
    let mut announcements = net.announcements();
    loop {
        let said = tokio::select! {
            () = stop.cancelled() => return,
            said = announcements.recv() => said,
        };
        match said {
            Ok(said) => own.heard().note(own.0.peer.now(), said),
            // Missed announcements are repeated by their senders.
            Err(RecvError::Lagged(_)) => (),
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::crypto::Signature;

    use super::*;

    fn said(root: u8, provider: u8, until: u64) -> Announcement {
        let term = Term {
            issued: Time(0),
            expires: Time(until),
        };
        let message = announce::Dataset {
            datanet: None,
            root: BlobHash([root; 32]),
            bytes: 10,
            shards: 1,
            provider: NodeId([provider; 32]),
            term,
        };
        Announcement::Dataset(Signed {
            message,
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn an_announcement_holds_until_it_runs_out() {
        let mut heard = Heard::default();
        heard.note(Time(0), said(1, 1, 100));
        heard.note(Time(0), said(1, 2, 50));
        heard.note(Time(0), said(2, 2, 10));
        assert_eq!(heard.of(Time(20), BlobHash([1; 32])).len(), 2);
        assert_eq!(heard.of(Time(60), BlobHash([1; 32]))[0].provider, NodeId([1; 32]));
        assert_eq!(heard.roots(Time(20)), [BlobHash([1; 32])].into());
        heard.forget(Time(60));
        assert_eq!(heard.count, 1);
    }
}

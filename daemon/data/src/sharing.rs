//! Who has what: this node's own announcements, and those of others for as long as they hold.
//!
//! Announcements reach those who are there when they are made. Whoever comes later asks the directory, and each provider
//! for its signed claim.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    BlobHash, NodeId, Time,
    crypto::Signed,
    message::announce::{self, Announcement, Claim, Term},
};
use storage::blob::Format;

use super::{Data, work::Workers};
use base::operator::{
    dataset::{KnownAnswer, Travel},
    work::WorkerLine,
};

/// How long an announcement holds.
pub(super) const LIFE_MS: u64 = 60 * 60 * 1000;
/// Providers remembered in all.
const REMEMBERED: usize = 65_536;

/// Providers that have announced a dataset.
#[derive(Debug, Default)]
pub(super) struct Heard {
    datasets: BTreeMap<BlobHash, BTreeMap<NodeId, Said>>,
    count: usize,
    workers: Workers,
}

/// An announcement of a dataset.
#[derive(Debug)]
struct Said {
    message: announce::Dataset,
    /// When it came.
    heard: Time,
}

impl Heard {
    /// Remembers an announcement that the network has checked. When there is no room, what has run out goes first.
    pub(super) fn note(&mut self, now: Time, said: Announcement) {
        let message = match said {
            Announcement::Dataset(Signed { message, .. }) => message,
            Announcement::Worker(Signed { message, .. }) => return self.workers.note(now, message),
            Announcement::Claim(_) => return,
        };
        if self.count >= REMEMBERED {
            self.forget(now);
        }
        if self.count < REMEMBERED {
            let providers = self.datasets.entry(message.root).or_default();
            let (provider, said) = (message.provider, Said { message, heard: now });
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

    /// Who announced it, and how long they say it is.
    pub(super) fn of(&self, now: Time, root: BlobHash) -> Vec<&announce::Dataset> {
        let providers = self.datasets.get(&root).into_iter().flat_map(BTreeMap::values);
        let messages = providers.map(|said| &said.message);
        messages.filter(|said| said.term.expires > now).collect()
    }

    /// How each announcement of it travelled.
    fn travels(&self, now: Time, root: BlobHash) -> Vec<Travel> {
        let providers = self.datasets.get(&root).into_iter().flat_map(BTreeMap::values);
        let travel = |said: &Said| Travel {
            from: said.message.provider,
            issued_us: said.message.term.issued.0,
            heard_us: said.heard.0,
        };
        let holds = |said: &&Said| said.message.term.expires > now;
        providers.filter(holds).map(travel).collect()
    }

    /// Who offers work.
    pub(super) fn workers(&self, now: Time) -> Vec<WorkerLine> {
        self.workers.lines(now)
    }

    /// Every dataset that somebody has.
    pub(super) fn roots(&self, now: Time) -> BTreeSet<BlobHash> {
        let all = self.datasets.values().flat_map(BTreeMap::values);
        all.filter(|said| said.message.term.expires > now)
            .map(|said| said.message.root)
            .collect()
    }
}

impl Data {
    /// Tells everybody that this node has a dataset.
    pub(super) async fn announce(&self, root: BlobHash) {
        let Some(network) = &self.0.network else { return };
        let (bytes, shards) = match self.0.public.children(root).await {
            Ok(children) => (self.bytes_of(root).await, children.len()),
            Err(_) => return,
        };
        let now = self.0.clock.now();
        let term = Term::starting(now, LIFE_MS);
        let (provider, datanet) = (self.0.me, None);
        let claim = Claim {
            datanet,
            root,
            provider,
            term,
        };
        network.net.provide(Signed::new(claim, &network.key, &network.domain));
        let said = announce::Dataset {
            datanet,
            root,
            bytes,
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
            provider,
            term,
        };
        let said = Signed::new(said, &network.key, &network.domain);
        network.net.announce(Announcement::Dataset(said));
    }

    /// Tells everybody about everything that is kept here.
    pub(super) async fn announce_all(&self) {
        for (root, kept) in self.0.public.kept() {
            if kept.format == Format::Sequence {
                self.announce(root).await;
            }
        }
    }

    async fn bytes_of(&self, root: BlobHash) -> u64 {
        let content = storage::blob::Content::sequence(root);
        self.0.public.settle(content).await.unwrap_or(0)
    }

    /// No longer says that this node has it.
    pub(super) fn withdraw(&self, root: BlobHash) {
        if let Some(network) = &self.0.network {
            network.net.withdraw(root);
        }
    }

    /// How long others say that a dataset is; the shortest, since anyone can say anything.
    pub(super) fn announced_bytes(&self, root: BlobHash) -> u64 {
        let heard = self.heard();
        heard
            .of(self.0.clock.now(), root)
            .iter()
            .map(|said| said.bytes)
            .min()
            .unwrap_or(0)
    }

    /// Who has a dataset: those that are named, those that announced it and those in the directory.
    pub(super) async fn providers_or(&self, root: BlobHash, named: Vec<NodeId>) -> Vec<NodeId> {
        let mut providers: BTreeSet<_> = named.into_iter().collect();
        providers.extend(
            self.heard()
                .of(self.0.clock.now(), root)
                .iter()
                .map(|said| said.provider),
        );
        if let Some(network) = &self.0.network
            && providers.is_empty()
        {
            let found = network.net.providers(root).await;
            providers.extend(found.iter().map(|claim| claim.message.provider));
        }
        providers.remove(&self.0.me);
        providers.into_iter().collect()
    }

    /// Every dataset that somebody has announced, with how long it is said to be and who has it.
    pub fn known(&self) -> Vec<KnownAnswer> {
        let (heard, now) = (self.heard(), self.0.clock.now());
        let known = |root| {
            let said = heard.of(now, root);
            KnownAnswer {
                root,
                bytes: said.iter().map(|said| said.bytes).min().unwrap_or(0),
                providers: said.iter().map(|said| said.provider).collect(),
                heard: heard.travels(now, root),
            }
        };
        heard.roots(now).into_iter().map(known).collect()
    }

    /// Who is known to have a dataset, this node included.
    pub async fn providers(&self, root: BlobHash) -> Vec<NodeId> {
        let mut providers = self.providers_or(root, Vec::new()).await;
        if self.0.public.why(root).is_some() {
            providers.push(self.0.me);
        }
        providers
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

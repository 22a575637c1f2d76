//! Fetches a dataset from its providers into a store. A hold protects the content from collection until it is on disk.
//!
//! A provider that sends bytes which do not match their hash is banned, and named in the result.

use std::collections::{BTreeMap, BTreeSet};

use net::{
    NetHandle, Offence,
    data::{Blame, Content as Wish, DataPlane, FetchError, FetchEvent, Fetched, Wanted},
};
use protocol::{BlobHash, NodeId};
use storage::blob::{Content, Format, HoldError, SettleError};
use tracing::warn;

use crate::shard_store::ShardStore;
use base::report::{Progress, Source};

/// Reason that a dataset was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("no known node has {root:#}; connect to one with `openledger peers add ADDR`, or name it with --from NODE")]
    NoProvider { root: BlobHash },
    #[error(transparent)]
    NoRoom(#[from] HoldError),
    /// The transfer failed. The verified bytes stay on disk for the next attempt.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Settle(#[from] SettleError),
}

/// The content to fetch, and its providers.
pub(crate) struct FetchRequest<'a> {
    pub(crate) plane: &'a DataPlane,
    pub(crate) net: &'a NetHandle,
    pub(crate) store: &'a ShardStore,
    pub(crate) content: Content,
    /// Announced size, for the reservation of space. The true size is learned during the fetch.
    pub(crate) bytes: u64,
    pub(crate) providers: Vec<NodeId>,
    pub(crate) alpn: net::data::Alpn,
}

/// Fetches the content, and returns once all of it is on disk.
pub(crate) async fn fetch(request: FetchRequest<'_>, mut tell: impl FnMut(Progress)) -> Result<Fetched, GetError> {
    let FetchRequest {
        plane,
        net,
        store,
        content,
        ..
    } = request;
    let root = content.hash;
    if request.providers.is_empty() {
        return Err(GetError::NoProvider { root });
    }
    let _held = store.blobs.hold(content, request.bytes).await?;
    let wish = match content.format {
        Format::Sequence => Wanted::sequence(root, request.providers),
        Format::Blob => Wanted::blob(root, request.providers),
    };
    let alpn = request.alpn;
    let mut fetch = plane.fetch(store.blobs.api(), Wanted { alpn, ..wish });
    let mut view = FetchProgress::new(wish_name(wish.content));
    while let Some(event) = fetch.next().await {
        if let FetchEvent::Blamed(blame) = &event {
            ban(net, plane, blame);
        }
        if view.note(event) {
            tell(view.progress());
        }
    }
    let fetched = fetch.done().await?;
    store.blobs.settle(content).await?;
    Ok(fetched)
}

/// Lists the providers that sent bytes, with their number.
pub(crate) fn bytes_by_provider(fetched: &Fetched) -> Vec<(NodeId, u64)> {
    let given = fetched.providers.iter().map(|(node, bytes)| (*node, *bytes));
    given.filter(|(_, bytes)| *bytes > 0).collect()
}

/// Lists the banned providers, each once: one may send false bytes of several blobs before its ban takes effect.
pub(crate) fn banned_providers(fetched: &Fetched) -> Vec<NodeId> {
    let nodes: BTreeSet<_> = fetched.blamed.iter().map(|blame| blame.node).collect();
    nodes.into_iter().collect()
}

fn wish_name(content: Wish) -> String {
    match content {
        Wish::Blob(hash) => format!("fetching blob {hash:#}"),
        Wish::Sequence(root) => format!("fetching {root:#}"),
    }
}

fn ban(net: &NetHandle, plane: &DataPlane, blame: &Blame) {
    warn!(node = %format_args!("{:#}", blame.node), blob = %format_args!("{:#}", blame.blob), offset = blame.offset,
        what = blame.what, "banned a provider that sent false bytes");
    net.report(blame.node, Offence::Invalid);
    net.ban(blame.node);
    plane.disconnect(blame.node);
}

/// Progress of a fetch, for people.
struct FetchProgress {
    what: String,
    /// Bytes received and total bytes, by blob.
    blobs: BTreeMap<BlobHash, (u64, u64)>,
    sources: BTreeMap<NodeId, Source>,
    /// Bytes from each provider, by blob.
    given: BTreeMap<(NodeId, BlobHash), u64>,
}

impl FetchProgress {
    fn new(what: String) -> Self {
        Self {
            what,
            blobs: BTreeMap::new(),
            sources: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Records an event. Returns true if the progress to show has changed.
    fn note(&mut self, event: FetchEvent) -> bool {
        match event {
            FetchEvent::Sized { blob, bytes, had } => drop(self.blobs.insert(blob, (had, bytes))),
            FetchEvent::Progress { blob, have, bytes } => drop(self.blobs.insert(blob, (have, bytes))),
            FetchEvent::Done { blob, bytes } => drop(self.blobs.insert(blob, (bytes, bytes))),
            FetchEvent::Provider {
                node,
                blob,
                bytes,
                per_s,
                path,
            } => {
                self.given.insert((node, blob), bytes);
                let given = self
                    .given
                    .range((node, BlobHash([0; 32]))..=(node, BlobHash([0xff; 32])));
                let source = Source {
                    node: format!("{node:#}"),
                    bytes: given.map(|(_, bytes)| bytes).sum(),
                    bytes_per_s: per_s,
                    relayed: path.is_some_and(|path| path.relayed),
                };
                self.sources.insert(node, source);
            }
            FetchEvent::Gone { node, .. } => drop(self.sources.remove(&node)),
            FetchEvent::FirstBytes { .. } | FetchEvent::Blamed(_) => return false,
        }
        true
    }

    fn progress(&self) -> Progress {
        let (done, total) = self
            .blobs
            .values()
            .fold((0, 0), |(done, total), (have, bytes)| (done + have, total + bytes));
        Progress {
            what: self.what.clone(),
            done,
            total: Some(total),
            sources: self.sources.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_provider_are_summed_over_blobs_and_forgotten_when_it_is_gone() {
        let (node, one, two) = (NodeId([1; 32]), BlobHash([2; 32]), BlobHash([3; 32]));
        let mut view = FetchProgress::new("fetching".into());
        let given = |blob, bytes| FetchEvent::Provider {
            node,
            blob,
            bytes,
            per_s: 1,
            path: None,
        };
        assert!(view.note(given(one, 5)) && view.note(given(two, 7)) && view.note(given(two, 8)));
        assert_eq!(view.progress().sources[0].bytes, 13);
        view.note(FetchEvent::Sized {
            blob: one,
            bytes: 10,
            had: 4,
        });
        assert_eq!((view.progress().done, view.progress().total), (4, Some(10)));
        view.note(FetchEvent::Gone {
            node,
            why: net::data::ProviderGone::Slow,
        });
        assert!(view.progress().sources.is_empty());
    }

    #[test]
    fn a_provider_that_sent_false_bytes_of_two_blobs_is_named_once() {
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let lie = |node, blob| Blame {
            node,
            blob: BlobHash([blob; 32]),
            claimed_bytes: 5,
            offset: 0,
            what: String::new(),
        };
        let fetched = Fetched {
            blamed: vec![lie(two, 1), lie(one, 1), lie(two, 3)],
            ..Fetched::default()
        };
        assert_eq!(banned_providers(&fetched), [one, two]);
    }
}

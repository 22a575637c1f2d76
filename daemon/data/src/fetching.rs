//! A dataset from its providers to the store: held from the first byte, kept when the last is on disk.
//!
//! Whoever sends what is not so is banned and named in the answer.

use std::collections::{BTreeMap, BTreeSet};

use net::{
    NetHandle, Offence,
    data::{Blame, Content as Wish, DataPlane, FetchError, FetchEvent, Fetched, Wanted},
};
use protocol::{BlobHash, NodeId};
use storage::blob::{Content, Format, HoldError, SettleError};
use tracing::warn;

use crate::shelf::Shelf;
use base::report::{Progress, Source};

/// Why a dataset was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Nobody is known to have it.
    #[error(
        "no node is known to have {root:#}; connect to one with `openledger peers add ADDR`, or name it with --from NODE"
    )]
    Nobody {
        /// What was asked for.
        root: BlobHash,
    },
    /// There is no room.
    #[error(transparent)]
    Room(#[from] HoldError),
    /// The fetch failed. What was fetched stays for the next try.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It came and is not safely on disk.
    #[error(transparent)]
    Settle(#[from] SettleError),
}

/// What is fetched and from whom.
pub(crate) struct Errand<'a> {
    pub(crate) plane: &'a DataPlane,
    pub(crate) net: &'a NetHandle,
    pub(crate) shelf: &'a Shelf,
    pub(crate) content: Content,
    /// For room; the true size is found out.
    pub(crate) bytes: u64,
    pub(crate) providers: Vec<NodeId>,
    pub(crate) alpn: net::data::Alpn,
}

/// Fetches until all of it is on disk.
pub(crate) async fn fetch(errand: Errand<'_>, mut tell: impl FnMut(Progress)) -> Result<Fetched, GetError> {
    let Errand {
        plane,
        net,
        shelf,
        content,
        ..
    } = errand;
    let root = content.hash;
    if errand.providers.is_empty() {
        return Err(GetError::Nobody { root });
    }
    let _held = shelf.blobs.hold(content, errand.bytes).await?;
    let wish = match content.format {
        Format::Sequence => Wanted::sequence(root, errand.providers),
        Format::Blob => Wanted::blob(root, errand.providers),
    };
    let alpn = errand.alpn;
    let mut fetch = plane.fetch(shelf.blobs.api(), Wanted { alpn, ..wish });
    let mut view = View::new(wish_name(wish.content));
    while let Some(event) = fetch.next().await {
        if let FetchEvent::Blamed(blame) = &event {
            punish(net, plane, blame);
        }
        if view.note(event) {
            tell(view.progress());
        }
    }
    let fetched = fetch.done().await?;
    shelf.blobs.settle(content).await?;
    Ok(fetched)
}

/// Who gave how many bytes.
pub(crate) fn credited(fetched: &Fetched) -> Vec<(NodeId, u64)> {
    let given = fetched.providers.iter().map(|(node, bytes)| (*node, *bytes));
    given.filter(|(_, bytes)| *bytes > 0).collect()
}

/// Who lied. One that is asked for several blobs at once may do so in each of them before it is banned.
pub(crate) fn blamed(fetched: &Fetched) -> Vec<NodeId> {
    let nodes: BTreeSet<_> = fetched.blamed.iter().map(|blame| blame.node).collect();
    nodes.into_iter().collect()
}

fn wish_name(content: Wish) -> String {
    match content {
        Wish::Blob(hash) => format!("fetching blob {hash:#}"),
        Wish::Sequence(root) => format!("fetching {root:#}"),
    }
}

fn punish(net: &NetHandle, plane: &DataPlane, blame: &Blame) {
    warn!(node = %format_args!("{:#}", blame.node), blob = %format_args!("{:#}", blame.blob), offset = blame.offset,
        what = blame.what, "a provider sent what is not so and is banned");
    net.report(blame.node, Offence::Invalid);
    net.ban(blame.node);
    plane.disconnect(blame.node);
}

/// What a person sees of a fetch.
struct View {
    what: String,
    /// Bytes here and in all, by blob.
    blobs: BTreeMap<BlobHash, (u64, u64)>,
    sources: BTreeMap<NodeId, Source>,
    /// What finished blobs got from each provider.
    given: BTreeMap<(NodeId, BlobHash), u64>,
}

impl View {
    fn new(what: String) -> Self {
        Self {
            what,
            blobs: BTreeMap::new(),
            sources: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Whether there is something new to show.
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
    fn what_a_provider_gave_is_summed_over_blobs_and_forgotten_when_it_is_gone() {
        let (node, one, two) = (NodeId([1; 32]), BlobHash([2; 32]), BlobHash([3; 32]));
        let mut view = View::new("fetching".into());
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
    fn who_lied_about_two_blobs_at_once_is_named_once() {
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
        assert_eq!(blamed(&fetched), [one, two]);
    }
}

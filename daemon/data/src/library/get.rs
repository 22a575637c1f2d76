//! Fetching a dataset from its providers into the store it belongs to.

use net::data::Alpn;
use protocol::{BlobHash, DatanetId, NodeId};
use storage::blob::Content;

use super::{
    Library, LibraryError,
    open::{self, open},
};
use crate::fetching::{self, FetchRequest};
use base::{operator::dataset::Got, report::Progress};
use protocol::event::Event;

impl Library {
    /// Fetches a dataset from all nodes that have it, and pins it if `keep` is set.
    #[tracing::instrument(name = "data.get", skip_all, fields(root = %format_args!("{root:#}")))]
    pub async fn get(
        &self,
        root: BlobHash,
        datanet: Option<DatanetId>,
        from: Vec<NodeId>,
        keep: bool,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<Got, LibraryError> {
        let local = self.datanets.permissioned(Some(root), datanet)?;
        let store = local
            .as_ref()
            .and_then(|local| local.shard_store())
            .unwrap_or_else(|| self.public.shard_store());
        let content = Content::sequence(root);
        let fetched = match store.blobs.settle(content).await {
            Ok(bytes) => net::data::Fetched {
                bytes,
                had: bytes,
                ..net::data::Fetched::default()
            },
            Err(_) => {
                let network = self.peer.network()?;
                let request = FetchRequest {
                    plane: &network.plane,
                    net: &network.net,
                    store: &store,
                    content,
                    bytes: self.announcements.announced_bytes(root),
                    providers: match &local {
                        Some(local) => self.datanets.members_of(local, from),
                        None => self.announcements.providers_or(root, from).await,
                    },
                    alpn: local
                        .as_ref()
                        .map_or_else(Alpn::public, |local| Alpn::datanet(local.id)),
                };
                fetching::fetch(request, tell).await?
            }
        };
        let name = open(&store, root).await?.manifest().name.clone();
        if keep {
            open::keep(&store.blobs, root, &name).await?;
            match &local {
                Some(local) => drop(local.refresh(self.peer.now()).await),
                None => {
                    self.public.refresh().await;
                    self.announcements.announce(root).await;
                }
            }
        }
        if fetched.bytes > fetched.had {
            let bytes = fetched.bytes - fetched.had;
            self.peer.tell(Event::DatasetFetched { root, bytes });
        }
        let banned = fetching::banned_providers(&fetched);
        for peer in banned.iter().copied() {
            self.peer.tell(Event::ProviderBlamed { peer, root });
        }
        Ok(Got {
            root,
            name,
            bytes: fetched.bytes,
            had: fetched.had,
            providers: fetching::bytes_by_provider(&fetched),
            blamed: banned,
        })
    }
}

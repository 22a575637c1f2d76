//! A dataset from whoever has it to the store that it belongs in.

use net::data::Alpn;
use protocol::{BlobHash, DatanetId, NodeId};
use storage::blob::Content;

use super::{
    Library, LibraryError,
    open::{self, open},
};
use crate::fetching::{self, Errand};
use base::{operator::dataset::Got, report::Progress};
use protocol::event::Event;

impl Library {
    /// Fetches a dataset from whoever has it.
    #[tracing::instrument(name = "data.get", skip_all, fields(root = %format_args!("{root:#}")))]
    pub async fn get(
        &self,
        root: BlobHash,
        datanet: Option<DatanetId>,
        from: Vec<NodeId>,
        keep: bool,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<Got, LibraryError> {
        let room = self.datanets.room_for(Some(root), datanet)?;
        let shelf = room
            .as_ref()
            .and_then(|room| room.shelf())
            .unwrap_or_else(|| self.public.shelf());
        let content = Content::sequence(root);
        let fetched = match shelf.blobs.settle(content).await {
            Ok(bytes) => net::data::Fetched {
                bytes,
                had: bytes,
                ..net::data::Fetched::default()
            },
            Err(_) => {
                let network = self.peer.network()?;
                let errand = Errand {
                    plane: &network.plane,
                    net: &network.net,
                    shelf: &shelf,
                    content,
                    bytes: self.announcements.announced_bytes(root),
                    providers: match &room {
                        Some(room) => self.datanets.members_of(room, from),
                        None => self.announcements.providers_or(root, from).await,
                    },
                    alpn: room.as_ref().map_or_else(Alpn::public, |room| Alpn::datanet(room.id)),
                };
                fetching::fetch(errand, tell).await?
            }
        };
        let name = open(&shelf, root).await?.manifest().name.clone();
        if keep {
            open::keep(&shelf.blobs, root, &name).await?;
            match &room {
                Some(room) => drop(room.refresh(self.peer.now()).await),
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
        let blamed = fetching::blamed(&fetched);
        for peer in blamed.iter().copied() {
            self.peer.tell(Event::ProviderBlamed { peer, root });
        }
        Ok(Got {
            root,
            name,
            bytes: fetched.bytes,
            had: fetched.had,
            providers: fetching::credited(&fetched),
            blamed,
        })
    }
}

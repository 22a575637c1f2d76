//! Synchronises statements and keys of datanets with other members.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use net::data::{Alpn, Share};
use protocol::{
    DatanetId, NodeId,
    crypto::Signed,
    datanet::{Act, Statement, StatementId},
    message::datanet::{DATANET_REPLY_MAX, DatanetReply as Answer, DatanetRequest, NAMED_MAX},
    seal::MemberKey,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{DatanetError, Datanets, LocalDatanet, local::Members, peer_requests::KIND, view};
use base::operator::datanet::{CreateRequest, DatanetResponse, DatanetVerb, MemberLine};
use protocol::event::Event;

/// Interval between two synchronisations with connected members.
const SYNC_EVERY: Duration = Duration::from_secs(30);
/// Interval between two checks for expired memberships.
const EXPIRY_CHECK_EVERY: Duration = Duration::from_secs(2);

impl Datanets {
    /// Lists all datanets that this node knows.
    pub fn list(&self) -> Vec<DatanetResponse> {
        let answer = |local: &Arc<LocalDatanet>| view::answer(local, self.0.peer.id(), self.0.peer.now());
        self.all().iter().map(answer).collect()
    }

    /// Describes one datanet.
    pub fn show(&self, id: DatanetId) -> Result<DatanetResponse, DatanetError> {
        let local = self.get(id)?;
        Ok(view::answer(&local, self.0.peer.id(), self.0.peer.now()))
    }

    /// Lists the members of a datanet.
    pub fn members(&self, id: DatanetId) -> Result<Vec<MemberLine>, DatanetError> {
        let local = self.get(id)?;
        Ok(view::members(&local, self.0.peer.now()))
    }

    /// Creates a datanet and serves it.
    pub async fn create(&self, ask: CreateRequest) -> Result<DatanetResponse, DatanetError> {
        let local = self.create_owned(ask).await?;
        self.0.peer.tell(Event::DatanetFounded { datanet: local.id });
        self.serve(&local);
        self.show(local.id)
    }

    /// Makes a statement and sends it to those it concerns. Returns its ID.
    pub async fn say(&self, id: DatanetId, verb: DatanetVerb) -> Result<StatementId, DatanetError> {
        let local = self.get(id)?;
        let key = match &verb {
            DatanetVerb::Grant(grant) if grant.key.is_none() => self.key_of(grant.node).await,
            _ => None,
        };
        let (name, said) = self.act(id, verb, key).await?;
        info!(datanet = %format_args!("{id:#}"), statement = ?name, "published a statement");
        self.apply_statements(&local, std::slice::from_ref(&said)).await;
        self.send_statement(&local, said).await;
        Ok(name)
    }

    async fn key_of(&self, node: NodeId) -> Option<MemberKey> {
        if node == self.0.peer.id() {
            return self.member_key().ok();
        }
        match self.ask(node, &DatanetRequest::Member).await {
            Ok(Answer::Member(key)) => Some(key),
            Ok(_) | Err(_) => None,
        }
    }

    /// Joins a datanet: requests its charter, statements and keys from a member.
    pub async fn join(&self, id: DatanetId, from: NodeId) -> Result<DatanetResponse, DatanetError> {
        self.domain()?;
        let charter = match self.ask(from, &DatanetRequest::Charter(id)).await? {
            Answer::Charter(charter) if charter.message.id() == id => *charter,
            _ => return Err(DatanetError::NotAMember { node: from, id }),
        };
        let local = self.enter(charter, None).await?;
        local.add_source(from).await?;
        self.serve(&local);
        self.sync_from(&local, from).await?;
        self.0.peer.tell(Event::DatanetJoined { datanet: id });
        self.show(id)
    }

    /// Synchronises with all connected sources; returns how many replied.
    pub async fn sync(&self, id: DatanetId) -> Result<usize, DatanetError> {
        let local = self.get(id)?;
        Ok(self.sync_one(&local).await)
    }

    async fn sync_one(&self, local: &Arc<LocalDatanet>) -> usize {
        let mut answered = 0;
        for node in self.connected_sources(local) {
            match self.sync_from(local, node).await {
                Ok(()) => answered += 1,
                Err(error) => debug!(%error, node = %format_args!("{node:#}"), "a member did not reply"),
            }
        }
        answered
    }

    /// The connected nodes that can be asked about the datanet.
    fn connected_sources(&self, local: &LocalDatanet) -> Vec<NodeId> {
        let sources = local.sources(self.0.peer.now());
        let peers = self.0.peer.peers().into_iter();
        peers.filter(|peer| sources.contains(peer)).collect()
    }

    async fn sync_from(&self, local: &Arc<LocalDatanet>, node: NodeId) -> Result<(), DatanetError> {
        let refused = || DatanetError::NotAMember { node, id: local.id };
        let (mut after, mut theirs) = (None, BTreeSet::new());
        loop {
            let ask = DatanetRequest::Names {
                datanet: local.id,
                after,
            };
            let Answer::Names(names) = self.ask(node, &ask).await? else {
                return Err(refused());
            };
            after = names.last().copied();
            theirs.extend(names.iter().copied());
            if names.len() < NAMED_MAX {
                break;
            }
        }
        let mut wanted: Vec<_> = theirs
            .iter()
            .copied()
            .filter(|id| local.registry().statement(id).is_none())
            .collect();
        while !wanted.is_empty() {
            let names = wanted.iter().copied().take(NAMED_MAX).collect();
            let ask = DatanetRequest::Statements {
                datanet: local.id,
                names,
            };
            let Answer::Statements(said) = self.ask(node, &ask).await? else {
                return Err(refused());
            };
            let new = local.receive_statements(said).await?;
            let before = wanted.len();
            wanted.retain(|id| local.registry().statement(id).is_none());
            self.apply_statements(local, &new).await;
            if wanted.len() == before {
                // The node lists statements that it does not send: stop asking it.
                break;
            }
        }
        let ours: Vec<_> = {
            let registry = local.registry();
            registry
                .statements()
                .filter(|(id, _)| !theirs.contains(id))
                .map(|(_, said)| said.clone())
                .collect()
        };
        for said in ours {
            self.ask(node, &DatanetRequest::Deliver(Box::new(said))).await?;
        }
        self.fetch_keys(local, node).await
    }

    async fn fetch_keys(&self, local: &Arc<LocalDatanet>, node: NodeId) -> Result<(), DatanetError> {
        let me = self.0.peer.id();
        let first = local
            .registry()
            .readers(self.0.peer.now())
            .into_iter()
            .find(|member| member.node == me);
        let Some(from) = first
            .filter(|_| local.is_permissioned())
            .and_then(|me| local.missing_key(me.epoch))
        else {
            return Ok(());
        };
        let ask = DatanetRequest::Keys {
            datanet: local.id,
            from,
        };
        if let Answer::Keys(boxes) = self.ask(node, &ask).await? {
            let count = local.receive_keys(boxes, &self.0.member).await?;
            if count > 0 {
                info!(datanet = %format_args!("{:#}", local.id), keys = count, "received keys");
            }
        }
        Ok(())
    }

    async fn ask(&self, node: NodeId, ask: &DatanetRequest) -> Result<Answer, DatanetError> {
        let asked = self.0.peer.request(node, KIND, ask, DATANET_REPLY_MAX).await?;
        asked.map_err(|source| DatanetError::Peer { node, source })
    }

    /// Applies new statements to what is served, and cuts transfers of former members.
    pub(super) async fn apply_statements(&self, local: &Arc<LocalDatanet>, new: &[Signed<Statement>]) {
        if new.is_empty() {
            return;
        }
        let former = local.refresh(self.0.peer.now()).await;
        self.cut_transfers(local, former);
        let key =
            |said: &Signed<Statement>| matches!(said.message.act, Act::Revoke { .. } | Act::Rotate(_) | Act::Grant(_));
        if new.iter().any(key) {
            self.0.wake.notify_one();
        }
    }

    fn cut_transfers(&self, local: &LocalDatanet, former: Vec<NodeId>) {
        let Ok(network) = self.0.peer.network() else { return };
        for node in former {
            info!(datanet = %format_args!("{:#}", local.id), node = %format_args!("{node:#}"), "cut the transfers of a former member");
            network.plane.revoke(&Alpn::datanet(local.id), node);
        }
    }

    /// Sends a statement to the connected members, and to the node that it grants membership.
    async fn send_statement(&self, local: &Arc<LocalDatanet>, said: Signed<Statement>) {
        let mut nodes = self.connected_sources(local);
        if let Act::Grant(grant) = &said.message.act {
            nodes.push(grant.subject);
        }
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| *node != self.0.peer.id());
        for node in nodes {
            let (datanets, said) = (self.clone(), said.clone());
            self.0.peer.spawn_until_stopped(|_| async move {
                // A node that misses it gets it at the next synchronisation.
                drop(datanets.ask(node, &DatanetRequest::Deliver(Box::new(said))).await);
            });
        }
    }

    /// Serves the store of a permissioned datanet to its members.
    pub(super) fn serve(&self, local: &Arc<LocalDatanet>) {
        let Some(store) = &local.store else { return };
        let share = Share {
            store: store.api().clone(),
            admission: Arc::new(Members {
                local: local.clone(),
                clock: self.0.peer.clock(),
            }),
        };
        self.0.peer.serve(Alpn::datanet(local.id), share);
    }

    /// The nodes that may have the datanet's shards: connected sources, and the named ones.
    pub(crate) fn members_of(&self, local: &LocalDatanet, named: Vec<NodeId>) -> Vec<NodeId> {
        let mut nodes = local.sources(self.0.peer.now());
        if self.0.peer.net().is_some() {
            let peers: BTreeSet<_> = self.0.peer.peers().into_iter().collect();
            nodes.retain(|node| peers.contains(node));
        }
        nodes.extend(named);
        nodes.remove(&self.0.peer.id());
        nodes.into_iter().collect()
    }
}

/// Synchronises all datanets and cuts expired members, until the node stops.
pub(super) async fn follow(datanets: Datanets, stop: CancellationToken) {
    let mut synced: Option<tokio::time::Instant> = None;
    loop {
        let woken = tokio::select! {
            () = stop.cancelled() => return,
            () = datanets.0.wake.notified() => true,
            () = tokio::time::sleep(EXPIRY_CHECK_EVERY) => false,
        };
        let due = woken || synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY);
        for local in datanets.all() {
            let former = local.take_former_members(datanets.0.peer.now());
            datanets.cut_transfers(&local, former);
            if due {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = datanets.sync_one(&local) => (),
                }
            }
        }
        if due {
            synced = Some(tokio::time::Instant::now());
        }
    }
}

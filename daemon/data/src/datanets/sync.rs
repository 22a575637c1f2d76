//! Hearing what was said elsewhere, and telling what was said here.

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

use super::{DatanetError, Datanets, Room, exchange::KIND, room::Members, view};
use base::operator::datanet::{CreateAsk, DatanetAnswer, DatanetVerb, MemberLine};
use protocol::event::Event;

/// How often what members know is compared.
const SYNC_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked at whether a membership has run out.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Datanets {
    /// Every datanet that is known here.
    pub fn list(&self) -> Vec<DatanetAnswer> {
        let answer = |room: &Arc<Room>| view::answer(room, self.0.peer.id(), self.0.peer.now());
        self.all().iter().map(answer).collect()
    }

    /// One of them.
    pub fn show(&self, id: DatanetId) -> Result<DatanetAnswer, DatanetError> {
        let room = self.room(id)?;
        Ok(view::answer(&room, self.0.peer.id(), self.0.peer.now()))
    }

    /// Who reads it.
    pub fn members(&self, id: DatanetId) -> Result<Vec<MemberLine>, DatanetError> {
        let room = self.room(id)?;
        Ok(view::members(&room, self.0.peer.now()))
    }

    /// Founds one and serves it.
    pub async fn create(&self, ask: CreateAsk) -> Result<DatanetAnswer, DatanetError> {
        let room = self.found(ask).await?;
        self.0.peer.tell(Event::DatanetFounded { datanet: room.id });
        self.serve(&room);
        self.show(room.id)
    }

    /// Says something in it and tells those whom it concerns. Gives the name of what was said.
    pub async fn say(&self, id: DatanetId, verb: DatanetVerb) -> Result<StatementId, DatanetError> {
        let room = self.room(id)?;
        let key = match &verb {
            DatanetVerb::Grant(grant) if grant.key.is_none() => self.key_of(grant.node).await,
            _ => None,
        };
        let (name, said) = self.act(id, verb, key).await?;
        info!(datanet = %format_args!("{id:#}"), statement = ?name, "said in a datanet");
        self.heard_in(&room, std::slice::from_ref(&said)).await;
        self.spread(&room, said).await;
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

    /// Asks a member how it is founded, and for all that was said and the keys.
    pub async fn join(&self, id: DatanetId, from: NodeId) -> Result<DatanetAnswer, DatanetError> {
        self.domain()?;
        let charter = match self.ask(from, &DatanetRequest::Charter(id)).await? {
            Answer::Charter(charter) if charter.message.id() == id => *charter,
            _ => return Err(DatanetError::Silent { node: from, id }),
        };
        let room = self.enter(charter, None).await?;
        room.remember(from).await?;
        self.serve(&room);
        self.sync_from(&room, from).await?;
        self.0.peer.tell(Event::DatanetJoined { datanet: id });
        self.show(id)
    }

    /// Asks everybody who may know more; gives how many answered.
    pub async fn sync(&self, id: DatanetId) -> Result<usize, DatanetError> {
        let room = self.room(id)?;
        Ok(self.sync_room(&room).await)
    }

    async fn sync_room(&self, room: &Arc<Room>) -> usize {
        let mut answered = 0;
        for node in self.company(room) {
            match self.sync_from(room, node).await {
                Ok(()) => answered += 1,
                Err(error) => debug!(%error, node = %format_args!("{node:#}"), "a member did not answer"),
            }
        }
        answered
    }

    /// Those who may know more and are connected.
    fn company(&self, room: &Room) -> Vec<NodeId> {
        let sources = room.sources(self.0.peer.now());
        let peers = self.0.peer.peers().into_iter();
        peers.filter(|peer| sources.contains(peer)).collect()
    }

    async fn sync_from(&self, room: &Arc<Room>, node: NodeId) -> Result<(), DatanetError> {
        let silent = || DatanetError::Silent { node, id: room.id };
        let (mut after, mut theirs) = (None, BTreeSet::new());
        loop {
            let ask = DatanetRequest::Names {
                datanet: room.id,
                after,
            };
            let Answer::Names(names) = self.ask(node, &ask).await? else {
                return Err(silent());
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
            .filter(|id| room.registry().statement(id).is_none())
            .collect();
        while !wanted.is_empty() {
            let names = wanted.iter().copied().take(NAMED_MAX).collect();
            let ask = DatanetRequest::Statements {
                datanet: room.id,
                names,
            };
            let Answer::Statements(said) = self.ask(node, &ask).await? else {
                return Err(silent());
            };
            let new = room.hear(said).await?;
            let before = wanted.len();
            wanted.retain(|id| room.registry().statement(id).is_none());
            self.heard_in(room, &new).await;
            if wanted.len() == before {
                // Nothing that was named came: whoever names what it does not give is not asked on.
                break;
            }
        }
        let ours: Vec<_> = {
            let registry = room.registry();
            registry
                .statements()
                .filter(|(id, _)| !theirs.contains(id))
                .map(|(_, said)| said.clone())
                .collect()
        };
        for said in ours {
            self.ask(node, &DatanetRequest::Deliver(Box::new(said))).await?;
        }
        self.fetch_keys(room, node).await
    }

    async fn fetch_keys(&self, room: &Arc<Room>, node: NodeId) -> Result<(), DatanetError> {
        let me = self.0.peer.id();
        let first = room
            .registry()
            .readers(self.0.peer.now())
            .into_iter()
            .find(|member| member.node == me);
        let Some(from) = first
            .filter(|_| room.is_permissioned())
            .and_then(|me| room.missing_key(me.epoch))
        else {
            return Ok(());
        };
        let ask = DatanetRequest::Keys { datanet: room.id, from };
        if let Answer::Keys(boxes) = self.ask(node, &ask).await? {
            let count = room.receive(boxes, &self.0.member).await?;
            if count > 0 {
                info!(datanet = %format_args!("{:#}", room.id), keys = count, "keys received");
            }
        }
        Ok(())
    }

    async fn ask(&self, node: NodeId, ask: &DatanetRequest) -> Result<Answer, DatanetError> {
        let asked = self.0.peer.ask(node, KIND, ask, DATANET_REPLY_MAX).await?;
        asked.map_err(|source| DatanetError::Peer { node, source })
    }

    /// Lets what was said take effect: what is served, and who is cut off.
    pub(super) async fn heard_in(&self, room: &Arc<Room>, new: &[Signed<Statement>]) {
        if new.is_empty() {
            return;
        }
        let gone = room.refresh(self.0.peer.now()).await;
        self.cut(room, gone);
        let key =
            |said: &Signed<Statement>| matches!(said.message.act, Act::Revoke { .. } | Act::Rotate(_) | Act::Grant(_));
        if new.iter().any(key) {
            self.0.wake.notify_one();
        }
    }

    fn cut(&self, room: &Room, gone: Vec<NodeId>) {
        let Ok(network) = self.0.peer.network() else { return };
        for node in gone {
            info!(datanet = %format_args!("{:#}", room.id), node = %format_args!("{node:#}"), "no member any more; transfers cut");
            network.plane.revoke(&Alpn::datanet(room.id), node);
        }
    }

    /// Tells a statement to everybody who should hear of it and is connected: members, and whom it is about.
    async fn spread(&self, room: &Arc<Room>, said: Signed<Statement>) {
        let mut nodes = self.company(room);
        if let Act::Grant(grant) = &said.message.act {
            nodes.push(grant.subject);
        }
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| *node != self.0.peer.id());
        for node in nodes {
            let (datanets, said) = (self.clone(), said.clone());
            self.0.peer.keep(|_| async move {
                // Who does not hear it now asks later.
                drop(datanets.ask(node, &DatanetRequest::Deliver(Box::new(said))).await);
            });
        }
    }

    /// Serves the store of a permissioned datanet to its members.
    pub(super) fn serve(&self, room: &Arc<Room>) {
        let Some(store) = &room.store else { return };
        let share = Share {
            store: store.api().clone(),
            admission: Arc::new(Members {
                room: room.clone(),
                clock: self.0.peer.clock(),
            }),
        };
        self.0.peer.serve(Alpn::datanet(room.id), share);
    }

    /// Who may have what a datanet holds.
    pub(crate) fn members_of(&self, room: &Room, named: Vec<NodeId>) -> Vec<NodeId> {
        let mut nodes = room.sources(self.0.peer.now());
        if self.0.peer.net().is_some() {
            let peers: BTreeSet<_> = self.0.peer.peers().into_iter().collect();
            nodes.retain(|node| peers.contains(node));
        }
        nodes.extend(named);
        nodes.remove(&self.0.peer.id());
        nodes.into_iter().collect()
    }
}

/// Keeps what is known of datanets level with what members know, and looks whose membership has run out.
pub(super) async fn follow(datanets: Datanets, stop: CancellationToken) {
    let mut synced: Option<tokio::time::Instant> = None;
    loop {
        let woken = tokio::select! {
            () = stop.cancelled() => return,
            () = datanets.0.wake.notified() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let due = woken || synced.is_none_or(|at| at.elapsed() >= SYNC_EVERY);
        for room in datanets.all() {
            let gone = room.gone(datanets.0.peer.now());
            datanets.cut(&room, gone);
            if due {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = datanets.sync_room(&room) => (),
                }
            }
        }
        if due {
            synced = Some(tokio::time::Instant::now());
        }
    }
}

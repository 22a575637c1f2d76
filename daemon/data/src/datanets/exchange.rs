//! What other nodes are told about datanets. Nobody but members hears that a permissioned one exists.

use std::sync::Arc;

use protocol::{
    NodeId,
    crypto::Signed,
    datanet::{Act, STATEMENT_MAX, Statement, StatementId},
    message::datanet::{DATANET_REQUEST_MAX, DatanetReply, DatanetRequest, NAMED_MAX},
};

use super::{Datanets, Room};
use crate::talk::Desk;

/// The stream's name.
pub(super) const KIND: &str = "datanet";

/// Answers those who ask.
pub(super) fn desk(datanets: &Datanets) -> Desk<DatanetRequest, DatanetReply> {
    let weak = Arc::downgrade(&datanets.0);
    Desk::new(KIND, DATANET_REQUEST_MAX, move |peer, ask| {
        let datanets = weak.upgrade().map(Datanets);
        Box::pin(async move { Some(datanets?.answer(peer, ask).await) })
    })
}

impl Datanets {
    async fn answer(&self, peer: NodeId, ask: DatanetRequest) -> DatanetReply {
        let now = self.0.peer.now();
        let known = |id| self.find(id).filter(|room| room.knows(peer, now));
        let answer = match ask {
            DatanetRequest::Member => Some(DatanetReply::Member(self.0.member.public())),
            DatanetRequest::Charter(id) => {
                known(id).map(|room| DatanetReply::Charter(Box::new(room.registry().charter().clone())))
            }
            DatanetRequest::Names { datanet, after } => known(datanet).map(|room| names(&room, after)),
            DatanetRequest::Statements { datanet, names } => known(datanet).map(|room| statements(&room, &names)),
            DatanetRequest::Deliver(said) => return self.told(peer, *said).await,
            DatanetRequest::Keys { datanet, from } => {
                known(datanet).map(|room| DatanetReply::Keys(room.boxed(peer, from, now)))
            }
            DatanetRequest::Membership(id) => known(id).map(|room| {
                let registry = room.registry();
                DatanetReply::Membership {
                    reads: registry.may_read(&peer, now),
                    contributes: registry.may_contribute(&peer, now),
                    approves: registry.may_approve(&peer, now),
                    epoch: registry.epoch(),
                }
            }),
        };
        answer.unwrap_or(DatanetReply::Unavailable)
    }

    async fn told(&self, peer: NodeId, said: Signed<Statement>) -> DatanetReply {
        let room = self.find(said.message.datanet);
        let Some(room) = room.filter(|room| room.knows(peer, self.0.peer.now())) else {
            return DatanetReply::Unavailable;
        };
        // What only editors say is long, and from anybody else it is worth nothing: such a word is asked for at members,
        // not taken from whoever calls.
        let editorial = matches!(
            said.message.act,
            Act::Publish(_) | Act::Bury { .. } | Act::Decide { .. }
        );
        let now = self.0.peer.now();
        let by_editor = room.registry().may_approve(&said.message.speaker, now);
        if editorial && !by_editor && !room.sources(now).contains(&peer) {
            let why = "the speaker is no curator, as far as is known here".to_owned();
            return DatanetReply::Refused { why };
        }
        match room.hear(vec![said]).await {
            Ok(new) => {
                self.heard_in(&room, &new).await;
                DatanetReply::Accepted
            }
            Err(error) => DatanetReply::Refused { why: error.to_string() },
        }
    }
}

fn names(room: &Room, after: Option<StatementId>) -> DatanetReply {
    let registry = room.registry();
    let behind = registry
        .statements()
        .map(|(id, _)| *id)
        .filter(|id| after.is_none_or(|after| *id > after));
    DatanetReply::Names(behind.take(NAMED_MAX).collect())
}

/// As many as fit: a version is long, the rest is short.
fn statements(room: &Room, names: &[StatementId]) -> DatanetReply {
    let registry = room.registry();
    let (mut fitting, mut bytes) = (Vec::new(), 0);
    for said in names.iter().take(NAMED_MAX).filter_map(|id| registry.statement(id)) {
        bytes += protocol::codec::encode(said).len();
        if bytes > 2 * STATEMENT_MAX && !fitting.is_empty() {
            break;
        }
        fitting.push(said.clone());
    }
    DatanetReply::Statements(fitting)
}

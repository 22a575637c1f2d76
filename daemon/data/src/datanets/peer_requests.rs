//! Handles requests of other nodes about datanets. Only members learn that a permissioned datanet exists.

use std::sync::Arc;

use protocol::{
    NodeId,
    crypto::Signed,
    datanet::{Act, STATEMENT_MAX, Statement, StatementId},
    message::datanet::{DATANET_REQUEST_MAX, DatanetReply, DatanetRequest, NAMED_MAX},
};

use super::{Datanets, LocalDatanet};
use crate::requests::RequestHandler;

/// Name of the streams that carry these requests.
pub(super) const KIND: &str = "datanet";

/// Makes the handler that the data plane calls.
pub(super) fn request_handler(datanets: &Datanets) -> RequestHandler<DatanetRequest, DatanetReply> {
    let weak = Arc::downgrade(&datanets.0);
    RequestHandler::new(KIND, DATANET_REQUEST_MAX, move |peer, ask| {
        let datanets = weak.upgrade().map(Datanets);
        Box::pin(async move { Some(datanets?.answer(peer, ask).await) })
    })
}

impl Datanets {
    async fn answer(&self, peer: NodeId, ask: DatanetRequest) -> DatanetReply {
        let now = self.0.peer.now();
        let known = |id| self.find(id).filter(|local| local.knows(peer, now));
        let answer = match ask {
            DatanetRequest::Member => Some(DatanetReply::Member(self.0.member.public())),
            DatanetRequest::Charter(id) => {
                known(id).map(|local| DatanetReply::Charter(Box::new(local.registry().charter().clone())))
            }
            DatanetRequest::Names { datanet, after } => known(datanet).map(|local| names(&local, after)),
            DatanetRequest::Statements { datanet, names } => known(datanet).map(|local| statements(&local, &names)),
            DatanetRequest::Deliver(said) => return self.told(peer, *said).await,
            DatanetRequest::Keys { datanet, from } => {
                known(datanet).map(|local| DatanetReply::Keys(local.wrapped_keys(peer, from, now)))
            }
            DatanetRequest::Membership(id) => known(id).map(|local| {
                let registry = local.registry();
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
        let local = self.find(said.message.datanet);
        let Some(local) = local.filter(|local| local.knows(peer, self.0.peer.now())) else {
            return DatanetReply::Unavailable;
        };
        // Statements of curators may be long and are void from anybody else, so they are accepted from strangers only if
        // their author is known to be a curator.
        let editorial = matches!(
            said.message.act,
            Act::Publish(_) | Act::Bury { .. } | Act::Decide { .. }
        );
        let now = self.0.peer.now();
        let by_editor = local.registry().may_approve(&said.message.speaker, now);
        if editorial && !by_editor && !local.sources(now).contains(&peer) {
            let why = "this node does not know the speaker as a curator".to_owned();
            return DatanetReply::Refused { why };
        }
        match local.receive_statements(vec![said]).await {
            Ok(new) => {
                self.apply_statements(&local, &new).await;
                DatanetReply::Accepted
            }
            Err(error) => DatanetReply::Refused { why: error.to_string() },
        }
    }
}

fn names(local: &LocalDatanet, after: Option<StatementId>) -> DatanetReply {
    let registry = local.registry();
    let behind = registry
        .statements()
        .map(|(id, _)| *id)
        .filter(|id| after.is_none_or(|after| *id > after));
    DatanetReply::Names(behind.take(NAMED_MAX).collect())
}

/// Collects as many statements as fit into a reply. A published version is long, the others are short.
fn statements(local: &LocalDatanet, names: &[StatementId]) -> DatanetReply {
    let registry = local.registry();
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

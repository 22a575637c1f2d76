//! Message exchange: gossip, verdicts, requests and replies.

use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, PublishError},
    request_response::{self, InboundFailure, InboundRequestId, OutboundFailure, OutboundRequestId, ResponseChannel},
};
use protocol::NodeId;

use crate::{
    GossipId, NetEvent, Offence, RequestError, RequestId, Topic, Verdict,
    behaviour::{self, GOSSIP_BYTES_MAX},
    identity,
};

use super::{Node, ReplySender};

/// Most requests of peers that wait for a reply.
const OPEN_REQUESTS_MAX: usize = 1024;

impl Node {
    pub(super) fn gossip(&mut self, topic: Topic, bytes: Vec<u8>) {
        let topic = behaviour::topic(&self.chain, topic);
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Ok(_) => self.counters.gossip_sent.one(),
            Err(PublishError::Duplicate) => self.counters.gossip_duplicate.one(),
            Err(PublishError::AllQueuesFull(_)) => {
                self.counters.gossip_unsent.one();
                self.counters.gossip_queues_full.one();
            }
            Err(error) => {
                self.counters.gossip_unsent.one();
                tracing::debug!(%error, "not gossiped");
            }
        }
    }

    pub(super) fn verdict(&mut self, id: &GossipId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.swarm
            .behaviour_mut()
            .gossip
            .report_message_validation_result(&id.message, &id.source, acceptance);
        if verdict == Verdict::Reject {
            self.counters.gossip_rejected.one();
            if let Some(node) = identity::node_id(&id.source) {
                self.report(node, Offence::Invalid);
            }
        }
    }

    pub(super) fn request(&mut self, to: NodeId, bytes: Vec<u8>, reply: ReplySender) {
        let known = identity::peer_id(to).filter(|peer| self.peers.get(peer).is_some_and(|peer| peer.link.is_some()));
        let Some(peer) = known else {
            self.counters.requests_failed.one();
            let _ = reply.send(Err(RequestError::NotConnected { to }));
            return;
        };
        self.counters.requests_sent.one();
        let id = self.swarm.behaviour_mut().requests.send_request(&peer, bytes);
        self.sent_requests.insert(id, (to, reply));
    }

    pub(super) fn gossip_event(&mut self, event: gossipsub::Event) {
        let (source, message_id, message) = match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => (propagation_source, message_id, message),
            gossipsub::Event::SlowPeer { .. } => return self.counters.slow_peers.one(),
            _ => return,
        };
        self.counters.gossip_received.one();
        let id = GossipId {
            message: message_id,
            source,
        };
        let is_announcement = message.topic == self.announcements;
        let topic = self
            .topics
            .iter()
            .find(|(hash, _)| *hash == message.topic)
            .map(|&(_, topic)| topic);
        if message.data.len() > GOSSIP_BYTES_MAX {
            self.counters.gossip_oversize.one();
            return self.verdict(&id, Verdict::Reject);
        }
        if is_announcement {
            return self.announced(&id, &message.data);
        }
        let (Some(topic), Some(from)) = (topic, identity::node_id(&source)) else {
            return self.verdict(&id, Verdict::Ignore);
        };
        let event = NetEvent::Gossip {
            id: id.clone(),
            topic,
            from,
            bytes: message.data,
        };
        if self.events.try_send(event).is_err() {
            self.counters.gossip_dropped.one();
            self.verdict(&id, Verdict::Ignore);
        }
    }

    pub(super) fn request_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request {
                    request_id,
                    request,
                    channel,
                } => self.request_received(&peer, request_id, request, channel),
                Message::Response { request_id, response } => {
                    if let Some((_, reply)) = self.sent_requests.remove(&request_id) {
                        let _ = reply.send(Ok(response));
                    }
                }
            },
            Event::OutboundFailure { request_id, error, .. } => self.request_failed(request_id, error),
            Event::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.open_requests.remove(&request_id);
                let is_oversize =
                    matches!(&error, InboundFailure::Io(io) if io.kind() == std::io::ErrorKind::InvalidData);
                if let Some(node) = identity::node_id(&peer).filter(|_| is_oversize) {
                    self.counters.oversize.one();
                    self.report(node, Offence::Oversize);
                }
            }
            Event::ResponseSent { .. } => (),
        }
    }

    /// Passes a peer's request to the node, if it can take one more.
    fn request_received(
        &mut self,
        peer: &PeerId,
        id: InboundRequestId,
        bytes: Vec<u8>,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        self.counters.requests_received.one();
        let Some(from) = identity::node_id(peer) else { return };
        let event = NetEvent::Request {
            from,
            id: RequestId(id),
            bytes,
        };
        // Dropping the channel tells the peer at once.
        if self.open_requests.len() >= OPEN_REQUESTS_MAX || self.events.try_send(event).is_err() {
            return self.counters.requests_dropped.one();
        }
        self.open_requests.insert(id, channel);
    }

    fn request_failed(&mut self, id: OutboundRequestId, error: OutboundFailure) {
        self.counters.requests_failed.one();
        let Some((to, reply)) = self.sent_requests.remove(&id) else {
            return;
        };
        let _ = reply.send(Err(match error {
            OutboundFailure::Timeout => RequestError::Timeout { to },
            error => RequestError::Failed {
                to,
                why: error.to_string(),
            },
        }));
    }
}

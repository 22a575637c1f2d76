//! Content routing: gossiped announcements, provider records in the directory, and the signed claims behind them.
//!
//! A provider record names a peer and proves nothing. The peer is asked for its signed claim, and only that counts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use libp2p::{
    PeerId,
    gossipsub::{MessageAcceptance, PublishError},
    kad::{self, QueryId, RecordKey},
    request_response::{self, OutboundRequestId},
};
use protocol::{
    BlobHash, NodeId, Time, codec,
    crypto::{Domain, Signed},
    message::announce::{Announcement, Claim},
};
use tokio::sync::broadcast;

use crate::{
    GossipId, Offence,
    announce::{AnnouncementFilter, CLAIM_MAX, Decision, Defect, Found},
    behaviour, identity,
};

use super::Node;

/// Most claims of this node.
const CLAIMS_MAX: usize = 65_536;
/// Most peers that one search asks.
const ASKED_MAX: usize = 16;
/// Most concurrent searches.
const SEARCHES_MAX: usize = 256;
/// Time after which a search returns what it has.
const SEARCH_WITHIN: Duration = Duration::from_secs(10);

struct Search {
    root: BlobHash,
    found: Vec<Signed<Claim>>,
    asked: BTreeSet<PeerId>,
    waiting: usize,
    is_over: bool,
    until: Instant,
    answer: Found,
}

/// The claims of this node, and its running searches.
pub(super) struct Provide {
    domain: Domain,
    filter: AnnouncementFilter,
    announcements: broadcast::Sender<Announcement>,
    claims: BTreeMap<BlobHash, Signed<Claim>>,
    searches: HashMap<QueryId, Search>,
    sent_requests: HashMap<OutboundRequestId, (QueryId, NodeId)>,
}

impl Provide {
    pub(super) fn new(domain: Domain, announcements: broadcast::Sender<Announcement>) -> Self {
        Self {
            domain,
            filter: AnnouncementFilter::new(domain),
            announcements,
            claims: BTreeMap::new(),
            searches: HashMap::new(),
            sent_requests: HashMap::new(),
        }
    }
}

impl Node {
    pub(super) fn announce(&mut self, said: &Announcement) {
        let topic = behaviour::announcements(&self.chain);
        match self.swarm.behaviour_mut().gossip.publish(topic, said.encode()) {
            Ok(_) => self.counters.announcements_sent.one(),
            Err(PublishError::AllQueuesFull(_)) => self.counters.gossip_queues_full.one(),
            Err(error) => {
                self.counters.gossip_unsent.one();
                tracing::debug!(%error, "not announced");
            }
        }
    }

    /// Checks an announcement that a peer forwarded.
    pub(super) fn announced(&mut self, id: &GossipId, bytes: &[u8]) {
        let acceptance = match self.provide.filter.check(wall_clock(), bytes) {
            Decision::Accept(said) => {
                self.counters.announcements_received.one();
                // There may be no subscriber. A slow one misses the oldest ones and is told so.
                let _ = self.provide.announcements.send(*said);
                MessageAcceptance::Accept
            }
            Decision::Ignore => MessageAcceptance::Ignore,
            Decision::TooOften => {
                self.counters.announcements_limited.one();
                MessageAcceptance::Ignore
            }
            Decision::Reject(defect) => {
                self.counters.announcements_rejected.one();
                self.counters.gossip_rejected.one();
                tracing::debug!(peer = %id.source, ?defect, "rejected an announcement");
                if let Some(node) = identity::node_id(&id.source) {
                    self.report(
                        node,
                        match defect {
                            Defect::Malformed => Offence::Malformed,
                            Defect::Replayed => Offence::Spam,
                            Defect::Invalid(_) => Offence::Invalid,
                        },
                    );
                }
                MessageAcceptance::Reject
            }
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(&id.message, &id.source, acceptance);
    }

    pub(super) fn provide(&mut self, claim: Signed<Claim>) {
        let root = claim.message.root;
        if self.provide.claims.len() >= CLAIMS_MAX && !self.provide.claims.contains_key(&root) {
            return self.counters.claims_refused.one();
        }
        let is_new = self.provide.claims.insert(root, claim).is_none();
        if is_new && self.swarm.behaviour_mut().discovery.start_providing(key(root)).is_err() {
            self.counters.claims_refused.one();
        }
    }

    pub(super) fn withdraw(&mut self, root: BlobHash) {
        if self.provide.claims.remove(&root).is_some() {
            self.swarm.behaviour_mut().discovery.stop_providing(&key(root));
        }
    }

    /// Searches for providers of a blob.
    pub(super) fn search(&mut self, root: BlobHash, answer: Found) {
        if self.provide.searches.len() >= SEARCHES_MAX {
            return; // Dropping the sender tells the caller.
        }
        let query = self.swarm.behaviour_mut().discovery.get_providers(key(root));
        self.provide.searches.insert(
            query,
            Search {
                root,
                found: Vec::new(),
                asked: BTreeSet::new(),
                waiting: 0,
                is_over: false,
                until: Instant::now() + SEARCH_WITHIN,
                answer,
            },
        );
    }

    pub(super) fn search_event(&mut self, query: QueryId, result: kad::GetProvidersResult, is_last: bool) {
        let named = match result {
            Ok(kad::GetProvidersOk::FoundProviders { providers, .. }) => providers,
            _ => Default::default(),
        };
        let me = *self.swarm.local_peer_id();
        let Some(search) = self.provide.searches.get_mut(&query) else {
            return;
        };
        search.is_over |= is_last;
        for peer in named {
            let Some(node) = identity::node_id(&peer).filter(|_| peer != me) else {
                continue;
            };
            if search.asked.len() >= ASKED_MAX || !search.asked.insert(peer) {
                continue;
            }
            search.waiting += 1;
            let request = search.root.0.to_vec();
            let id = self.swarm.behaviour_mut().claims.send_request(&peer, request);
            self.provide.sent_requests.insert(id, (query, node));
        }
        self.conclude(query);
    }

    pub(super) fn claim_event(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        use request_response::{Event, Message};
        match event {
            Event::Message {
                message: Message::Request { request, channel, .. },
                ..
            } => {
                let root = <[u8; 32]>::try_from(request.as_slice()).ok().map(BlobHash);
                let now = wall_clock();
                let claim = root.and_then(|root| self.provide.claims.get(&root));
                let claim = claim.filter(|claim| claim.message.term.expires > now);
                let answer = codec::encode(&claim.cloned());
                let _ = self.swarm.behaviour_mut().claims.send_response(channel, answer);
            }
            Event::Message {
                message: Message::Response { request_id, response },
                ..
            } => self.claimed(request_id, Some(&response)),
            Event::OutboundFailure { request_id, .. } => self.claimed(request_id, None),
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => (),
        }
    }

    fn claimed(&mut self, id: OutboundRequestId, response: Option<&[u8]>) {
        let Some((query, node)) = self.provide.sent_requests.remove(&id) else {
            return;
        };
        let Some(search) = self.provide.searches.get_mut(&query) else {
            return;
        };
        search.waiting -= 1;
        let claim = response.map(|bytes| codec::decode::<Option<Signed<Claim>>>(bytes, CLAIM_MAX));
        let mut offence = None;
        match claim {
            None | Some(Ok(None)) => (), // Disconnected, or it no longer has the blob: records outlive claims.
            Some(Err(_)) => offence = Some(Offence::Malformed),
            Some(Ok(Some(claim))) => {
                let about = claim.message.root == search.root && claim.message.provider == node;
                match about && claim.holds(wall_clock(), &self.provide.domain).is_ok() {
                    true => search.found.push(claim),
                    false => offence = Some(Offence::Invalid),
                }
            }
        }
        if let Some(offence) = offence {
            self.report(node, offence);
        }
        self.conclude(query);
    }

    /// Ends a search whose replies have all arrived.
    fn conclude(&mut self, query: QueryId) {
        let is_done = self
            .provide
            .searches
            .get(&query)
            .is_some_and(|search| search.is_over && search.waiting == 0);
        if is_done && let Some(search) = self.provide.searches.remove(&query) {
            let _ = search.answer.send(search.found);
        }
    }

    /// Ends searches that have reached their deadline.
    pub(super) fn end_searches(&mut self) {
        let now = Instant::now();
        let late: Vec<_> = self
            .provide
            .searches
            .iter()
            .filter(|(_, search)| search.until <= now)
            .map(|(&id, _)| id)
            .collect();
        for query in late {
            if let Some(search) = self.provide.searches.remove(&query) {
                let _ = search.answer.send(search.found);
            }
        }
    }

    /// Stores a provider record of another node. The store bounds their number.
    pub(super) fn keep_record(&mut self, record: kad::ProviderRecord) {
        use kad::store::RecordStore as _;
        let _ = self.swarm.behaviour_mut().discovery.store_mut().add_provider(record);
    }
}

fn key(root: BlobHash) -> RecordKey {
    RecordKey::new(&root.0)
}

/// Returns wall-clock time, by which terms are measured.
fn wall_clock() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(0).after(since)
}

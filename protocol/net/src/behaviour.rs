//! The libp2p protocols of the control plane, and their configuration.

use std::{collections::HashSet, time::Duration};

use libp2p::{
    StreamProtocol, allow_block_list, connection_limits,
    gossipsub::{self, IdentTopic, IdentityTransform, WhitelistSubscriptionFilter},
    identify,
    identity::Keypair,
    kad, ping, request_response,
    swarm::NetworkBehaviour,
};

use crate::{ChainTag, Limits, Topic, announce::CLAIM_MAX, codec::Codec, streams};

/// Largest gossip message of this node, in bytes. Larger content is gossiped by hash and requested.
pub(crate) const GOSSIP_BYTES_MAX: usize = 16 << 10;
/// Largest gossip packet on the wire: a few messages and control data together.
const PACKET_BYTES_MAX: usize = 64 << 10;

pub(crate) type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// All protocols of a connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) banned: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) discovery: kad::Behaviour<kad::store::MemoryStore>,
    pub(crate) gossip: Gossip,
    pub(crate) requests: request_response::Behaviour<Codec>,
    pub(crate) claims: request_response::Behaviour<Codec>,
    pub(crate) direct: streams::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(key: &Keypair, chain: &ChainTag, limits: &Limits, agent: String) -> Self {
        let peer = key.public().to_peer_id();
        let mut discovery = kad::Behaviour::with_config(
            peer,
            kad::store::MemoryStore::with_config(peer, store_config()),
            kad_config(chain.protocol("discovery"), &peer),
        );
        // By default, kad waits until a peer confirms our address, which never happens on one machine.
        discovery.set_mode(Some(kad::Mode::Server));
        let codec = Codec {
            request_bytes_max: limits.message_bytes_max,
            response_bytes_max: limits.response_bytes_max,
        };
        let requests = request_response::Config::default()
            .with_request_timeout(limits.request_timeout)
            .with_max_concurrent_streams(32);
        let both = request_response::ProtocolSupport::Full;
        Self {
            limits: connection_limits::Behaviour::new(connection_limits(limits)),
            banned: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(
                identify::Config::new(chain.greeting(), key.public()).with_agent_version(agent),
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(10))),
            discovery,
            gossip: gossip(key, chain),
            requests: request_response::Behaviour::with_codec(
                codec,
                [(chain.protocol("request"), both.clone())],
                requests.clone(),
            ),
            claims: request_response::Behaviour::with_codec(
                Codec {
                    request_bytes_max: 32,
                    response_bytes_max: CLAIM_MAX,
                },
                [(chain.protocol("claim"), both)],
                requests,
            ),
            direct: streams::Behaviour::new(chain.protocol("direct")),
        }
    }
}

/// Returns the topic of announcements. They are checked in this crate and never reach the node unverified.
pub(crate) fn announcements(chain: &ChainTag) -> IdentTopic {
    IdentTopic::new(chain.prefix() + "/announcements")
}

pub(crate) fn topic(chain: &ChainTag, topic: Topic) -> IdentTopic {
    IdentTopic::new(chain.topic(topic))
}

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(32))
        .with_max_pending_outgoing(Some(32))
        .with_max_established(Some(limits.peers_max.saturating_mul(2)))
        .with_max_established_incoming(Some(limits.peers_max))
        // Two nodes that dial each other at once have two connections for a while. With one allowed, each may close
        // the other's.
        .with_max_established_per_peer(Some(3))
}

fn store_config() -> kad::store::MemoryStoreConfig {
    kad::store::MemoryStoreConfig {
        // No values are stored, only provider records.
        max_records: 0,
        max_provided_keys: 65_536,
        ..kad::store::MemoryStoreConfig::default()
    }
}

fn kad_config(protocol: StreamProtocol, me: &libp2p::PeerId) -> kad::Config {
    let mut config = kad::Config::new(protocol);
    // 12 hours ± 2, derived from our own id, so that nodes started together do not republish together.
    let rng = u64::from(me.to_bytes().last().copied().unwrap_or(0));
    let republish = Duration::from_secs(10 * 3600 + rng * 4 * 3600 / 255);
    config
        .set_provider_publication_interval(Some(republish))
        .set_query_timeout(Duration::from_secs(20))
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(60)))
        // Addresses come from `identify`, and only from peers on our chain.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth);
    config
}

fn gossip(key: &Keypair, chain: &ChainTag) -> Gossip {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(chain.prefix() + "/gossip")
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(PACKET_BYTES_MAX)
        // Votes go to all subscribed peers at once, independent of the mesh.
        .flood_publish(true)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_millis(500))
        // After a partition heals, repeated messages must be accepted again.
        .duplicate_cache_time(Duration::from_secs(10))
        .forward_queue_duration(Duration::from_secs(5))
        .build()
        .expect("constants");
    let topics: Vec<_> = Topic::ALL
        .map(|name| topic(chain, name))
        .into_iter()
        .chain([announcements(chain)])
        .collect();
    let filter = WhitelistSubscriptionFilter(topics.iter().map(IdentTopic::hash).collect::<HashSet<_>>());
    let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut gossip = Gossip::new_with_subscription_filter(signed, config, filter).expect("signing and strict agree");
    gossip
        .with_peer_score(score(), gossipsub::PeerScoreThresholds::default())
        .expect("constants");
    for topic in &topics {
        gossip
            .set_topic_params(topic.clone(), topic_score())
            .expect("scoring is on");
        gossip.subscribe(topic).expect("our own filter lets it pass");
    }
    gossip
}

/// Identical bytes on a topic are one message, whoever publishes them.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let mut hash = blake3::Hasher::new();
    hash.update(message.topic.as_str().as_bytes());
    hash.update(&[0]);
    hash.update(&message.data);
    gossipsub::MessageId::from(hash.finalize().as_bytes()[..20].to_vec())
}

fn score() -> gossipsub::PeerScoreParams {
    gossipsub::PeerScoreParams {
        // Offence points count little here. A ban, at 100 points, must come before gossipsub graylists a peer at -80:
        // a graylisted peer would keep its connection slot.
        app_specific_weight: 0.2,
        // Many nodes behind one address may be a laboratory or a company; connections are limited elsewhere.
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        ..gossipsub::PeerScoreParams::default()
    }
}

/// Small rewards, and penalties for invalid messages only. Silence is no offence: a chain without transactions is
/// quiet.
fn topic_score() -> gossipsub::TopicScoreParams {
    gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // Multiplied by the square of the count. Five in quick succession are a ban; this silences peers that are
        // wrong slowly and for long.
        invalid_message_deliveries_weight: -2.0,
        invalid_message_deliveries_decay: 0.99,
        ..gossipsub::TopicScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_every_protocol_are_consistent() {
        let key = crate::identity::keypair([1; 32]);
        let chain = ChainTag {
            chain_id: 1,
            genesis: [2; 32],
        };
        let behaviour = Behaviour::new(&key, &chain, &Limits::default(), "openledger/test".to_owned());
        assert_eq!(behaviour.gossip.topics().count(), 4);
    }

    #[test]
    fn the_same_bytes_on_two_topics_are_two_messages() {
        let named = |topic: &str, data: &[u8]| {
            let topic = IdentTopic::new(topic).hash();
            message_id(&gossipsub::Message {
                source: None,
                data: data.to_vec(),
                sequence_number: None,
                topic,
            })
        };
        assert_eq!(named("a", b"x"), named("a", b"x"));
        assert_ne!(named("a", b"x"), named("b", b"x"));
    }
}

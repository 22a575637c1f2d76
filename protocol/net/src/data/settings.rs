//! What the data plane is started with, the names of its protocols, and what it counts.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};

use protocol::DatanetId;

use crate::Seed;

/// What a data plane needs to start.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// The seed of the control plane, so that both know this node by one name.
    pub seed: Seed,
    /// Where to listen, one UDP socket for each; port 0 takes a free one.
    pub bind: Vec<SocketAddr>,
    /// A relay of the operator's own, such as `https://relay.example`; none is used otherwise.
    pub relay: Option<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Bytes a second to send at most, all peers together.
    pub upload_per_s: Option<NonZeroU64>,
    /// Bytes a second to fetch at most, all providers together.
    pub download_per_s: Option<NonZeroU64>,
    /// What may be many, and how many.
    pub limits: DataLimits,
}

impl DataConfig {
    /// A node that listens on a free loopback port and limits no rate.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed: Seed(seed),
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            relay: None,
            mdns: false,
            upload_per_s: None,
            download_per_s: None,
            limits: DataLimits::default(),
        }
    }
}

/// Bounds on what peers can make this node hold.
#[derive(Clone, Copy, Debug)]
pub struct DataLimits {
    /// Incoming connections at once.
    pub connections_max: usize,
    /// Incoming connections of one peer at once.
    pub connections_per_peer_max: usize,
    /// Requests of one peer that are served at once; the rest wait.
    pub streams_per_peer_max: usize,
    /// Hashes that one request may name.
    pub hashes_per_request_max: usize,
    /// How long a peer may take to say what it wants.
    pub request_within: Duration,
    /// How long to wait for a peer to answer a call.
    pub connect_within: Duration,
    /// How long an outgoing connection is kept without use.
    pub idle: Duration,
    /// Bytes a second to fetch from one provider at most, whatever is fetched from it.
    pub download_per_provider_per_s: Option<NonZeroU64>,
}

impl Default for DataLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_peer_max: 8,
            streams_per_peer_max: 64,
            hashes_per_request_max: 1024,
            request_within: Duration::from_secs(10),
            connect_within: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            download_per_provider_per_s: None,
        }
    }
}

/// Names what is spoken on a connection. Who is admitted to one is not thereby admitted to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alpn(pub(crate) Vec<u8>);

impl Alpn {
    /// Where blobs for everybody are served.
    pub fn public() -> Self {
        Self(iroh_blobs::ALPN.to_vec())
    }

    /// Where one permissioned datanet is served. The name goes over the wire in the clear, so it is a digest.
    pub fn datanet(datanet: DatanetId) -> Self {
        let digest = protocol::crypto::digest("openledger/alpn/datanet/1", &[&datanet.0]);
        Self(format!("openledger/datanet/1/{}", crate::settings::hex(&digest[..16])).into_bytes())
    }

    /// Where byte streams of one kind are exchanged, such as `tokens/1`.
    pub fn stream(kind: &str) -> Self {
        Self(format!("openledger/stream/{kind}").into_bytes())
    }
}

impl std::fmt::Debug for Alpn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alpn({})", String::from_utf8_lossy(&self.0))
    }
}

crate::metrics::counters! {
    /// Counts of the data plane since its start.
    DataMetrics, DataCounters {
        bytes_served: "Bytes sent to peers that fetch, proofs included.",
        bytes_fetched: "Verified bytes fetched.",
        connections_in: "Incoming data connections served.",
        connections_refused: "Data connections refused: not admitted, too many, or of an unknown protocol.",
        connections_revoked: "Data connections closed because their peer was revoked.",
        requests_served: "Requests for blobs served.",
        requests_refused: "Requests for blobs refused: not admitted, or of a kind that is not served.",
        providers_blamed: "Providers that sent what is not so.",
        providers_dropped: "Providers given up: slow, silent, refusing or gone.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datanet_has_a_protocol_of_its_own_and_does_not_name_itself() {
        let (one, two) = (Alpn::datanet(DatanetId([1; 32])), Alpn::datanet(DatanetId([2; 32])));
        assert!(one != two && one != Alpn::public());
        assert!(!format!("{one:?}").contains("0101"), "{one:?}");
    }
}

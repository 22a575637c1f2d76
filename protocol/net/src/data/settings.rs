//! The data plane's configuration, protocol names and counters.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};

use protocol::DatanetId;

use crate::Seed;

/// The configuration of [`crate::data::DataPlane::start`].
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// The seed of the control plane, so that both planes have the same node id.
    pub seed: Seed,
    /// Listen addresses, one UDP socket each. Port 0 picks a free port.
    pub bind: Vec<SocketAddr>,
    /// The operator's own relay, such as `https://relay.example`; `None` for no relay.
    pub relay: Option<String>,
    /// Discover peers on the local network.
    pub mdns: bool,
    /// Upload limit in bytes per second, for all peers together.
    pub upload_per_s: Option<NonZeroU64>,
    /// Download limit in bytes per second, for all providers together.
    pub download_per_s: Option<NonZeroU64>,
    pub limits: DataLimits,
}

impl DataConfig {
    /// Returns a configuration that listens on a free loopback port, without rate limits.
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

/// Bounds on the resources that peers can take.
#[derive(Clone, Copy, Debug)]
pub struct DataLimits {
    /// Most incoming connections.
    pub connections_max: usize,
    /// Most incoming connections of one peer.
    pub connections_per_peer_max: usize,
    /// Most requests of one peer that are served at once; further ones wait.
    pub streams_per_peer_max: usize,
    /// Most hashes in one request.
    pub hashes_per_request_max: usize,
    /// Time for a peer to send its request after opening a stream.
    pub request_within: Duration,
    /// Time to establish a connection.
    pub connect_within: Duration,
    /// Time after which an unused outgoing connection is closed.
    pub idle: Duration,
    /// Download limit in bytes per second for each provider.
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

/// An ALPN protocol name. Admission to one protocol gives no rights on another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alpn(pub(crate) Vec<u8>);

impl Alpn {
    /// Returns the protocol for public blobs.
    pub fn public() -> Self {
        Self(iroh_blobs::ALPN.to_vec())
    }

    /// Returns the protocol of one permissioned datanet. The name is visible on the wire, so it holds a digest and not
    /// the id.
    ///
    /// ```
    /// use net::data::Alpn;
    /// use protocol::DatanetId;
    ///
    /// assert_ne!(Alpn::datanet(DatanetId([1; 32])), Alpn::datanet(DatanetId([2; 32])));
    /// ```
    pub fn datanet(datanet: DatanetId) -> Self {
        let digest = protocol::crypto::digest("openledger/alpn/datanet/1", &[&datanet.0]);
        Self(format!("openledger/datanet/1/{}", crate::settings::hex(&digest[..16])).into_bytes())
    }

    /// Returns the protocol for byte streams of one kind, such as `tokens/1`.
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
    /// A snapshot of the data plane's counters.
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
    fn every_datanet_has_a_protocol_that_does_not_reveal_its_id() {
        let (one, two) = (Alpn::datanet(DatanetId([1; 32])), Alpn::datanet(DatanetId([2; 32])));
        assert!(one != two && one != Alpn::public());
        assert!(!format!("{one:?}").contains("0101"), "{one:?}");
    }
}

//! Counters of the control plane. Every dropped message is counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares counters once, each with its name and its help text for Prometheus.
///
/// `counters! { /// Docs. Metrics, Counters { sent: "Messages sent.", } }` gives `Metrics { pub sent: u64 }`, a snapshot,
/// with `Metrics::each`, which lists `("sent", "Messages sent.", value)`, and `Counters { sent: Counter }`, the counters
/// themselves.
macro_rules! counters {
    ($(#[$about:meta])* $metrics:ident, $counters:ident { $($name:ident: $help:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $metrics { $(#[doc = $help] pub $name: u64,)* }

        impl $metrics {
            /// Returns name, help text and value of each counter.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)*]
            }
        }

        #[derive(Debug, Default)]
        pub(crate) struct $counters { $(pub(crate) $name: $crate::metrics::Counter,)* }

        impl $counters {
            pub(crate) fn read(&self) -> $metrics {
                $metrics { $($name: self.$name.read(),)* }
            }
        }
    };
}
pub(crate) use counters;

counters! {
    /// A snapshot of the control plane's counters.
    Metrics, Counters {
        gossip_sent: "Gossip messages published.",
        gossip_received: "Gossip messages received for the first time.",
        gossip_duplicate: "Gossip messages not published: the same bytes went out moments before.",
        gossip_unsent: "Gossip messages not published: nobody listens, or queues are full.",
        gossip_queues_full: "Gossip messages not published: the queues to all peers were full.",
        announcements_sent: "Announcements of this node's own that went out.",
        announcements_received: "Announcements of others that count.",
        announcements_rejected: "Announcements that were expired, replayed, ill-signed or malformed.",
        announcements_limited: "Announcements not heard: their author makes too many.",
        claims_refused: "Claims of this node's own that found no room.",
        gossip_dropped: "Gossip messages dropped unread: the node was behind.",
        gossip_rejected: "Gossip messages rejected.",
        gossip_oversize: "Gossip messages longer than allowed.",
        slow_peers: "Times a peer read gossip too slowly.",
        direct_sent: "Direct messages sent.",
        direct_received: "Direct messages received.",
        direct_dropped: "Direct messages dropped: the peer's queue was full, or it went away.",
        oversize: "Direct messages and requests longer than allowed.",
        requests_sent: "Requests sent.",
        requests_failed: "Requests sent in vain.",
        requests_received: "Requests received.",
        requests_dropped: "Requests dropped unread: the node was behind.",
        responses_dropped: "Responses that came too late, or for a peer that went away.",
        foreign_peers: "Connections to nodes of another chain.",
        connections_refused: "Connections refused because there are enough.",
        bans: "Peers banned.",
        dials_failed: "Addresses that could not be reached.",
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

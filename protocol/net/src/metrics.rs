//! What is counted. Nothing is dropped without a trace.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters once, e.g. `counters! { /// Docs. sent }` gives `Metrics { pub sent: u64 }`, what a reader sees,
/// and `Counters { sent: Counter }`, what the network counts with.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metrics { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Gossip published.
    gossip_sent,
    /// Gossip received for the first time.
    gossip_received,
    /// Gossip not published: the same bytes went over the topic moments ago.
    gossip_duplicate,
    /// Gossip not published: nobody listens, or all queues are full.
    gossip_unsent,
    /// Gossip not published: the queues to all peers were full.
    gossip_queues_full,
    /// Announcements made.
    announcements_sent,
    /// Announcements of others that count.
    announcements_received,
    /// Announcements that were expired, replayed, ill-signed or malformed.
    announcements_rejected,
    /// Announcements not heard: their author makes too many.
    announcements_limited,
    /// Claims of our own that found no room.
    claims_refused,
    /// Gossip received and not looked at: the node was behind.
    gossip_dropped,
    /// Gossip the node rejected.
    gossip_rejected,
    /// Gossip received that is longer than allowed.
    gossip_oversize,
    /// Times gossip to a peer failed because it reads too slowly.
    slow_peers,
    /// Direct messages handed to the transport.
    direct_sent,
    /// Direct messages received.
    direct_received,
    /// Direct messages dropped: the queue of the peer was full, or it went away.
    direct_dropped,
    /// Direct messages and requests refused: longer than allowed.
    oversize,
    /// Questions asked.
    requests_sent,
    /// Questions asked in vain.
    requests_failed,
    /// Questions received.
    requests_received,
    /// Questions received and not looked at: the node was behind.
    requests_dropped,
    /// Answers that came too late, or for a peer that went away.
    responses_dropped,
    /// Connections to nodes of another chain, or of other software.
    foreign_peers,
    /// Connections refused because there are enough.
    connections_refused,
    /// Peers banned.
    bans,
    /// Addresses that could not be reached.
    dials_failed,
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
}

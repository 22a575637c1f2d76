//! An in-memory network for the simulator: no threads, no clock, no sockets, one seed.
//!
//! It carries bytes between numbered nodes, and loses, delays, duplicates and reorders them as its link settings say. Equal
//! seeds and equal calls give equal deliveries. A link preserves order, as a stream does, unless its settings reorder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use protocol::Time;

/// The behaviour of a link. Probabilities are in parts per million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Shortest and longest delay.
    pub delay: (Duration, Duration),
    /// Probability that a packet is lost.
    pub loss: u32,
    /// Probability that a packet arrives twice.
    pub duplicate: u32,
    /// Probability that a packet may overtake earlier ones.
    pub reorder: u32,
}

impl Default for Link {
    /// Returns a good link: one to five milliseconds, nothing lost.
    fn default() -> Self {
        Self {
            delay: (Duration::from_millis(1), Duration::from_millis(5)),
            loss: 0,
            duplicate: 0,
            reorder: 0,
        }
    }
}

/// A time span in which nodes of different groups cannot reach each other. The nodes in no group form one more group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub groups: Vec<BTreeSet<usize>>,
    pub from: Time,
    pub until: Time,
}

/// A packet that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub from: usize,
    pub to: usize,
    /// The payload; copies share it.
    pub bytes: Arc<[u8]>,
}

/// Counts of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Passed to [`MemNet::send`].
    pub sent: u64,
    /// Returned by [`MemNet::pop`].
    pub delivered: u64,
    /// Lost by chance, by a partition, or with a node that was cut off.
    pub lost: u64,
    /// Copies made by duplication.
    pub duplicated: u64,
}

/// A simulated network.
///
/// ```
/// use net::mem::{Link, MemNet};
/// use protocol::Time;
///
/// let mut net = MemNet::new(7, 2, Link::default());
/// net.send(Time(0), 0, 1, b"hello".to_vec());
/// let arrival = net.next_at().unwrap();
/// let packet = net.pop(arrival).unwrap();
/// assert_eq!((packet.from, packet.to, &packet.bytes[..]), (0, 1, &b"hello"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct MemNet {
    nodes: usize,
    link: Link,
    links: BTreeMap<(usize, usize), Link>,
    partitions: Vec<Partition>,
    /// Ordered by time of arrival, then by order of sending.
    in_flight: BTreeMap<(Time, u64), Packet>,
    /// Arrival time of the last packet that preserves order, for each link.
    last: BTreeMap<(usize, usize), Time>,
    sequence: u64,
    rng: u64,
    counts: PacketCounts,
}

impl MemNet {
    /// Creates a network of `nodes`, numbered from 0, with all links like `link`.
    pub fn new(seed: u64, nodes: usize, link: Link) -> Self {
        Self {
            nodes,
            link,
            links: BTreeMap::new(),
            partitions: Vec::new(),
            in_flight: BTreeMap::new(),
            last: BTreeMap::new(),
            sequence: 0,
            rng: seed,
            counts: PacketCounts::default(),
        }
    }

    /// Sets one direction of one link.
    pub fn set_link(&mut self, from: usize, to: usize, link: Link) {
        self.links.insert((from, to), link);
    }

    /// Sets every link, from now on.
    pub fn set_links(&mut self, link: Link) {
        self.links.clear();
        self.link = link;
    }

    /// Adds a partition. Several may be active at once.
    pub fn partition(&mut self, partition: Partition) {
        assert!(partition.from <= partition.until, "a partition ends after it begins");
        self.partitions.push(partition);
    }

    /// Sends to one node. A packet to the sender itself arrives at once and is never lost.
    pub fn send(&mut self, now: Time, from: usize, to: usize, bytes: impl Into<Arc<[u8]>>) {
        assert!(from < self.nodes && to < self.nodes, "there are {} nodes", self.nodes);
        self.counts.sent += 1;
        let packet = Packet {
            from,
            to,
            bytes: bytes.into(),
        };
        if from == to {
            self.enqueue(now, packet);
            return;
        }
        let link = self.links.get(&(from, to)).unwrap_or(&self.link).clone();
        // Every packet draws the same number of random values, so that changing one probability does not change other
        // packets' fates.
        let (is_lost, is_doubled, overtakes) = (
            self.chance(link.loss),
            self.chance(link.duplicate),
            self.chance(link.reorder),
        );
        let (first, second) = (self.delay(&link), self.delay(&link));
        if is_lost || self.is_cut(now, from, to) {
            self.counts.lost += 1;
            return;
        }
        if is_doubled {
            self.counts.duplicated += 1;
            self.enqueue(now.after(second), packet.clone());
        }
        let mut at = now.after(first);
        if !overtakes {
            let last = self.last.entry((from, to)).or_default();
            at = at.max(*last);
            *last = at;
        }
        self.enqueue(at, packet);
    }

    /// Sends to every node except the sender.
    pub fn broadcast(&mut self, now: Time, from: usize, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        for to in (0..self.nodes).filter(|&to| to != from) {
            self.send(now, from, to, bytes.clone());
        }
    }

    /// Returns the arrival time of the next packet.
    pub fn next_at(&self) -> Option<Time> {
        self.in_flight.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Returns the next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Time) -> Option<Packet> {
        loop {
            let first = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
            let ((at, _), packet) = first.remove_entry();
            // A partition that started after the packet was sent loses it too.
            if self.is_cut(at, packet.from, packet.to) {
                self.counts.lost += 1;
                continue;
            }
            self.counts.delivered += 1;
            return Some(packet);
        }
    }

    /// Loses the packets under way to and from a node, as when its process ends.
    pub fn cut_off(&mut self, node: usize) {
        let before = self.in_flight.len();
        self.in_flight
            .retain(|_, packet| packet.from != node && packet.to != node);
        self.last.retain(|&(from, to), _| from != node && to != node);
        self.counts.lost += (before - self.in_flight.len()) as u64;
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> PacketCounts {
        self.counts
    }

    fn enqueue(&mut self, at: Time, packet: Packet) {
        self.sequence += 1;
        self.in_flight.insert((at, self.sequence), packet);
    }

    fn is_cut(&self, at: Time, one: usize, other: usize) -> bool {
        let group = |partition: &Partition, node| partition.groups.iter().position(|group| group.contains(&node));
        self.partitions
            .iter()
            .filter(|partition| partition.from <= at && at < partition.until)
            .any(|partition| one != other && group(partition, one) != group(partition, other))
    }

    fn chance(&mut self, per_million: u32) -> bool {
        self.random() % 1_000_000 < u64::from(per_million)
    }

    fn delay(&mut self, link: &Link) -> Duration {
        let (shortest, longest) = (micros(link.delay.0), micros(link.delay.1));
        let spread = longest.saturating_sub(shortest).saturating_add(1);
        Duration::from_micros(shortest + self.random() % spread)
    }

    /// splitmix64: small, and identical on every platform.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Time = Time::from_secs(1_000);

    fn drain(net: &mut MemNet) -> Vec<(Time, Packet)> {
        let mut all = Vec::new();
        while let Some(at) = net.next_at() {
            all.extend(net.pop(at).map(|packet| (at, packet)));
        }
        all
    }

    fn rough() -> Link {
        Link {
            loss: 200_000,
            duplicate: 100_000,
            reorder: 300_000,
            ..Link::default()
        }
    }

    fn chatter(seed: u64) -> Vec<(Time, Packet)> {
        let mut net = MemNet::new(seed, 4, rough());
        for n in 0..200u64 {
            net.broadcast(
                Time(n * 500),
                usize::try_from(n % 4).expect("small"),
                n.to_le_bytes().to_vec(),
            );
        }
        drain(&mut net)
    }

    #[test]
    fn the_same_seed_delivers_the_same_packets_at_the_same_times() {
        assert_eq!(chatter(7), chatter(7));
        assert_ne!(chatter(7), chatter(8));
    }

    #[test]
    fn every_packet_sent_is_delivered_or_counted_as_lost() {
        let mut net = MemNet::new(3, 2, rough());
        (0..1000).for_each(|n| net.send(Time(n), 0, 1, vec![0]));
        drain(&mut net);
        let PacketCounts {
            sent,
            delivered,
            lost,
            duplicated,
        } = net.counts();
        assert_eq!(sent + duplicated, delivered + lost);
        assert!(
            (150..250).contains(&lost) && (50..150).contains(&duplicated),
            "{lost} lost, {duplicated} doubled"
        );
    }

    #[test]
    fn a_link_preserves_order_unless_it_reorders() {
        let order = |link| {
            let mut net = MemNet::new(1, 2, link);
            (0..100u8).for_each(|n| net.send(Time(0), 0, 1, vec![n]));
            drain(&mut net)
                .into_iter()
                .map(|(_, packet)| packet.bytes[0])
                .collect::<Vec<_>>()
        };
        assert!(order(Link::default()).is_sorted());
        assert!(
            !order(Link {
                reorder: 500_000,
                ..Link::default()
            })
            .is_sorted()
        );
    }

    #[test]
    fn a_partition_separates_groups_until_it_heals() {
        let mut net = MemNet::new(1, 3, Link::default());
        let groups = vec![BTreeSet::from([0, 1])];
        net.partition(Partition {
            groups,
            from: Time::from_secs(1),
            until: Time::from_secs(2),
        });
        let mut reaches = |at, from, to| {
            net.send(at, from, to, vec![1]);
            net.pop(FAR).is_some()
        };
        let (before, during, after) = (Time(0), Time::from_secs(1), Time::from_secs(2));
        assert!(reaches(before, 0, 2) && reaches(during, 0, 1) && reaches(during, 2, 2) && reaches(after, 2, 0));
        assert!(!reaches(during, 0, 2) && !reaches(during, 2, 1));
        // Under way when the partition starts.
        assert!(!reaches(Time(999_500), 0, 2));
    }

    #[test]
    fn packets_under_way_to_a_node_that_ends_are_lost() {
        let mut net = MemNet::new(1, 3, Link::default());
        net.broadcast(Time(0), 0, vec![1]);
        net.cut_off(2);
        assert_eq!(drain(&mut net).len(), 1);
        assert_eq!(net.counts().lost, 1);
    }
}

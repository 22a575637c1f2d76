//! The redial policy: which peers to dial, and when again. Pure: the time is an argument.
//!
//! Addresses given by the operator are dialled for ever, learned ones a few times. Delays double from a quarter of a second
//! to five, with a part that depends on our own id, so that nodes that lost each other do not dial at the same moment.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};
use protocol::Time;

const WAIT_MS: u64 = 250;
const WAIT_MS_MAX: u64 = 5_000;
const LEARNED_MAX: usize = 256;
const ADDRESSES_MAX: usize = 8;
/// Failures after which a learned peer is forgotten.
const FAILURES_MAX: u32 = 10;

/// The target of a dial attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Any peer that answers at this address.
    Address(Multiaddr),
    /// This peer, at any of its addresses.
    Peer(PeerId),
}

#[derive(Debug)]
struct Entry {
    addresses: Vec<Multiaddr>,
    /// The peer that answered there last.
    peer: Option<PeerId>,
    failures: u32,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting(Time),
    Dialing,
    Connected,
}

#[derive(Debug)]
pub(crate) struct Dialer {
    me: PeerId,
    entries: BTreeMap<Target, Entry>,
}

impl Dialer {
    pub(crate) fn new(me: PeerId) -> Self {
        Self {
            me,
            entries: BTreeMap::new(),
        }
    }

    /// Dials an address from now on, for ever.
    pub(crate) fn keep(&mut self, now: Time, address: Multiaddr) {
        let entry = Entry {
            addresses: vec![address.clone()],
            peer: None,
            failures: 0,
            state: State::Waiting(now),
        };
        self.entries.entry(Target::Address(address)).or_insert(entry);
    }

    /// Adds an address that a peer announced.
    pub(crate) fn learn(&mut self, now: Time, peer: PeerId, address: Multiaddr, connected: bool) {
        if peer == self.me || (self.entries.len() >= LEARNED_MAX && !self.entries.contains_key(&Target::Peer(peer))) {
            return;
        }
        let state = if connected {
            State::Connected
        } else {
            State::Waiting(now)
        };
        let entry = self.entries.entry(Target::Peer(peer)).or_insert_with(|| Entry {
            addresses: Vec::new(),
            peer: Some(peer),
            failures: 0,
            state,
        });
        if !entry.addresses.contains(&address) {
            if entry.addresses.len() >= ADDRESSES_MAX {
                entry.addresses.remove(0);
            }
            entry.addresses.push(address);
        }
    }

    /// Returns the targets to dial now. They count as being dialled until `connected` or `failed` is called.
    pub(crate) fn due(&mut self, now: Time) -> Vec<(Target, Vec<Multiaddr>)> {
        let kept: Vec<_> = self
            .entries
            .iter()
            .filter(|(target, _)| matches!(target, Target::Address(_)))
            .filter_map(|(_, p)| p.peer)
            .collect();
        let mut due = Vec::new();
        for (target, entry) in &mut self.entries {
            // One attempt is enough if an operator's address leads to the same peer.
            let doubled = matches!(target, Target::Peer(peer) if kept.contains(peer));
            if matches!(entry.state, State::Waiting(at) if at <= now) && !doubled {
                entry.state = State::Dialing;
                due.push((target.clone(), entry.addresses.clone()));
            }
        }
        due
    }

    /// A dial reached `peer`, or `peer` dialled us (`target` is `None`).
    pub(crate) fn connected(&mut self, target: Option<&Target>, peer: PeerId) {
        if let Some(entry) = target.and_then(|target| self.entries.get_mut(target)) {
            entry.peer = Some(peer);
        }
        for entry in self.entries.values_mut().filter(|entry| entry.peer == Some(peer)) {
            entry.state = State::Connected;
            entry.failures = 0;
        }
    }

    /// The last connection to a peer closed.
    pub(crate) fn disconnected(&mut self, now: Time, peer: PeerId) {
        let me = self.me;
        for (target, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.peer == Some(peer)) {
            entry.state = State::Waiting(now.after_ms(wait_ms(&me, target, entry.failures)));
        }
    }

    /// A dial failed.
    pub(crate) fn failed(&mut self, now: Time, target: &Target) {
        let Some(entry) = self.entries.get_mut(target) else {
            return;
        };
        entry.failures = entry.failures.saturating_add(1);
        if matches!(target, Target::Peer(_)) && entry.failures > FAILURES_MAX {
            self.entries.remove(target);
            return;
        }
        entry.state = State::Waiting(now.after_ms(wait_ms(&self.me, target, entry.failures)));
    }

    /// The peer is on another chain: dial it rarely.
    pub(crate) fn foreign(&mut self, peer: PeerId) {
        for entry in self.entries.values_mut().filter(|entry| entry.peer == Some(peer)) {
            entry.failures = FAILURES_MAX;
        }
    }

    /// Never dial this target again: the address is our own, or the peer is banned.
    pub(crate) fn forget(&mut self, target: &Target) {
        self.entries.remove(target);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

fn wait_ms(me: &PeerId, target: &Target, failures: u32) -> u64 {
    let wait = (WAIT_MS << failures.min(16)).min(WAIT_MS_MAX);
    let hash = blake3::hash(format!("{me}/{target:?}/{failures}").as_bytes());
    let rng = u64::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]));
    wait / 2 + wait * rng / (2 * u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        crate::identity::keypair([n; 32]).public().to_peer_id()
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address")
    }

    #[test]
    fn an_operator_address_is_dialled_for_ever_with_growing_delays() {
        let mut dialer = Dialer::new(peer(1));
        dialer.keep(Time(0), address(1));
        let (mut now, mut waits) = (Time(0), Vec::new());
        for _ in 0..30 {
            let before = now;
            while dialer.due(now).is_empty() {
                now = now.after_ms(1);
            }
            waits.push(now.since(before).as_millis());
            dialer.failed(now, &Target::Address(address(1)));
        }
        assert_eq!(waits[0], 0);
        assert!(waits[1..].iter().all(|wait| (125..=5001).contains(wait)), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| *wait >= 2500), "{waits:?}");
    }

    #[test]
    fn a_learned_peer_that_never_answers_is_forgotten() {
        let mut dialer = Dialer::new(peer(1));
        dialer.learn(Time(0), peer(2), address(2), false);
        for n in 0..20 {
            dialer.due(Time::from_secs(n * 60));
            dialer.failed(Time::from_secs(n * 60), &Target::Peer(peer(2)));
        }
        assert_eq!(dialer.len(), 0);
    }

    #[test]
    fn a_peer_known_by_address_and_id_is_dialled_once() {
        let mut dialer = Dialer::new(peer(1));
        dialer.keep(Time(0), address(1));
        assert_eq!(dialer.due(Time(0)).len(), 1);
        dialer.connected(Some(&Target::Address(address(1))), peer(2));
        dialer.learn(Time(0), peer(2), address(1), true);
        assert_eq!(dialer.due(Time::from_secs(60)), [], "it is there");
        dialer.disconnected(Time::from_secs(60), peer(2));
        assert_eq!(dialer.due(Time::from_secs(60)), [], "not at once");
        assert_eq!(
            dialer.due(Time::from_secs(61)),
            [(Target::Address(address(1)), vec![address(1)])]
        );
    }

    #[test]
    fn own_addresses_are_ignored_and_addresses_are_bounded() {
        let mut dialer = Dialer::new(peer(1));
        dialer.learn(Time(0), peer(1), address(1), false);
        assert_eq!(dialer.len(), 0);
        for port in 0..20 {
            dialer.learn(Time(0), peer(2), address(port), false);
        }
        assert_eq!(dialer.due(Time(0))[0].1.len(), ADDRESSES_MAX);
    }
}

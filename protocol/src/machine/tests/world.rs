//! One owner, its auditor and a dozen hosts over a network that delays, drops and repeats, all under one seed.
//!
//! Some hosts are honest, some vanish, some lose what they stored and some sign false proofs. Whatever the seed: in the end
//! as many honest hosts as were wanted hold a copy, no honest host ever lost the deal, every challenged liar is out with its
//! own signature as evidence, and no more was paid than was earned.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::crypto::digest;

const HOSTS: u8 = 12;
const COPIES: u16 = 3;
const EPOCHS: u64 = 30;
const EPOCH_MS: u64 = 60_000;
const LOSS_PERCENT: u64 = 25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    /// Silent for ever from this epoch on.
    Vanishes(u64),
    /// Lost its disk from this epoch on, and answers no challenge.
    Loses(u64),
    /// Signs proofs that do not verify from this epoch on.
    Lies(u64),
    /// Registers with proofs that it does not have.
    Pretends,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Vanishes(_) => "vanishes",
            Self::Loses(_) => "loses",
            Self::Lies(_) => "lies",
            Self::Pretends => "pretends",
        }
    }
}

#[derive(Clone, Debug)]
enum Packet {
    Offer,
    Accept,
    Register(u32, Bundle),
    Registered(u32),
    Challenge(Beacon),
    Answer(Signed<StorageAnswer>, Bundle),
    Drop,
}

/// The receiver of a packet or a deadline: the owner with its auditor, or a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Owner,
    Host(u8),
}

struct World {
    seed: u64,
    rolls: u64,
    now: Time,
    epoch: u64,
    pin: Pin,
    audits: BTreeMap<u8, Audit>,
    hosts: BTreeMap<u8, (Kind, Option<Hosting>)>,
    /// Packets in flight by time of arrival; the number separates two at one time.
    network: BTreeMap<(Time, u64), (Party, u8, Packet)>,
    dropped: BTreeMap<u8, Dropped>,
    accused: BTreeSet<u8>,
    paid: BTreeMap<u8, u128>,
    held: BTreeMap<u8, u128>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            seed,
            rolls: 0,
            now: Time(0),
            epoch: 0,
            pin: Pin::new(deal(COPIES)),
            audits: BTreeMap::new(),
            hosts: BTreeMap::new(),
            network: BTreeMap::new(),
            dropped: BTreeMap::new(),
            accused: BTreeSet::new(),
            paid: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        for of in 1..=HOSTS {
            // Half of them are honest, so that there are always enough.
            let at = 2 + world.roll(EPOCHS - 10);
            let kind = match world.roll(4) {
                _ if of % 2 == 0 => Kind::Honest,
                0 => Kind::Vanishes(at),
                1 => Kind::Loses(at),
                2 => Kind::Lies(at),
                _ => Kind::Pretends,
            };
            world.hosts.insert(of, (kind, None));
        }
        world
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.rolls += 1;
        let drawn = digest(
            "openledger/test/world/1",
            &[&self.seed.to_be_bytes(), &self.rolls.to_be_bytes()],
        );
        u64::from_be_bytes(*drawn.first_chunk().unwrap()) % below
    }

    /// Sends a packet between the owner and `host`: late, sometimes never, sometimes twice.
    fn send(&mut self, to: Party, host: u8, packet: Packet) {
        let copies = match self.roll(100) {
            lost if lost < LOSS_PERCENT => 0,
            twice if twice > 95 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let at = self.now.after_ms(1 + self.roll(800));
            self.rolls += 1;
            self.network.insert((at, self.rolls), (to, host, packet.clone()));
        }
    }

    fn owner(&mut self, input: PinInput) {
        let mut todo = Vec::new();
        self.pin.step(self.now, input, &mut todo);
        for effect in todo {
            match effect {
                PinEffect::Seek { .. } => (1..=HOSTS).for_each(|of| self.owner(PinInput::Candidate(node(of)))),
                PinEffect::Offer(host) => self.send(Party::Host(named(host)), named(host), Packet::Offer),
                PinEffect::Registered(host) => {
                    let of = named(host);
                    let audit = || Audit::new(deal(COPIES), host, node(100), HERE);
                    self.audits.entry(of).or_insert_with(audit);
                }
                PinEffect::Acknowledge { host, part } => {
                    self.send(Party::Host(named(host)), named(host), Packet::Registered(part));
                }
                PinEffect::Pay { host, amount, .. } => *self.paid.entry(named(host)).or_default() += amount.0,
                PinEffect::Warn { .. } => (),
                PinEffect::Drop(host, why) => {
                    let of = named(host);
                    self.audits.remove(&of);
                    self.dropped.insert(of, why);
                    self.send(Party::Host(of), of, Packet::Drop);
                }
                PinEffect::Ended => panic!("seed {}: over too early", self.seed),
            }
        }
    }

    fn auditor(&mut self, of: u8, input: AuditInput) {
        let mut todo = Vec::new();
        let Some(audit) = self.audits.get_mut(&of) else { return };
        audit.step(self.now, input, &mut todo);
        for effect in todo {
            match effect {
                AuditEffect::Challenge(beacon) => self.send(Party::Host(of), of, Packet::Challenge(beacon)),
                AuditEffect::Verdict(receipt) => {
                    *self.held.entry(of).or_default() += u128::from(receipt.outcome == Outcome::Held);
                    let signed = Signed::new(receipt, &key(100), &HERE);
                    assert!(signed.is_authentic(&HERE));
                    let StorageReceipt {
                        host, epoch, outcome, ..
                    } = signed.message;
                    self.owner(PinInput::Audited { host, epoch, outcome });
                }
                AuditEffect::Accuse(evidence) => {
                    let beacon = evidence.answer.message.beacon;
                    assert!(evidence.proves(&deal(COPIES), &beacon, &HERE).is_ok());
                    self.accused.insert(of);
                }
            }
        }
    }

    fn host(&mut self, of: u8, input: HostInput) {
        let epoch = self.epoch;
        let (kind, Some(hosting)) = self.hosts.get_mut(&of).unwrap() else {
            return;
        };
        let (kind, mut todo) = (*kind, Vec::new());
        hosting.step(self.now, input, &mut todo);
        for effect in todo {
            match effect {
                HostEffect::Fetch | HostEffect::Unpin(_) => (),
                HostEffect::Prove(chunks) => {
                    let lost = matches!(kind, Kind::Loses(at) if at <= epoch);
                    let proven = if lost {
                        HostInput::Damaged
                    } else {
                        HostInput::Proven(prove(&chunks))
                    };
                    self.host(of, proven);
                }
                HostEffect::Register { part, bundle } => {
                    let bundle = if kind == Kind::Pretends {
                        spoiled(bundle)
                    } else {
                        bundle
                    };
                    self.send(Party::Owner, of, Packet::Register(part, bundle));
                }
                HostEffect::Answer(beacon, bundle) => {
                    let lies = matches!(kind, Kind::Lies(at) if at <= epoch);
                    let bundle = if lies { spoiled(bundle) } else { bundle };
                    let signed = answer(&deal(COPIES), of, beacon, &bundle);
                    self.send(Party::Owner, of, Packet::Answer(signed, bundle));
                }
            }
        }
    }

    fn offered(&mut self, of: u8) {
        let mut todo = Vec::new();
        let (now, (_, hosting)) = (self.now, self.hosts.get_mut(&of).unwrap());
        let fresh = hosting.as_ref().is_none_or(Hosting::is_over);
        if fresh {
            *hosting = Some(Hosting::take(deal(COPIES), node(of), now, &mut todo));
        }
        self.send(Party::Owner, of, Packet::Accept);
        if fresh {
            self.host(of, HostInput::Fetched);
        }
    }

    fn arrive(&mut self, to: Party, of: u8, packet: Packet) {
        let epoch = self.epoch;
        if to != Party::Owner && matches!(self.hosts[&of].0, Kind::Vanishes(at) if at <= epoch) {
            return;
        }
        match packet {
            Packet::Offer => self.offered(of),
            Packet::Accept => self.owner(PinInput::Accepted(node(of))),
            Packet::Register(part, bundle) => self.owner(PinInput::Registered {
                host: node(of),
                part,
                bundle,
            }),
            Packet::Registered(part) => self.host(of, HostInput::Registered { part }),
            Packet::Challenge(beacon) => self.host(of, HostInput::Challenged(beacon)),
            Packet::Answer(signed, bundle) => self.auditor(of, AuditInput::Answered(signed, bundle)),
            Packet::Drop => self.host(of, HostInput::Released),
        }
    }

    /// Returns the next event before `end`.
    fn happen(&mut self, end: Time) -> bool {
        let packet = self.network.keys().next().map(|(at, _)| *at);
        let pin = self.pin.deadline();
        let audit = self
            .audits
            .iter()
            .filter_map(|(of, audit)| Some((audit.deadline()?, *of)))
            .min();
        let host = self
            .hosts
            .iter()
            .filter_map(|(of, (_, host))| Some((host.as_ref()?.deadline()?, *of)))
            .min();
        let times = [packet, pin, audit.map(|(at, _)| at), host.map(|(at, _)| at)];
        let Some(at) = times.into_iter().flatten().min().filter(|at| *at < end) else {
            return false;
        };
        self.now = self.now.max(at);
        if packet == Some(at) {
            let (_, (to, of, packet)) = self.network.pop_first().unwrap();
            self.arrive(to, of, packet);
        } else if pin == Some(at) {
            self.owner(PinInput::Tick);
        } else if let Some((_, of)) = audit.filter(|(due, _)| *due == at) {
            self.auditor(of, AuditInput::Tick);
        } else if let Some((_, of)) = host {
            self.host(of, HostInput::Tick);
        }
        true
    }

    fn run(&mut self) {
        let most = 200_000;
        let mut happened = 0;
        for epoch in 0..EPOCHS {
            self.epoch = epoch;
            self.now = Time(0).after_ms(epoch * EPOCH_MS);
            if epoch == 0 {
                self.owner(PinInput::Tick);
            }
            for of in self.audits.keys().copied().collect::<Vec<_>>() {
                self.auditor(of, AuditInput::Epoch(beacon(epoch)));
            }
            while self.happen(Time(0).after_ms((epoch + 1) * EPOCH_MS)) {
                happened += 1;
                assert!(happened < most, "seed {}: it never rests", self.seed);
            }
        }
    }
}

fn named(node_id: NodeId) -> u8 {
    (1..=HOSTS).find(|of| node(*of) == node_id).unwrap()
}

fn spoiled(mut bundle: Bundle) -> Bundle {
    bundle.proofs[0].chunk[0] ^= 1;
    bundle
}

#[test]
fn the_wanted_copies_survive_vanishing_losing_and_lying_hosts() {
    let worlds = std::option_env!("PIN_WORLDS")
        .and_then(|worlds| worlds.parse().ok())
        .unwrap_or(12);
    let mut seen = BTreeSet::new();
    for seed in 0..worlds {
        let mut world = World::new(seed);
        world.run();
        let why = |world: &World| format!("seed {seed}: {:?} {:?}", world.dropped, world.pin);
        let whole = |of: u8| match world.hosts[&of].0 {
            Kind::Honest => true,
            Kind::Vanishes(at) | Kind::Loses(at) | Kind::Lies(at) => EPOCHS <= at,
            Kind::Pretends => false,
        };
        let holding: Vec<u8> = world.pin.holding().map(named).collect();
        assert_eq!(holding.len(), usize::from(COPIES), "{}", why(&world));
        assert!(holding.iter().all(|of| whole(*of)), "{}", why(&world));
        for (of, lost) in world.dropped.iter().filter(|(_, lost)| **lost != Dropped::Silent) {
            let kind = world.hosts[of].0;
            let deserved = match (kind, lost) {
                (Kind::Honest, _) => false,
                (Kind::Pretends, lost) => *lost == Dropped::BadRegistration,
                (Kind::Lies(_), lost) => *lost == Dropped::Lied,
                (Kind::Vanishes(_) | Kind::Loses(_), _) => true,
            };
            assert!(deserved, "{kind:?} lost the deal by {lost:?}: {}", why(&world));
            assert_eq!(world.accused.contains(of), *lost == Dropped::Lied, "{}", why(&world));
            seen.insert(kind.name());
        }
        // Every held epoch is paid once, and nothing else is.
        let paid: u128 = world.paid.values().sum();
        assert_eq!(world.pin.spent(), Amount(paid));
        for (of, held) in &world.held {
            assert_eq!(
                world.paid.get(of).copied().unwrap_or_default(),
                held * 10,
                "host {of}: {}",
                why(&world)
            );
        }
    }
    assert_eq!(seen.len(), 4, "the seeds no longer show every kind of fault");
}

#[test]
fn one_seed_replays_one_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.run();
        format!("{:?} {:?} {:?} {}", world.pin, world.dropped, world.paid, world.rolls)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

//! The simulated world: one queue of deliveries, timers, kills, restarts and transactions.

use std::sync::Arc;

use chain::genesis::development;
use consensus::node::{Effect, Input};
use evm::genesis::{ChainGenesis, Timing};
use net::mem::{MemNet, Packet, Partition};
use protocol::{
    Height, NodeId, Time, codec,
    crypto::{Domain, SecretKey},
    message::chain::ChainReply,
};

use crate::{
    byzantine::Behaviour,
    check::{Checker, Violation},
    dice::Dice,
    host::{Host, Outgoing, domain},
    plan::{CALM, Plan, Sabotage},
    wallet::Wallet,
};

/// Longest message between hosts, in bytes.
const PACKET_MAX: usize = 32 << 20;

/// A message between hosts.
#[derive(bincode::Encode, bincode::Decode)]
enum Wire {
    Gossip(Vec<u8>),
    Direct(Vec<u8>),
    Ask(u64, Vec<u8>),
    Answer(u64, Vec<u8>),
    Transactions(Vec<Vec<u8>>),
}

/// Summary of a run in which every invariant held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Hash of all events in order: equal for two runs exactly if they are the same.
    pub digest: [u8; 32],
    /// Height that all honest hosts reached.
    pub height: u64,
    /// Number of events processed.
    pub events: u64,
    /// Number of times that a host died.
    pub restarts: u64,
    /// Proofs of double signing in honest logs.
    pub evidence: usize,
    /// Transactions in final blocks.
    pub transactions: u64,
    /// Simulated time at the end.
    pub ended: Time,
    /// First and last height that the newcomer signed, if it signed any.
    pub newcomer: Option<(u64, u64)>,
}

/// A run in which an invariant was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub violation: Violation,
    /// Simulated time of the violation.
    pub at: Time,
}

struct World<'a> {
    plan: &'a Plan,
    genesis: ChainGenesis,
    domain: Domain,
    now: Time,
    hosts: Vec<Host>,
    net: MemNet,
    checker: Checker,
    wallet: Wallet,
    chaos: Dice,
    back_at: Vec<Option<Time>>,
    /// Number of effects after which a host that is to be killed dies; `None` for the others.
    doomed: Vec<Option<u64>>,
    kill_at: Option<Time>,
    pay_at: Time,
    /// Remaining steps of the newcomer, last first; true for staking, false for withdrawing.
    stakes: Vec<(Time, bool)>,
    calm: bool,
    trace: blake3::Hasher,
    report: Report,
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let mut world = World::new(plan);
    let done = world.run();
    let (at, mut report) = (world.now, world.report);
    report.digest = *world.trace.finalize().as_bytes();
    report.evidence = world.checker.evidence;
    report.ended = at;
    let newcomer = world.hosts.last().map(|host| host.key().validator());
    report.newcomer = newcomer.filter(|_| plan.newcomer.is_some()).and_then(|key| {
        let signed = world.checker.signed.get(&key)?;
        Some((signed.first()?.0, signed.last()?.0))
    });
    done.map(|()| report).map_err(|violation| Failure { violation, at })
}

fn seed_of(key: usize) -> [u8; 32] {
    [u8::try_from(key).expect("few validators") + 1; 32]
}

fn node_id(host: usize) -> NodeId {
    NodeId([u8::try_from(host).expect("few hosts"); 32])
}

fn host_of(node: NodeId) -> usize {
    usize::from(node.0[0])
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> Self {
        let count = plan.hosts.len();
        let keys: Vec<_> = (0..plan.founders())
            .map(|key| SecretKey::from_seed(seed_of(key)).validator())
            .collect();
        let timing = Timing {
            heartbeat_ms: 500,
            interval_min_ms: 10,
            propose_ms: 600,
            prevote_ms: 300,
            precommit_ms: 300,
            round_ms: 200,
        };
        let genesis = ChainGenesis::new(development(&keys, plan.epoch_length, timing))
            .expect("the development genesis keeps its own rules");
        let mut genesis = genesis;
        if plan.sabotage == Some(Sabotage::LeakedFees) {
            genesis.spec.fee_collector = None;
        }
        let mut net = MemNet::new(plan.seed, count, plan.links.link());
        for partition in &plan.partitions {
            let side = |side: u8| (0..count).filter(|host| partition.sides[*host] == side).collect();
            net.partition(Partition {
                groups: vec![side(0), side(1)],
                from: partition.from,
                until: partition.until,
            });
        }
        let host = |at: usize| Host::new(plan.hosts[at], seed_of(plan.keys[at]), plan.sabotage);
        let mut world = Self {
            plan,
            domain: domain(&genesis),
            now: Time(0),
            hosts: (0..count).map(host).collect(),
            net,
            checker: Checker::new(&genesis),
            wallet: Wallet::new(plan.seed),
            chaos: Dice::new(plan.seed, "chaos"),
            // Hosts start at different times.
            back_at: (0..count as u64).map(|host| Some(Time(host * 1000))).collect(),
            doomed: vec![None; count],
            kill_at: None,
            pay_at: Time(0),
            stakes: plan
                .newcomer
                .map_or(Vec::new(), |(joins, leaves)| vec![(leaves, false), (joins, true)]),
            calm: false,
            trace: blake3::Hasher::new(),
            report: Report::default(),
            genesis,
        };
        world.plan_kill();
        world
    }

    fn plan_kill(&mut self) {
        let every = self.plan.kill_every_us.filter(|_| !self.calm);
        self.kill_at = every.map(|every| Time(self.now.0 + self.chaos.between(every / 2, every * 3 / 2)));
    }

    fn run(&mut self) -> Result<(), Violation> {
        loop {
            let honest = || (0..self.hosts.len()).filter(|host| self.plan.is_honest(*host));
            let tips = || honest().map(|host| self.hosts[host].tip().0);
            self.report.height = tips().min().unwrap_or(0);
            if self.report.height >= self.plan.heights && self.now >= self.plan.calm_at {
                return Ok(());
            }
            if self.now >= self.plan.until {
                return Err(Violation::Stall(self.hosts.iter().map(|host| host.tip().0).collect()));
            }
            self.now = self.next_time().max(self.now);
            self.report.events += 1;
            if !self.calm && self.now >= self.plan.calm_at {
                self.calm_down();
            }
            if let Some(packet) = self.net.pop(self.now) {
                self.deliver(packet)?;
            } else {
                self.run_timers()?;
            }
        }
    }

    fn next_time(&self) -> Time {
        let nodes = self
            .hosts
            .iter()
            .filter_map(|host| host.up.as_ref().map(|up| up.node.deadline()));
        let others = self
            .back_at
            .iter()
            .copied()
            .flatten()
            .chain(self.kill_at)
            .chain(self.stakes.last().map(|(at, _)| *at))
            .chain(self.net.next_at());
        nodes.chain(others).fold(self.pay_at, Time::min)
    }

    /// Stops all faults: the network is good, hosts that are down start, none is killed any more.
    fn calm_down(&mut self) {
        self.calm = true;
        self.kill_at = None;
        self.net.set_links(CALM.link());
        self.doomed.fill(None);
        for back in self.back_at.iter_mut().flatten() {
            *back = self.now;
        }
    }

    fn run_timers(&mut self) -> Result<(), Violation> {
        if self.kill_at.is_some_and(|at| at <= self.now) {
            let victim = self.draw_host();
            if self.hosts[victim].up.is_some() {
                self.doomed[victim] = Some(self.chaos.between(0, 40));
            }
            self.plan_kill();
        }
        if self.pay_at <= self.now {
            self.pay_at = Time(self.now.0 + self.chaos.between(1, 2 * self.plan.transaction_every_us));
            let (raw, host) = (self.wallet.transfer(), self.draw_host());
            self.submit(host, vec![raw], true)?;
        }
        if let Some((_, joins)) = self.stakes.pop_if(|(at, _)| *at <= self.now) {
            let key = self.hosts[self.hosts.len() - 1].key().validator();
            let raw = if joins {
                self.wallet.register(key)
            } else {
                self.wallet.leave()
            };
            self.submit(0, vec![raw], true)?;
        }
        for host in 0..self.hosts.len() {
            if self.back_at[host].is_some_and(|at| at <= self.now) {
                self.back_at[host] = None;
                self.start(host)?;
            }
            let due = self.hosts[host]
                .up
                .as_ref()
                .is_some_and(|up| up.node.deadline() <= self.now);
            if due {
                self.feed(host, Input::Tick)?;
            }
        }
        Ok(())
    }

    fn draw_host(&mut self) -> usize {
        usize::try_from(self.chaos.between(0, self.hosts.len() as u64 - 1)).expect("an index fits")
    }

    fn start(&mut self, host: usize) -> Result<(), Violation> {
        let first = self.hosts[host]
            .start(self.now, &self.genesis)
            .map_err(|why| Violation::Broken(host, why))?;
        let (tip, shown) = (self.hosts[host].tip(), self.hosts[host].shown);
        if tip < shown {
            return Err(Violation::Lost {
                host,
                shown,
                found: tip,
            });
        }
        self.perform(host, first)?;
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.feed(host, Input::Connected(node_id(other)))?;
            self.feed(other, Input::Connected(node_id(host)))?;
        }
        Ok(())
    }

    fn feed(&mut self, host: usize, input: Input) -> Result<(), Violation> {
        let todo = self.hosts[host]
            .step(self.now, input)
            .map_err(|why| Violation::Broken(host, why))?;
        self.perform(host, todo)
    }

    fn submit(&mut self, host: usize, raw: Vec<Arc<[u8]>>, ours: bool) -> Result<(), Violation> {
        let Some(up) = &mut self.hosts[host].up else {
            return Ok(());
        };
        let known: Vec<_> = raw.iter().filter_map(|raw| up.tx_validator.admit(raw).ok()).collect();
        let mut todo = Vec::new();
        let done = up.node.submit(known, ours, &mut todo);
        done.map_err(|why| Violation::Broken(host, why.to_string()))?;
        self.perform(host, todo)
    }

    fn perform(&mut self, host: usize, todo: Vec<Effect>) -> Result<(), Violation> {
        for effect in todo {
            if self.dies(host) {
                return Ok(());
            }
            let key = self.hosts[host].key();
            let behaviour = self.hosts[host].behaviour;
            match self.hosts[host]
                .perform(effect)
                .map_err(|why| Violation::Broken(host, why))?
            {
                None => (),
                Some(Outgoing::Logged(height, entry)) => {
                    self.note(host, b"log", &entry);
                    if self.plan.is_honest(host) {
                        self.checker.logged(height, &entry)?;
                        self.count(height);
                    }
                }
                Some(Outgoing::Speak(effect)) if behaviour == Behaviour::Honest => self.speak(host, effect, None)?,
                Some(Outgoing::Speak(effect)) => {
                    for (effect, half) in behaviour.twist(effect, &key, &self.domain, &mut self.chaos) {
                        self.speak(host, effect, half)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, height: Height) {
        self.report.transactions = self.report.transactions.max(height.0);
    }

    fn dies(&mut self, host: usize) -> bool {
        match &mut self.doomed[host] {
            None => return false,
            Some(0) => (),
            Some(left) => {
                *left -= 1;
                return false;
            }
        }
        self.doomed[host] = None;
        let (power_cut, lose_state) = (
            self.chaos.chance(self.plan.power_cuts),
            self.chaos.chance(self.plan.state_lost),
        );
        let seed = self.chaos.draw();
        self.hosts[host].die(power_cut, lose_state, seed);
        self.net.cut_off(host);
        self.back_at[host] = Some(Time(self.now.0 + self.chaos.between(100_000, 2_000_000)));
        self.report.restarts += 1;
        true
    }

    fn note(&mut self, host: usize, what: &[u8], bytes: &[u8]) {
        self.trace.update(&self.now.0.to_be_bytes());
        self.trace.update(&(host as u64).to_be_bytes());
        self.trace.update(what);
        self.trace.update(bytes);
    }

    /// Sends an effect of a host to all others, or only to those whose numbers have this parity.
    fn speak(&mut self, host: usize, effect: Effect, half: Option<usize>) -> Result<(), Violation> {
        let to_all = |world: &mut Self, wire: &Wire| {
            let bytes: Arc<[u8]> = codec::encode(wire).into();
            for to in (0..world.hosts.len()).filter(|to| *to != host && half.is_none_or(|half| to % 2 == half)) {
                world.net.send(world.now, host, to, bytes.clone());
            }
        };
        match effect {
            Effect::Gossip(bytes) => {
                self.note(host, b"gossip", &bytes);
                if self.plan.is_honest(host) {
                    self.checker.said(self.hosts[host].key().validator(), &bytes)?;
                }
                to_all(self, &Wire::Gossip(bytes));
            }
            Effect::GossipTransactions(raw) => {
                let raw = raw.iter().map(|raw| raw.to_vec()).collect();
                to_all(self, &Wire::Transactions(raw));
            }
            Effect::SendAll(bytes) => to_all(self, &Wire::Direct(bytes)),
            Effect::Send(to, bytes) => self.send(host, host_of(to), &Wire::Direct(bytes)),
            Effect::Request { request_id, to, bytes } => self.send(host, host_of(to), &Wire::Ask(request_id, bytes)),
            // The host that asked is in the upper bits of its request_id.
            Effect::Reply(request_id, bytes) => self.answer(host, request_id, bytes),
            Effect::ReplyBlocks {
                request_id,
                from,
                count,
            } => {
                let up = self.hosts[host].up.as_ref().expect("a host that sends is up");
                let entries = up
                    .log
                    .iter_from(from)
                    .take(count as usize)
                    .map(|found| found.map(|(_, entry)| entry));
                let entries: Result<Vec<_>, _> = entries.collect();
                let entries = entries.map_err(|why| Violation::Broken(host, why.to_string()))?;
                self.answer(host, request_id, codec::encode(&ChainReply::Blocks(entries)));
            }
            Effect::Blame(whom, fault) => {
                let whom = host_of(whom);
                if self.plan.is_honest(host) && self.plan.is_honest(whom) {
                    return Err(Violation::Slander { by: host, whom, fault });
                }
            }
            other => unreachable!("{other:?} stays on the host"),
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: usize, wire: &Wire) {
        self.net.send(self.now, from, to, codec::encode(wire));
    }

    fn answer(&mut self, host: usize, request_id: u64, bytes: Vec<u8>) {
        let to = usize::try_from(request_id >> 48).expect("a host's number");
        self.send(host, to, &Wire::Answer(request_id & ((1 << 48) - 1), bytes));
    }

    fn deliver(&mut self, packet: Packet) -> Result<(), Violation> {
        let Packet { from, to, bytes } = packet;
        if self.hosts[to].up.is_none() {
            return Ok(());
        }
        let peer = node_id(from);
        match codec::decode(&bytes, PACKET_MAX).expect("the world packs what it unpacks") {
            Wire::Gossip(bytes) => self.feed(
                to,
                Input::Gossip {
                    id: self.report.events,
                    from: peer,
                    bytes,
                },
            ),
            Wire::Direct(bytes) => self.feed(to, Input::Direct { from: peer, bytes }),
            Wire::Ask(request_id, bytes) => {
                let request_id = (from as u64) << 48 | request_id;
                self.feed(
                    to,
                    Input::Request {
                        request_id,
                        from: peer,
                        bytes,
                    },
                )
            }
            Wire::Answer(request_id, bytes) => self.feed(
                to,
                Input::Reply {
                    request_id,
                    from: peer,
                    bytes: Some(bytes),
                },
            ),
            Wire::Transactions(raw) => self.submit(to, raw.into_iter().map(Into::into).collect(), false),
        }
    }
}

//! The plan of a simulated run: hosts, network, faults and attacks, all derived from the seed.

use std::time::Duration;

use protocol::Time;

use crate::{byzantine::Behaviour, dice::Dice};

/// Delays and faults of the network between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Fastest delivery, in microseconds.
    pub delay_min_us: u64,
    /// Slowest delivery, in microseconds.
    pub delay_max_us: u64,
    /// Lost messages, per thousand.
    pub lost: u32,
    /// Messages delivered twice, per thousand.
    pub doubled: u32,
    /// Messages that may overtake earlier ones, per thousand.
    pub reordered: u32,
}

impl Links {
    /// The same settings in the units of the network.
    pub fn link(self) -> net::mem::Link {
        let us = Duration::from_micros;
        net::mem::Link {
            delay: (us(self.delay_min_us), us(self.delay_max_us)),
            loss: self.lost * 1000,
            duplicate: self.doubled * 1000,
            reorder: self.reordered * 1000,
        }
    }
}

/// A network partition: while it lasts, hosts of one side receive only from their own side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub from: Time,
    pub until: Time,
    /// The side of each host.
    pub sides: Vec<u8>,
}

/// A bug planted in every honest host, to test that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The journal is written and never synced.
    UnsyncedJournal,
    /// The journal is not written.
    NoJournal,
    /// The block log is written and never synced.
    UnsyncedLog,
    /// A node that restarts ignores its journal.
    IgnoredJournal,
    /// Every block is accepted without being executed.
    BlindExecutor,
    /// Base fees vanish instead of being collected.
    LeakedFees,
}

impl Sabotage {
    /// Every kind of planted bug.
    pub const ALL: [Self; 6] = [
        Self::UnsyncedJournal,
        Self::NoJournal,
        Self::UnsyncedLog,
        Self::IgnoredJournal,
        Self::BlindExecutor,
        Self::LeakedFees,
    ];
}

/// The plan of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All random decisions during the run are drawn from it.
    pub seed: u64,
    /// The behaviour of each host.
    pub hosts: Vec<Behaviour>,
    /// Index of the validator key of each host; two hosts with the same key are twins.
    pub keys: Vec<usize>,
    /// The network while there are faults.
    pub links: Links,
    pub partitions: Vec<Partition>,
    /// Mean time between kills; `None` for no kills.
    pub kill_every_us: Option<u64>,
    /// Kills that are power cuts, per thousand; a power cut loses and tears unsynced writes.
    pub power_cuts: u64,
    /// Restarts that find the state database deleted, per thousand.
    pub state_lost: u64,
    /// Mean time between transactions.
    pub transaction_every_us: u64,
    pub epoch_length: u64,
    /// Time at which faults stop; from then on all honest hosts must make progress.
    pub calm_at: Time,
    /// Height that every honest host must reach.
    pub heights: u64,
    /// Time by which they must have reached it.
    pub until: Time,
    /// The bug that is planted, if any.
    pub sabotage: Option<Sabotage>,
    /// Times at which the last host, which is no validator in genesis, stakes and withdraws its stake.
    pub newcomer: Option<(Time, Time)>,
}

/// The network after faults have stopped.
pub const CALM: Links = Links {
    delay_min_us: 100,
    delay_max_us: 300,
    lost: 0,
    doubled: 0,
    reordered: 0,
};

impl Plan {
    /// A random plan: four to seven hosts, fewer than a third of them Byzantine, and a faulty network.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let count = dice.pick(&[4, 4, 4, 5, 7]);
        let mut hosts = vec![Behaviour::Honest; count];
        let liars = (count - 1) / 3;
        for liar in hosts.iter_mut().take(liars) {
            if dice.chance(600) {
                *liar = dice.pick(&Behaviour::LIARS);
            }
        }
        let (low, high) = dice.pick(&[(100, 300), (1_000, 20_000), (20_000, 120_000)]);
        let links = Links {
            delay_min_us: low,
            delay_max_us: high,
            lost: dice.pick(&[0, 10, 50, 150]),
            doubled: dice.pick(&[0, 20, 100]),
            reordered: dice.pick(&[0, 100, 500]),
        };
        let calm_at = Time(dice.between(2_000_000, 9_000_000));
        let mut partitions = Vec::new();
        if dice.chance(400) {
            let from = Time(dice.between(0, 3_000_000));
            let from = from.min(calm_at);
            let until = Time(from.0 + dice.between(500_000, 4_000_000)).min(calm_at);
            let sides = (0..count).map(|_| u8::from(dice.one_in(2))).collect();
            partitions.push(Partition { from, until, sides });
        }
        Self {
            seed,
            keys: (0..count).collect(),
            hosts,
            links,
            partitions,
            kill_every_us: dice.chance(600).then(|| dice.between(600_000, 3_000_000)),
            power_cuts: dice.pick(&[0, 500, 1000]),
            state_lost: dice.pick(&[0, 200]),
            transaction_every_us: dice.pick(&[100_000, 500_000]),
            epoch_length: dice.pick(&[2, 5, 1000]),
            calm_at,
            heights: 6,
            until: Time(calm_at.0 + 60_000_000),
            sabotage: None,
            newcomer: None,
        }
    }

    /// Many faults at once, on hosts with a planted bug.
    pub fn sabotaged(seed: u64, sabotage: Sabotage) -> Self {
        let mut hosts = vec![Behaviour::Honest; 4];
        hosts[0] = if sabotage == Sabotage::BlindExecutor {
            Behaviour::Forger
        } else {
            Behaviour::Equivocator
        };
        Self {
            hosts,
            keys: (0..4).collect(),
            links: Links {
                delay_min_us: 20_000,
                delay_max_us: 120_000,
                lost: 50,
                doubled: 20,
                reordered: 100,
            },
            kill_every_us: Some(400_000),
            power_cuts: 1000,
            state_lost: 200,
            calm_at: Time(20_000_000),
            until: Time(60_000_000),
            sabotage: Some(sabotage),
            partitions: Vec::new(),
            ..Self::random(seed)
        }
    }

    /// Four honest hosts without any fault.
    pub fn quiet(seed: u64) -> Self {
        Self {
            hosts: vec![Behaviour::Honest; 4],
            keys: (0..4).collect(),
            links: CALM,
            partitions: Vec::new(),
            kill_every_us: None,
            power_cuts: 0,
            state_lost: 0,
            transaction_every_us: 200_000,
            epoch_length: 5,
            calm_at: Time(0),
            ..Self::random(seed)
        }
    }

    /// Two Byzantine validators of four, each with a twin in the other half of a partition: more than BFT tolerates.
    /// Both halves have a quorum and decide different blocks, which the checker must report.
    pub fn two_liars_of_four(seed: u64) -> Self {
        let for_ever = Partition {
            from: Time(0),
            until: Time(u64::MAX),
            sides: vec![0, 0, 0, 1, 1, 1],
        };
        Self {
            hosts: vec![Behaviour::Honest; 6],
            keys: vec![0, 2, 3, 1, 2, 3],
            partitions: vec![for_ever],
            calm_at: Time(u64::MAX),
            ..Self::quiet(seed)
        }
    }

    /// One Byzantine validator of four that runs twice and sends to everyone: the others must agree, and prove that it
    /// signed twice.
    pub fn one_twin(seed: u64) -> Self {
        Self {
            hosts: vec![Behaviour::Honest; 5],
            keys: vec![0, 1, 2, 3, 3],
            until: Time(120_000_000),
            ..Self::quiet(seed)
        }
    }

    /// A fifth host that is not a validator at first, becomes one, and leaves again, with epochs of five blocks.
    pub fn newcomer(seed: u64) -> Self {
        Self {
            hosts: vec![Behaviour::Honest; 5],
            keys: (0..5).collect(),
            newcomer: Some((Time(2_000_000), Time(7_000_000))),
            heights: 60,
            until: Time(120_000_000),
            ..Self::quiet(seed)
        }
    }

    /// Number of keys that are validators in genesis.
    pub fn founders(&self) -> usize {
        let keys = self.keys.iter().max().map_or(0, |last| last + 1);
        keys - usize::from(self.newcomer.is_some())
    }

    /// Returns true if another host has the same key.
    pub fn is_twin(&self, host: usize) -> bool {
        self.keys.iter().filter(|key| **key == self.keys[host]).count() > 1
    }

    /// Returns true if the host follows the protocol and has no twin.
    pub fn is_honest(&self, host: usize) -> bool {
        self.hosts[host] == Behaviour::Honest && !self.is_twin(host)
    }
}

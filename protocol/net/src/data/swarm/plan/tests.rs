//! Plans against a simulated swarm under seeds: whatever the other providers do, one honest provider suffices.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::collections::{BTreeMap, BTreeSet};

use protocol::{NodeId, Time};

use super::*;

const MIB: u64 = 1 << 20;

/// The behaviour of a simulated provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Sends this many bytes per millisecond, shared by its tasks.
    Honest(u64),
    /// Sends this many bytes, then never again.
    StallsAfter(u64),
    Lies,
    Refuses,
    HasNothing,
    Unreachable,
    /// Its connections break each time it has sent this many bytes.
    BreaksEvery(u64),
    /// Has only the bytes in this range, and serves them honestly.
    Part(u64, u64),
}

struct World {
    plan: Plan,
    now: Time,
    habits: BTreeMap<NodeId, Habit>,
    given: BTreeMap<NodeId, u64>,
    running: BTreeMap<(NodeId, u64), (u64, u64)>,
    dropped: BTreeMap<NodeId, ProviderGone>,
    inbox: Vec<(Time, Input)>,
    size: u64,
    stored: BTreeSet<u64>,
    fetched: u64,
    outcome: Option<Effect>,
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

impl World {
    fn new(size: u64, habits: &[Habit]) -> Self {
        let named: BTreeMap<_, _> = (1u8..).map(node).zip(habits.iter().copied()).collect();
        Self {
            plan: Plan::new(Time(0), Rules::default()),
            now: Time(0),
            given: named.keys().map(|&node| (node, 0)).collect(),
            habits: named,
            running: BTreeMap::new(),
            dropped: BTreeMap::new(),
            inbox: Vec::new(),
            size,
            stored: BTreeSet::new(),
            fetched: 0,
            outcome: None,
        }
    }

    fn step(&mut self, input: Input) {
        let mut todo = Vec::new();
        self.plan.step(self.now, input, &mut todo);
        todo.into_iter().for_each(|effect| self.perform(effect));
    }

    fn soon(&mut self, ms: u64, input: Input) {
        self.inbox.push((self.now.after_ms(ms), input));
    }

    fn perform(&mut self, effect: Effect) {
        let habit = |world: &Self, node| world.habits[node];
        match effect {
            Effect::Connect(node) => match habit(self, &node) {
                Habit::Unreachable => self.soon(50, Input::Unreachable(node)),
                _ => self.soon(2, Input::Connected(node)),
            },
            Effect::QueryRanges(node) => {
                let part = |ranges, has_end| Some(Part { ranges, has_end });
                let part = match habit(self, &node) {
                    Habit::HasNothing => part(Vec::new(), false),
                    Habit::Part(from, to) => part(vec![from..to], to == self.size),
                    Habit::Honest(_) => part(vec![0..self.size], true),
                    _ => None,
                };
                self.soon(2, Input::Has { node, part });
            }
            Effect::Probe { node, first } => {
                let ended = |how| Input::Ended { node, task: None, how };
                match habit(self, &node) {
                    Habit::Part(from, to) if to < self.size || (first && from > 0) => {
                        self.soon(2, ended(Ended::Lacks));
                    }
                    Habit::Lies => self.soon(2, ended(Ended::FalseData)),
                    Habit::Refuses => self.soon(2, ended(Ended::Refused)),
                    Habit::HasNothing => self.soon(2, ended(Ended::Lacks)),
                    _ => {
                        self.soon(2, Input::Proven { node, bytes: 1024 });
                        self.soon(2, Input::Sized(vec![0..self.size]));
                    }
                }
            }
            Effect::Fetch { node, task, range } => {
                assert!(
                    !self.dropped.contains_key(&node),
                    "{node:?} was dropped and is asked again"
                );
                assert!(
                    self.running.keys().filter(|(of, _)| *of == node).count() < 4,
                    "{node:?} has four"
                );
                self.running.insert((node, task), (range.start, range.end));
            }
            Effect::Cancel { node, task } => {
                if let Some(task) = task {
                    self.running.remove(&(node, task));
                }
            }
            Effect::Drop(node, why) => drop(self.dropped.insert(node, why)),
            Effect::Complete | Effect::Starved => self.outcome = Some(effect),
        }
    }

    /// Simulates one millisecond of all providers.
    fn pass(&mut self) {
        self.now = self.now.after_ms(1);
        let (due, later) = std::mem::take(&mut self.inbox)
            .into_iter()
            .partition(|(at, _)| *at <= self.now);
        self.inbox = later;
        for (_, input) in due {
            self.step(input);
        }
        for ((node, task), (at, end)) in self.running.clone() {
            let share = self.running.keys().filter(|(of, _)| *of == node).count() as u64;
            let Some(per_ms) = self.pace(node, at) else {
                let how = match self.habits[&node] {
                    Habit::Lies => Ended::FalseData,
                    Habit::Refuses => Ended::Refused,
                    Habit::HasNothing | Habit::Part(..) => Ended::Lacks,
                    _ => Ended::Broken,
                };
                self.running.remove(&(node, task));
                self.step(Input::Ended {
                    node,
                    task: Some(task),
                    how,
                });
                continue;
            };
            if per_ms == 0 || !self.running.contains_key(&(node, task)) {
                continue;
            }
            let mut to = (at + per_ms / share.max(1)).min(end);
            if let Habit::Part(_, has) = self.habits[&node] {
                to = to.min(has);
            }
            self.give(node, task, at, to, end);
        }
        if self.plan.deadline().is_some_and(|at| at <= self.now) {
            self.step(Input::Tick);
        }
    }

    fn pace(&self, node: NodeId, at: u64) -> Option<u64> {
        match self.habits[&node] {
            Habit::Part(from, to) => (from <= at && at < to).then_some(20_000),
            Habit::Honest(per_ms) => Some(per_ms),
            Habit::StallsAfter(bytes) => Some(if self.given[&node] < bytes { 20_000 } else { 0 }),
            Habit::BreaksEvery(bytes) => (self.given[&node] % bytes < bytes - 20_000).then_some(20_000),
            _ => None,
        }
    }

    fn give(&mut self, node: NodeId, task: u64, from: u64, to: u64, end: u64) {
        self.stored.extend((from / 1024)..to.div_ceil(1024));
        self.fetched += to - from;
        *self.given.get_mut(&node).expect("known") += to - from;
        self.running.insert((node, task), (to, end));
        self.step(Input::Verified { node, task, to });
        if to == end && self.running.remove(&(node, task)).is_some() {
            let how = Ended::Complete;
            self.step(Input::Ended {
                node,
                task: Some(task),
                how,
            });
        }
    }

    /// Runs to the end, at most two simulated minutes. Returns the time in milliseconds.
    fn run(&mut self) -> u64 {
        for node in self.habits.keys().copied().collect::<Vec<_>>() {
            self.step(Input::Offer(node));
        }
        while self.outcome.is_none() && self.now < Time::from_secs(120) {
            self.pass();
        }
        if self.outcome == Some(Effect::Complete) {
            assert_eq!(
                self.stored.len() as u64,
                self.size.div_ceil(1024),
                "complete and not all is there"
            );
        }
        u64::try_from(self.now.since(Time(0)).as_millis()).expect("short")
    }
}

fn complete(size: u64, habits: &[Habit]) -> (World, u64) {
    let mut world = World::new(size, habits);
    let ms = world.run();
    assert_eq!(world.outcome, Some(Effect::Complete), "{habits:?} after {ms} ms");
    (world, ms)
}

#[test]
fn three_providers_are_nearly_three_times_as_fast_as_one() {
    let one = complete(256 * MIB, &[Habit::Honest(20_000)]).1;
    let three = complete(256 * MIB, &[Habit::Honest(20_000); 3]).1;
    assert!(one * 10 >= three * 27, "one {one} ms, three {three} ms");
}

#[test]
fn a_stalled_provider_costs_little_time() {
    let two = complete(256 * MIB, &[Habit::Honest(20_000); 2]).1;
    for after in [0, 5 * MIB, 40 * MIB] {
        let habits = [Habit::Honest(20_000), Habit::Honest(20_000), Habit::StallsAfter(after)];
        let ms = complete(256 * MIB, &habits).1;
        assert!(
            ms * 100 <= two * 110,
            "stalled after {after}: {ms} ms, without it {two} ms"
        );
    }
}

#[test]
fn a_provider_below_a_tenth_of_the_median_is_dropped() {
    let habits = [Habit::Honest(20_000), Habit::Honest(20_000), Habit::Honest(1_000)];
    let (world, _) = complete(512 * MIB, &habits);
    assert_eq!(world.dropped, BTreeMap::from([(node(3), ProviderGone::Slow)]));
}

#[test]
fn a_provider_with_false_data_or_a_refusal_is_asked_once() {
    let (mut world, _) = complete(32 * MIB, &[Habit::Lies, Habit::Refuses, Habit::Honest(20_000)]);
    let expect = [(node(1), ProviderGone::FalseData), (node(2), ProviderGone::Refused)];
    assert_eq!(world.dropped, BTreeMap::from(expect));
    let mut plan = Plan::new(Time(0), Rules::default());
    std::mem::swap(&mut plan.banned, &mut world.plan.banned);
    let mut todo = Vec::new();
    (1..=2).for_each(|n| plan.step(Time(0), Input::Offer(node(n)), &mut todo));
    assert_eq!(todo, []);
}

#[test]
fn a_provider_with_half_a_blob_is_asked_for_that_half_only() {
    let (size, half) = (64 * MIB, 32 * MIB + 3 * 16_384);
    let habits = [Habit::Part(0, half), Habit::Part(half, size)];
    let (world, ms) = complete(size, &habits);
    assert_eq!(world.dropped, BTreeMap::new());
    assert_eq!(world.given[&node(1)], half, "after {ms} ms");
    assert_eq!(world.fetched, size, "nothing is fetched twice");
    // Together with a complete provider, it does its share.
    let alone = complete(size, &[Habit::Honest(20_000)]).1;
    let (world, both) = complete(size, &[Habit::Part(0, half), Habit::Honest(20_000)]);
    assert!(both * 10 <= alone * 7, "{both} ms, alone {alone} ms");
    assert!(world.given[&node(1)] > half / 2);
}

#[test]
fn a_partial_provider_is_asked_again_as_it_gets_more() {
    let mut world = World::new(8 * MIB, &[Habit::Part(MIB, 8 * MIB)]);
    for node in world.habits.keys().copied().collect::<Vec<_>>() {
        world.step(Input::Offer(node));
    }
    while world.now < Time::from_secs(4) {
        world.pass();
    }
    assert_eq!((world.outcome.clone(), world.plan.left()), (None, Some(MIB)));
    world.habits.insert(node(1), Habit::Honest(20_000));
    world.run();
    assert_eq!(world.outcome, Some(Effect::Complete));
    assert_eq!(world.fetched, 8 * MIB);
}

#[test]
fn ranges_in_the_store_are_not_fetched() {
    let mut plan = Plan::new(Time(0), Rules::default());
    let mut todo = Vec::new();
    plan.step(Time(0), Input::Sized(vec![MIB..2 * MIB, 9 * MIB..10 * MIB]), &mut todo);
    plan.step(Time(0), Input::Offer(node(1)), &mut todo);
    plan.step(Time(1), Input::Connected(node(1)), &mut todo);
    let fetch = |range: Range<u64>| Effect::Fetch {
        node: node(1),
        task: range.start,
        range,
    };
    assert_eq!(
        todo,
        [Effect::Connect(node(1)), fetch(MIB..2 * MIB), fetch(9 * MIB..10 * MIB)]
    );
}

#[test]
fn a_complete_blob_needs_no_fetch() {
    let mut todo = Vec::new();
    Plan::new(Time(0), Rules::default()).step(Time(0), Input::Sized(Vec::new()), &mut todo);
    assert_eq!(todo, [Effect::Complete]);
}

#[test]
fn starvation_is_reported_and_a_new_provider_continues() {
    let mut world = World::new(MIB, &[Habit::Lies, Habit::Unreachable]);
    world.run();
    assert_eq!(world.outcome.take(), Some(Effect::Starved));
    world.habits.insert(node(9), Habit::Honest(20_000));
    world.given.insert(node(9), 0);
    world.run();
    assert_eq!(world.outcome, Some(Effect::Complete));
}

#[test]
fn an_honest_provider_is_enough_whatever_the_others_do() {
    for seed in 0..200u64 {
        let mut dice = seed;
        let mut throw = |sides: u64| {
            dice = dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let mut habits = vec![Habit::Honest(10_000 + throw(20_000))];
        for _ in 0..throw(6) {
            habits.push(match throw(8) {
                0 => Habit::Honest(500 + throw(30_000)),
                1 => Habit::StallsAfter(throw(20 * MIB)),
                2 => Habit::Lies,
                3 => Habit::Refuses,
                4 => Habit::HasNothing,
                5 => Habit::Unreachable,
                6 => Habit::Part(throw(16 * MIB) / 16_384 * 16_384, (17 + throw(20)) * MIB),
                _ => Habit::BreaksEvery(4 * MIB + throw(MIB)),
            });
        }
        let at = usize::try_from(throw(habits.len() as u64)).expect("small");
        habits.swap(0, at);
        let size = 1 + throw(48 * MIB);
        let mut world = World::new(size, &habits);
        let ms = world.run();
        assert_eq!(
            world.outcome,
            Some(Effect::Complete),
            "seed {seed}: {habits:?}, {size} bytes, {ms} ms"
        );
        // Duplicate transfers near the end and after silence are bounded.
        assert!(
            world.fetched <= size + size / 2 + 48 * MIB,
            "seed {seed}: {} for {size} bytes",
            world.fetched
        );
    }
}

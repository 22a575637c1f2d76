//! A deal's state machine with its records: an input is recorded first, then stepped.
//!
//! Owner and host share this. Performing the effects differs and is not part of it.

use std::sync::{Mutex, MutexGuard};

use protocol::{
    Time,
    machine::{HostEffect, HostInput, Hosting, Pin, PinEffect, PinInput},
};

use super::record::{HostRecord, PinRecord, Record};
use crate::{
    peer::Peer,
    record_list::{RecordList, RecordListError},
};
use base::lock;

/// The common interface of the owner's and the host's machines.
pub(super) trait Machine {
    /// The inputs that are recorded.
    type Recorded: Clone + Into<Self::Input>;
    type Input;
    type Effect;

    fn record(now: Time, input: Self::Recorded) -> Record;
    fn step(&mut self, now: Time, input: Self::Input, todo: &mut Vec<Self::Effect>);
    fn deadline(&self) -> Option<Time>;
}

impl Machine for Pin {
    type Recorded = PinRecord;
    type Input = PinInput;
    type Effect = PinEffect;

    fn record(now: Time, input: PinRecord) -> Record {
        Record::Owner(now, input)
    }

    fn step(&mut self, now: Time, input: PinInput, todo: &mut Vec<PinEffect>) {
        Pin::step(self, now, input, todo);
    }

    fn deadline(&self) -> Option<Time> {
        Pin::deadline(self)
    }
}

impl Machine for Hosting {
    type Recorded = HostRecord;
    type Input = HostInput;
    type Effect = HostEffect;

    fn record(now: Time, input: HostRecord) -> Record {
        Record::Host(now, input)
    }

    fn step(&mut self, now: Time, input: HostInput, todo: &mut Vec<HostEffect>) {
        Hosting::step(self, now, input, todo);
    }

    fn deadline(&self) -> Option<Time> {
        Hosting::deadline(self)
    }
}

/// A machine and its records.
pub(super) struct Journaled<M> {
    machine: Mutex<M>,
    pub(super) records: RecordList,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl<M: Machine> Journaled<M> {
    pub(super) fn new(machine: M, records: RecordList) -> Self {
        Self {
            machine: Mutex::new(machine),
            records,
            one_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, M> {
        lock::locked(&self.machine)
    }

    /// Records an input, then steps the machine with it. Returns the effects, and what `before` read from the machine just
    /// before the step.
    pub(super) async fn apply<T>(
        &self,
        peer: &Peer,
        input: M::Recorded,
        before: impl FnOnce(&M) -> T,
    ) -> Result<(Vec<M::Effect>, T), RecordListError> {
        let _alone = self.one_at_a_time.lock().await;
        let now = peer.now();
        self.records.add(&[M::record(now, input.clone())]).await?;
        let (mut machine, mut todo) = (self.machine(), Vec::new());
        let seen = before(&machine);
        machine.step(now, input.into(), &mut todo);
        Ok((todo, seen))
    }

    /// Steps the machine with an input that need not be recorded, or already was.
    pub(super) fn step(&self, now: Time, input: M::Input) -> Vec<M::Effect> {
        let mut todo = Vec::new();
        self.machine().step(now, input, &mut todo);
        todo
    }

    /// Returns true if the machine's deadline has passed.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.machine().deadline().is_some_and(|at| at <= now)
    }
}

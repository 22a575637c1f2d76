//! A deal's machine and the record of what it was told: written down first, then stepped.
//!
//! Owner and host keep theirs the same way. Leaves out what is done about the effects, which differs.

use std::sync::{Mutex, MutexGuard};

use protocol::{
    Time,
    machine::{HostEffect, HostInput, Hosting, Pin, PinEffect, PinInput},
};

use super::note::{HostSaid, Note, OwnerSaid};
use crate::{
    notes::{NoteError, Notes},
    peer::Peer,
};
use base::lock;

/// What owner's and host's machines have in common.
pub(super) trait Machine {
    /// Those of its inputs that are written down.
    type Said: Clone + Into<Self::Input>;
    type Input;
    type Effect;

    fn note(now: Time, said: Self::Said) -> Note;
    fn step(&mut self, now: Time, input: Self::Input, todo: &mut Vec<Self::Effect>);
    fn deadline(&self) -> Option<Time>;
}

impl Machine for Pin {
    type Said = OwnerSaid;
    type Input = PinInput;
    type Effect = PinEffect;

    fn note(now: Time, said: OwnerSaid) -> Note {
        Note::Owner(now, said)
    }

    fn step(&mut self, now: Time, input: PinInput, todo: &mut Vec<PinEffect>) {
        Pin::step(self, now, input, todo);
    }

    fn deadline(&self) -> Option<Time> {
        Pin::deadline(self)
    }
}

impl Machine for Hosting {
    type Said = HostSaid;
    type Input = HostInput;
    type Effect = HostEffect;

    fn note(now: Time, said: HostSaid) -> Note {
        Note::Host(now, said)
    }

    fn step(&mut self, now: Time, input: HostInput, todo: &mut Vec<HostEffect>) {
        Hosting::step(self, now, input, todo);
    }

    fn deadline(&self) -> Option<Time> {
        Hosting::deadline(self)
    }
}

/// A machine and its record.
pub(super) struct Told<M> {
    machine: Mutex<M>,
    pub(super) notes: Notes,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl<M: Machine> Told<M> {
    pub(super) fn new(machine: M, notes: Notes) -> Self {
        Self {
            machine: Mutex::new(machine),
            notes,
            one_at_a_time: tokio::sync::Mutex::default(),
        }
    }

    /// The machine as it is now.
    pub(super) fn machine(&self) -> MutexGuard<'_, M> {
        lock::locked(&self.machine)
    }

    /// Tells the machine something: durable first, then stepped. Gives what is to be done, and what `before` saw in the
    /// machine just before the step.
    pub(super) async fn tell<T>(
        &self,
        peer: &Peer,
        said: M::Said,
        before: impl FnOnce(&M) -> T,
    ) -> Result<(Vec<M::Effect>, T), NoteError> {
        let _alone = self.one_at_a_time.lock().await;
        let now = peer.now();
        self.notes.add(&[M::note(now, said.clone())]).await?;
        let (mut machine, mut todo) = (self.machine(), Vec::new());
        let seen = before(&machine);
        machine.step(now, said.into(), &mut todo);
        Ok((todo, seen))
    }

    /// Steps the machine with what need not be remembered, or was.
    pub(super) fn step(&self, now: Time, input: M::Input) -> Vec<M::Effect> {
        let mut todo = Vec::new();
        self.machine().step(now, input, &mut todo);
        todo
    }

    /// Whether the machine waits for the time to pass, and it has.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.machine().deadline().is_some_and(|at| at <= now)
    }
}

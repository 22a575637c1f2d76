//! Whether a run may go on: asked between passes, so that it waits, ends, or leaves a share of the machine to others
//! within about a second.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::way::Others;

/// What a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// On.
    On,
    /// End here. What the step had done so far is forgotten; the run is as it was after the last whole step.
    Stop,
}

/// Whoever decides. It may block for as long as a run is to wait.
pub trait Gate {
    /// Asked after every pass, which kept the processor for so long.
    fn ask(&mut self, busy: Duration) -> Go;

    /// Who comes first within a pass, if anybody does.
    fn others(&self) -> Option<Others> {
        None
    }
}

/// Always open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn ask(&mut self, _: Duration) -> Go {
        Go::On
    }
}

/// A gate that others hold: clones are the same one.
#[derive(Clone, Debug)]
pub struct Switch(Arc<(Mutex<Wish>, Condvar)>);

#[derive(Clone, Debug)]
struct Wish {
    paused: bool,
    stopped: bool,
    share_percent: u32,
    others: Option<Others>,
}

impl Default for Switch {
    fn default() -> Self {
        let wish = Wish {
            paused: false,
            stopped: false,
            share_percent: 100,
            others: None,
        };
        Self(Arc::new((Mutex::new(wish), Condvar::new())))
    }
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, Wish> {
        // A wish is a few flags: whole whoever panicked.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// The run waits until [`Self::resume`].
    pub fn pause(&self) {
        self.wish(|wish| wish.paused = true);
    }

    /// The run goes on.
    pub fn resume(&self) {
        self.wish(|wish| wish.paused = false);
    }

    /// The run ends.
    pub fn stop(&self) {
        self.wish(|wish| wish.stopped = true);
    }

    /// The run is busy for so much of the time, 1 to 100 percent.
    pub fn share(&self, percent: u32) {
        self.wish(|wish| wish.share_percent = percent.clamp(1, 100));
    }

    /// The run gives way to those while they are busy. Holds from the next step on.
    pub fn give_way(&self, others: Others) {
        self.wish(|wish| wish.others = Some(others));
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }
}

impl Gate for Switch {
    fn ask(&mut self, busy: Duration) -> Go {
        let (mut wish, changed) = (self.lock(), &self.0.1);
        // Idle for as long as makes the pass so much of the whole; a wish ends the wait.
        let idle = busy * (100 - wish.share_percent) / wish.share_percent;
        if !idle.is_zero() && !wish.stopped && !wish.paused {
            let waited = changed.wait_timeout_while(wish, idle, |wish| !wish.stopped && !wish.paused);
            wish = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            thread::yield_now();
        }
        let waited = changed.wait_while(wish, |wish| wish.paused && !wish.stopped);
        wish = waited.unwrap_or_else(PoisonError::into_inner);
        if wish.stopped { Go::Stop } else { Go::On }
    }

    fn others(&self) -> Option<Others> {
        let others = self.lock().others.clone()?;
        let (switch, are_busy) = (self.clone(), others.are_busy);
        // A run that is to end waits for nobody.
        let are_busy = move || !switch.is_stopped() && are_busy();
        Some(Others {
            are_busy: Arc::new(are_busy),
            ..others
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_run_waits_until_it_is_resumed_or_stopped() {
        for stop in [false, true] {
            let switch = Switch::default();
            switch.pause();
            let mut asked = switch.clone();
            let waiting = thread::spawn(move || asked.ask(Duration::ZERO));
            if stop {
                switch.stop();
            } else {
                switch.resume();
            }
            assert_eq!(waiting.join().unwrap(), if stop { Go::Stop } else { Go::On });
        }
    }

    #[test]
    fn a_stopped_run_does_not_wait_for_its_share() {
        let mut switch = Switch::default();
        switch.share(1);
        switch.stop();
        assert_eq!(switch.ask(Duration::from_secs(3600)), Go::Stop);
    }
}

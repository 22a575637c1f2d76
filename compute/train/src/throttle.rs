//! Control of a run from outside: pausing, stopping, and leaving a share of the machine to other work. A run asks
//! after each pass, so it reacts within about a second.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

mod foreground;

pub use foreground::Foreground;
pub(crate) use foreground::ForegroundYield;

/// An answer to the question if a run may continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proceed {
    Continue,
    /// Stop now. The unfinished step is dropped; the run is as it was after the last whole step.
    Stop,
}

/// A policy that decides when a run continues. Called on the thread that trains, which it may block.
pub trait Throttle {
    /// Called after each pass with the time that it took. Blocks for as long as the run has to wait.
    fn after_pass(&mut self, busy: Duration) -> Proceed;

    /// Returns work that goes first even within a pass; `None` if there is none.
    fn foreground(&self) -> Option<Foreground> {
        None
    }
}

/// A policy that never slows a run down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unthrottled;

impl Throttle for Unthrottled {
    fn after_pass(&mut self, _: Duration) -> Proceed {
        Proceed::Continue
    }
}

/// Remote control of a run. Clones control the same run, from any thread.
///
/// ```
/// use std::time::Duration;
///
/// use train::{Proceed, RunControl, Throttle};
///
/// let mut control = RunControl::default();
/// let remote = control.clone();
/// assert_eq!(control.after_pass(Duration::ZERO), Proceed::Continue);
/// remote.stop();
/// assert_eq!(control.after_pass(Duration::ZERO), Proceed::Stop);
/// ```
#[derive(Clone, Debug)]
pub struct RunControl(Arc<(Mutex<Request>, Condvar)>);

#[derive(Clone, Debug)]
struct Request {
    paused: bool,
    stopped: bool,
    share_percent: u32,
    foreground: Option<Foreground>,
}

impl Default for RunControl {
    fn default() -> Self {
        let request = Request {
            paused: false,
            stopped: false,
            share_percent: 100,
            foreground: None,
        };
        Self(Arc::new((Mutex::new(request), Condvar::new())))
    }
}

impl RunControl {
    fn lock(&self) -> MutexGuard<'_, Request> {
        // The request is a few flags, consistent even if a thread panicked while it held the lock.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, change: impl FnOnce(&mut Request)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// Pauses the run until [`Self::resume`] or [`Self::stop`].
    pub fn pause(&self) {
        self.request(|request| request.paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.request(|request| request.paused = false);
    }

    /// Stops the run for good.
    pub fn stop(&self) {
        self.request(|request| request.stopped = true);
    }

    /// Limits the run to a percentage of the time, 1 to 100; values outside are clamped.
    pub fn share(&self, percent: u32) {
        self.request(|request| request.share_percent = percent.clamp(1, 100));
    }

    /// Lets the run yield to foreground work while that is busy. Takes effect with the next step.
    pub fn yield_to(&self, foreground: Foreground) {
        self.request(|request| request.foreground = Some(foreground));
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }
}

impl Throttle for RunControl {
    fn after_pass(&mut self, busy: Duration) -> Proceed {
        let (mut request, changed) = (self.lock(), &self.0.1);
        // Idle so long that the pass makes up the run's share of the whole; a change of the request ends the wait.
        let idle = busy * (100 - request.share_percent) / request.share_percent;
        if !idle.is_zero() && !request.stopped && !request.paused {
            let waited = changed.wait_timeout_while(request, idle, |request| !request.stopped && !request.paused);
            request = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            thread::yield_now();
        }
        let waited = changed.wait_while(request, |request| request.paused && !request.stopped);
        request = waited.unwrap_or_else(PoisonError::into_inner);
        if request.stopped {
            Proceed::Stop
        } else {
            Proceed::Continue
        }
    }

    fn foreground(&self) -> Option<Foreground> {
        let foreground = self.lock().foreground.clone()?;
        let (control, is_busy) = (self.clone(), foreground.is_busy);
        // A run that is stopping does not wait for foreground work.
        let is_busy = move || !control.is_stopped() && is_busy();
        Some(Foreground {
            is_busy: Arc::new(is_busy),
            ..foreground
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_run_waits_until_it_is_resumed_or_stopped() {
        for stop in [false, true] {
            let control = RunControl::default();
            control.pause();
            let mut asked = control.clone();
            let waiting = thread::spawn(move || asked.after_pass(Duration::ZERO));
            if stop {
                control.stop();
            } else {
                control.resume();
            }
            assert_eq!(
                waiting.join().unwrap(),
                if stop { Proceed::Stop } else { Proceed::Continue }
            );
        }
    }

    #[test]
    fn a_stopped_run_does_not_wait_for_its_share() {
        let mut control = RunControl::default();
        control.share(1);
        control.stop();
        assert_eq!(control.after_pass(Duration::from_secs(3600)), Proceed::Stop);
    }
}

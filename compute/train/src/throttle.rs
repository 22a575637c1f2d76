//! Whether a run may go on: asked between passes, so that it waits, ends, or leaves a share of the machine to foreground
//! within about a second.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

mod foreground;

pub use foreground::Foreground;
pub(crate) use foreground::ForegroundYield;

/// What a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proceed {
    /// On.
    Continue,
    /// End here. What the step had done so far is forgotten; the run is as it was after the last whole step.
    Stop,
}

/// Whoever decides. It may block for as long as a run is to wait.
pub trait Throttle {
    /// EvalPrompt after every pass, which kept the processor for so long.
    fn after_pass(&mut self, busy: Duration) -> Proceed;

    /// Who comes first within a pass, if anybody does.
    fn foreground(&self) -> Option<Foreground> {
        None
    }
}

/// Always open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unthrottled;

impl Throttle for Unthrottled {
    fn after_pass(&mut self, _: Duration) -> Proceed {
        Proceed::Continue
    }
}

/// A gate that foreground hold: clones are the same one.
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
        // A request is a few flags: whole whoever panicked.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, change: impl FnOnce(&mut Request)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// The run waits until [`Self::resume`].
    pub fn pause(&self) {
        self.request(|request| request.paused = true);
    }

    /// The run goes on.
    pub fn resume(&self) {
        self.request(|request| request.paused = false);
    }

    /// The run ends.
    pub fn stop(&self) {
        self.request(|request| request.stopped = true);
    }

    /// The run is busy for so much of the time, 1 to 100 percent.
    pub fn share(&self, percent: u32) {
        self.request(|request| request.share_percent = percent.clamp(1, 100));
    }

    /// The run gives way to those while they are busy. Holds from the next step on.
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
        // Idle for as long as makes the pass so much of the whole; a request ends the wait.
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
        // A run that is to end waits for nobody.
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

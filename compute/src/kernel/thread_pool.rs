//! Threads that share the tasks of one kernel after another.
//!
//! # Why not rayon
//!
//! A step is hundreds of kernels of about ten microseconds each. Waking a sleeping thread takes about as long, so
//! these threads spin between kernels and sleep only when the engine is idle. The thread that runs a task is the one
//! that is free; results never depend on it.

#![allow(
    unsafe_code,
    reason = "threads borrow the caller's closure for as long as the caller waits for them"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::*},
    },
    thread,
};

/// Bit of [`Shared::gate`] that is set while a job may be entered; the other bits count the threads inside.
const OPEN: usize = 1 << 31;

/// Polls of the job number before a thread sleeps: about a tenth of a millisecond.
const SPINS: u32 = 4000;

/// Polls of the other threads' progress before the caller yields its processor.
const SPINS_DONE: u32 = 1000;

/// The caller's thread and helper threads.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
///
/// let sum = AtomicUsize::new(0);
/// let mut pool = compute::kernel::ThreadPool::new(2);
/// pool.each(10, &|task| { sum.fetch_add(task, Relaxed); });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
    helpers: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    job: AtomicU64,
    gate: AtomicUsize,
    /// The job; valid while the gate is open or a thread is inside.
    work: AtomicPtr<Work<'static>>,
    asleep: Box<[AtomicBool]>,
    stop: AtomicBool,
}

struct Work<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panicked: AtomicBool,
}

impl Work<'_> {
    fn run_all(&self) {
        loop {
            let task = self.next.fetch_add(1, Relaxed);
            if task >= self.tasks {
                return;
            }
            (self.run)(task);
        }
    }
}

impl ThreadPool {
    /// Starts a pool of `threads` threads, 1 to 1024, with the caller's among them.
    pub fn new(threads: usize) -> Self {
        let helpers = threads.clamp(1, 1024) - 1;
        let shared = Arc::new(Shared {
            job: AtomicU64::new(0),
            gate: AtomicUsize::new(0),
            work: AtomicPtr::new(ptr::null_mut()),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("kernel-{index}"));
            // A pool with fewer threads than asked for is slower and still correct.
            thread.spawn(move || shared.help(index)).ok()
        };
        Self {
            helpers: (0..helpers).map_while(spawn).collect(),
            shared,
        }
    }

    /// Returns the number of threads, with the caller's.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `run(0)` to `run(tasks - 1)`, started in this order, and returns when all are done.
    ///
    /// # Panics
    ///
    /// If a task panics, on whatever thread.
    pub fn each(&mut self, tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        if tasks < 2 || self.helpers.is_empty() {
            return (0..tasks).for_each(run);
        }
        let work = Work {
            run,
            tasks,
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        };
        let shared = &*self.shared;
        shared.work.store(ptr::from_ref(&work).cast_mut().cast(), Relaxed);
        shared.gate.store(OPEN, Release);
        shared.job.fetch_add(1, SeqCst);
        for (asleep, helper) in shared.asleep.iter().zip(&self.helpers) {
            if asleep.load(SeqCst) {
                helper.thread().unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| work.run_all()));
        if mine.is_err() {
            work.next.store(tasks, Relaxed);
        }
        shared.gate.fetch_and(!OPEN, AcqRel);
        let mut spins = 0;
        while shared.gate.load(Acquire) != 0 {
            spins += 1;
            match spins < SPINS_DONE {
                true => std::hint::spin_loop(),
                // A thread that is inside may be waiting for this very processor.
                false => thread::yield_now(),
            }
        }
        // No thread is inside and none can enter: `work` may be dropped.
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        assert!(!work.panicked.load(Relaxed), "a kernel panicked on a helping thread");
    }
}

impl Shared {
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(index, seen);
            if self.stop.load(Acquire) {
                return;
            }
            if !self.enter() {
                continue;
            }
            // SAFETY: inside the gate the caller waits for this thread, so the job is alive.
            let work = unsafe { &*self.work.load(Acquire) };
            if catch_unwind(AssertUnwindSafe(|| work.run_all())).is_err() {
                work.panicked.store(true, Relaxed);
                work.next.store(work.tasks, Relaxed);
            }
            self.gate.fetch_sub(1, Release);
        }
    }

    /// Enters the gate, unless the job is over.
    fn enter(&self) -> bool {
        let inside = |gate: usize| (gate & OPEN != 0).then_some(gate + 1);
        self.gate.fetch_update(AcqRel, Relaxed, inside).is_ok()
    }

    /// Waits for a job after `seen`, spinning first.
    fn wait(&self, index: usize, seen: u64) -> u64 {
        for _ in 0..SPINS {
            let job = self.job.load(Acquire);
            if job != seen {
                return job;
            }
            std::hint::spin_loop();
        }
        loop {
            self.asleep[index].store(true, SeqCst);
            let job = self.job.load(SeqCst);
            if job != seen {
                self.asleep[index].store(false, Relaxed);
                return job;
            }
            thread::park();
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Release);
        self.shared.job.fetch_add(1, SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches panics of tasks, so there is none to pass on.
            let _ = helper.join();
        }
    }
}

/// A buffer that several threads write, each its own part.
#[derive(Clone, Copy)]
pub struct DisjointMut(*mut f32, usize);

// SAFETY: `get` is unsafe, and its caller keeps the parts disjoint.
unsafe impl Send for DisjointMut {}
// SAFETY: as above.
unsafe impl Sync for DisjointMut {}

impl DisjointMut {
    /// Takes a whole buffer.
    pub fn of(buffer: &mut [f32]) -> Self {
        Self(buffer.as_mut_ptr(), buffer.len())
    }

    /// Returns `length` singles from `from` on.
    ///
    /// # Safety
    ///
    /// No other reference to these elements is alive, and the buffer is.
    #[allow(clippy::mut_from_ref, reason = "that is what the contract is about")]
    pub unsafe fn get<'a>(self, from: usize, length: usize) -> &'a mut [f32] {
        assert!(
            from.checked_add(length).is_some_and(|end| end <= self.1),
            "a part lies inside its buffer"
        );
        // SAFETY: inside the buffer, and disjoint by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), length) }
    }

    /// Returns the address of an element, or of the end.
    pub fn at(self, index: usize) -> *mut f32 {
        assert!(index <= self.1, "a part lies inside its buffer");
        // SAFETY: inside the buffer or one past it.
        unsafe { self.0.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_however_many_threads_there_are() {
        for threads in [1, 2, 5] {
            let mut pool = ThreadPool::new(threads);
            for tasks in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..200 {
                    pool.each(tasks, &|task| _ = counts[task].fetch_add(1, Relaxed));
                }
                assert!(
                    counts.iter().all(|count| count.load(Relaxed) == 200),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_team_goes_on() {
        let mut pool = ThreadPool::new(3);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            pool.each(50, &|task| assert!(task != 20, "task 20"))
        }));
        assert!(failed.is_err());
        let ran = AtomicUsize::new(0);
        pool.each(50, &|_| _ = ran.fetch_add(1, Relaxed));
        assert_eq!(ran.load(Relaxed), 50);
    }
}

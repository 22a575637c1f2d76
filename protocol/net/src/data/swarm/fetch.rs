//! Runs the plan of one blob: feeds it inputs, performs its effects, and makes progress durable.

mod perform;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use bao_tree::ChunkRanges;
use iroh_blobs::{
    Hash,
    api::{Store, blobs::Bitfield},
};
use protocol::{BlobHash, NodeId, Time};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    Blame, FetchError, FetchEvent, Wanted,
    plan::{Effect, Ended, Input, Part, Plan, Rules},
    ranges::missing,
    transfer::{Outcome, Proven, Verified},
};
use crate::data::{DataPath, OpenError, connections::Lease, endpoint::Plane};

/// Interval at which progress is made durable, after the first bytes.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Time within which the store writes what it was given, unless its disk fails.
const SETTLE: Duration = Duration::from_secs(5);

/// State shared by all blobs of one fetch.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) plane: Arc<Plane>,
    pub(super) store: Store,
    pub(super) wanted: Arc<Wanted>,
    pub(super) providers: watch::Receiver<Vec<NodeId>>,
    pub(super) events: mpsc::Sender<FetchEvent>,
}

/// The result of one blob.
#[derive(Debug, Default)]
pub(super) struct BlobResult {
    pub(super) bytes: u64,
    pub(super) had: u64,
    pub(super) providers: BTreeMap<NodeId, u64>,
    pub(super) blamed: Vec<Blame>,
}

/// The result of a finished task.
enum Job {
    Called(NodeId, Result<Lease, OpenError>),
    Probed(NodeId, Result<Proven, Outcome>),
    Queried(NodeId, Option<Part>),
    Fetched(NodeId, u64, Outcome),
}

struct Fetching {
    shared: Shared,
    blob: BlobHash,
    plan: Plan,
    started: Instant,
    size: Option<NonZeroU64>,
    /// Ranges that the store had before the fetch.
    before: ChunkRanges,
    got: BlobResult,
    offered: BTreeSet<NodeId>,
    leases: BTreeMap<NodeId, Lease>,
    jobs: JoinSet<Job>,
    running: BTreeMap<(NodeId, Option<u64>), AbortHandle>,
    reports: mpsc::Sender<Verified>,
    todo: Vec<Effect>,
    durable_at: Option<Instant>,
    progress: (Option<u64>, Instant),
}

/// Fetches one blob into the store, continuing from what it has.
pub(super) async fn blob(shared: Shared, blob: BlobHash) -> Result<BlobResult, FetchError> {
    let (reports, mut inbox) = mpsc::channel(1024);
    let started = Instant::now();
    let rules = rules(&shared);
    let mut fetching = Fetching {
        shared,
        blob,
        plan: Plan::new(Time(0), rules),
        started,
        size: None,
        before: ChunkRanges::empty(),
        got: BlobResult::default(),
        offered: BTreeSet::new(),
        leases: BTreeMap::new(),
        jobs: JoinSet::new(),
        running: BTreeMap::new(),
        reports,
        todo: Vec::new(),
        durable_at: None,
        progress: (None, started),
    };
    let have = fetching.have().await?;
    fetching.before = have.ranges.clone();
    if let Some(size) = have.validated_size() {
        fetching.sized(size, &have)?;
    }
    // Keep the blob observed: otherwise the store syncs and closes it after each task and reopens it for the next.
    let _awake = fetching.shared.store.observe(fetching.hash()).stream().await;
    while !fetching.perform().await? {
        let deadline = fetching.plan.deadline().unwrap_or(Time(u64::MAX));
        let wait = deadline.since(fetching.now());
        let stop = fetching.shared.plane.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return Err(FetchError::Down),
            Some(verified) = inbox.recv() => fetching.heard(verified),
            Some(job) = fetching.jobs.join_next() => if let Ok(job) = job {
                // Reports that were sent before the job ended count, and count for its provider.
                while let Ok(verified) = inbox.try_recv() {
                    fetching.heard(verified);
                }
                fetching.ended(job).await?;
            },
            Ok(()) = fetching.shared.providers.changed() => (),
            () = tokio::time::sleep(wait) => fetching.tick()?,
        }
        fetching.offer();
    }
    fetching.finish().await
}

fn rules(shared: &Shared) -> Rules {
    let mut rules = Rules::default();
    let limits = [shared.plane.download.per_s(), shared.plane.download_each.per_s()];
    if let Some(per_s) = limits.into_iter().flatten().min() {
        // Under our own rate limit, many transfers wait for their turn. That is not the provider's silence.
        let turn_ms = (64 << 20) / per_s.get().max(1) * 1000;
        rules.silent_ms = rules.silent_ms.max(turn_ms);
        rules.stalled_ms = rules.stalled_ms.max(turn_ms * 4);
    }
    rules
}

impl Fetching {
    fn now(&self) -> Time {
        Time(0).after(self.started.elapsed())
    }

    fn step(&mut self, input: Input) {
        let now = self.now();
        self.plan.step(now, input, &mut self.todo);
    }

    fn hash(&self) -> Hash {
        Hash::from_bytes(self.blob.0)
    }

    fn tell(&self, event: FetchEvent) {
        let _ = self.shared.events.try_send(event);
    }

    async fn have(&self) -> Result<Bitfield, FetchError> {
        let observed = self.shared.store.observe(self.hash()).await;
        observed.map_err(|error| self.store_failed(&error))
    }

    fn store_failed(&self, error: &dyn std::fmt::Display) -> FetchError {
        FetchError::Store {
            blob: self.blob,
            why: error.to_string(),
        }
    }

    /// Offers new providers to the plan, except those known for false data.
    fn offer(&mut self) {
        let named: Vec<_> = self.shared.providers.borrow_and_update().clone();
        for node in named {
            if self.offered.insert(node) && !self.shared.plane.blamed.has(node) {
                self.step(Input::Offer(node));
            }
        }
    }

    fn sized(&mut self, size: u64, have: &Bitfield) -> Result<(), FetchError> {
        let bytes_max = self.shared.wanted.bytes_max;
        if size > bytes_max {
            return Err(FetchError::TooLong {
                blob: self.blob,
                bytes: size,
                bytes_max,
            });
        }
        let still = missing(size, &have.ranges);
        if self.size.is_none() {
            let lacked = missing(size, &self.before);
            self.got.bytes = size;
            self.got.had = size - lacked.iter().map(|range| range.end - range.start).sum::<u64>();
            self.tell(FetchEvent::Sized {
                blob: self.blob,
                bytes: size,
                had: self.got.had,
            });
        }
        self.size = NonZeroU64::new(size);
        self.step(Input::Sized(still));
        Ok(())
    }

    async fn ended(&mut self, job: Job) -> Result<(), FetchError> {
        match job {
            Job::Called(node, Ok(lease)) => {
                self.leases.insert(node, lease);
                self.step(Input::Connected(node));
            }
            Job::Called(_, Err(OpenError::Down)) => return Err(FetchError::Down),
            Job::Called(node, Err(error)) => {
                tracing::debug!(%error, "could not reach a provider");
                self.step(Input::Unreachable(node));
            }
            Job::Probed(node, Ok(Proven { size, bytes })) => {
                self.running.remove(&(node, None));
                self.verified(bytes);
                self.step(Input::Proven { node, bytes });
                let have = self.have().await?;
                self.sized(size, &have)?;
            }
            Job::Probed(node, Err(outcome)) => self.transfer_ended(node, None, outcome)?,
            Job::Queried(node, part) => self.step(Input::Has { node, part }),
            Job::Fetched(node, task, outcome) => self.transfer_ended(node, Some(task), outcome)?,
        }
        Ok(())
    }

    fn transfer_ended(&mut self, node: NodeId, task: Option<u64>, outcome: Outcome) -> Result<(), FetchError> {
        self.running.remove(&(node, task));
        let how = match outcome {
            Outcome::Ended(how) => how,
            Outcome::Store(why) => return Err(self.store_failed(&why)),
            Outcome::Lied(blame) => {
                tracing::warn!(peer = %format_args!("{node:#}"), blob = %format_args!("{:#}", self.blob), offset = blame.offset, what = blame.what, "a provider lied");
                self.shared.plane.counters.providers_blamed.one();
                self.shared.plane.blamed.note(&blame);
                self.got.blamed.push(blame.clone());
                self.tell(FetchEvent::Blamed(blame));
                Ended::FalseData
            }
        };
        self.step(Input::Ended { node, task, how });
        Ok(())
    }

    fn heard(&mut self, Verified { node, task, piece }: Verified) {
        self.verified(piece.end - piece.start);
        self.step(Input::Verified {
            node,
            task,
            to: piece.end,
        });
    }

    /// Counts verified bytes. The first are made durable at once, so that a crash does not lose the beginning.
    fn verified(&mut self, bytes: u64) {
        self.shared.plane.counters.bytes_fetched.add(bytes);
        if self.durable_at.is_none() {
            self.tell(FetchEvent::FirstBytes { blob: self.blob });
            self.make_durable();
        }
    }

    fn make_durable(&mut self) {
        self.durable_at = Some(Instant::now());
        let store = self.shared.store.clone();
        self.shared.plane.tasks.spawn(async move {
            if let Err(error) = store.sync_db().await {
                tracing::debug!(%error, "could not make progress durable");
            }
        });
    }

    fn tick(&mut self) -> Result<(), FetchError> {
        self.step(Input::Tick);
        if self.durable_at.is_some_and(|at| at.elapsed() >= SYNC_EVERY) {
            self.make_durable();
        }
        if self.progress.0 != self.plan.left() {
            self.progress = (self.plan.left(), Instant::now());
        } else if self.progress.1.elapsed() >= self.shared.wanted.stall_timeout {
            let left = self.plan.left().unwrap_or(0);
            return Err(FetchError::NoProvider {
                blob: self.blob,
                have: self.got.bytes.saturating_sub(left),
            });
        }
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        for (node, bytes, per_s) in self.plan.rates().collect::<Vec<_>>() {
            let before = self.got.providers.insert(node, bytes);
            if before != Some(bytes) {
                self.tell(FetchEvent::Provider {
                    node,
                    blob: self.blob,
                    bytes,
                    per_s,
                    path: self.leases.get(&node).and_then(|lease| DataPath::of(&lease.connection)),
                });
            }
        }
        if let (Some(left), Some(size)) = (self.plan.left(), self.size) {
            self.tell(FetchEvent::Progress {
                blob: self.blob,
                have: size.get() - left,
                bytes: size.get(),
            });
        }
    }

    /// Aborts duplicate transfers and waits until the store has written everything.
    async fn finish(mut self) -> Result<BlobResult, FetchError> {
        self.jobs.abort_all();
        self.report();
        let whole = async { self.shared.store.observe(self.hash()).await_completion().await };
        match tokio::time::timeout(SETTLE, whole).await {
            Ok(Ok(_)) => (),
            Ok(Err(error)) => return Err(self.store_failed(&error)),
            Err(_) => return Err(self.store_failed(&"it did not write all it was given")),
        }
        self.tell(FetchEvent::Done {
            blob: self.blob,
            bytes: self.got.bytes,
        });
        Ok(self.got)
    }
}

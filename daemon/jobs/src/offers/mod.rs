//! Offers of work: the one of this node, which its operator makes, and those of other nodes.
//!
//! The offer is stored in `data/work.json` until it is withdrawn, so a restart keeps it. While the node runs, the offer is
//! announced with the machine and the stored base models. An announcement expires after ten minutes and is repeated
//! before that. It is only a hint: it commits nobody to a job.

mod machine;
mod offer;
mod workers;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use protocol::message::announce::{Announcement, Term, Work, Worker};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use self::{offer::Offer, workers::Workers};
use base::{
    argument::InvalidArgument,
    errors::chained,
    home::Home,
    lock,
    operator::work::{OfferRequest, OfferResponse, WorkerLine},
    report::{Failure, Kind},
};
use data::Peer;

/// Lifetime of an announcement.
const LIFE_MS: u64 = 10 * 60 * 1000;
/// Lifetime of the announcement that withdraws an offer.
const WITHDRAWAL_LIFE_MS: u64 = 1_000;

/// Reason that a request about offers failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Argument(#[from] InvalidArgument),
    #[error("could not read or write the offer in {}; correct or remove the file", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Models(#[from] compute::model::StoreError),
}

/// The failure that the operator's API reports.
impl From<WorkError> for Failure {
    fn from(why: WorkError) -> Self {
        let kind = match &why {
            WorkError::Argument(_) => Kind::Usage,
            WorkError::File { .. } | WorkError::Models(_) => Kind::Failed,
        };
        Self::of(kind, &why)
    }
}

/// The offers of this node and of others. Clones share them.
#[derive(Clone)]
pub struct Offers(Arc<Inner>);

struct Inner {
    peer: Peer,
    home: Home,
    offer: Offer,
    workers: Mutex<Workers>,
}

impl Offers {
    /// Reads the stored offer of a home.
    pub fn open(home: &Home, peer: Peer) -> Result<Self, WorkError> {
        Ok(Self(Arc::new(Inner {
            peer,
            home: home.clone(),
            offer: Offer::open(home)?,
            workers: Mutex::default(),
        })))
    }

    /// Starts the tasks that listen to others and repeat this node's announcement until the node stops.
    pub fn start(&self) {
        let (peer, again, own) = (self.0.peer.clone(), Duration::from_millis(LIFE_MS / 3), self.clone());
        let tell = move || {
            let own = own.clone();
            async move { own.announce().await }
        };
        self.0
            .peer
            .spawn_until_stopped(|stop| peer.repeat_announcing(again, stop, tell));
        self.0.peer.spawn_until_stopped(|stop| self.clone().listen(stop));
    }

    fn heard(&self) -> MutexGuard<'_, Workers> {
        lock::locked(&self.0.workers)
    }

    /// Replaces the offer of this node, and announces it.
    pub async fn offer(&self, ask: OfferRequest) -> Result<OfferResponse, WorkError> {
        let (kinds, _) = offer::terms(&ask)?;
        let answer = self.with(Some(ask.clone())).await?;
        // An auditor gets its model with the job; training and inference need one here.
        if answer.bases.is_empty() && kinds.iter().any(|work| *work != Work::Audit) {
            let what = "training and inference need a base model; store one with `openledger model add DIR`";
            return Err(InvalidArgument::new("kind", what).into());
        }
        self.0.offer.set(Some(ask))?;
        self.announce().await;
        Ok(answer)
    }

    /// Withdraws the offer. Connected peers drop it at once, others within ten minutes.
    pub async fn withdraw(&self) -> Result<bool, WorkError> {
        let offered = self.0.offer.get();
        self.0.offer.set(None)?;
        let any = offered.is_some();
        self.announce_for(offered, WITHDRAWAL_LIFE_MS).await;
        Ok(any)
    }

    /// Returns the offer, the machine and the base models.
    pub async fn status(&self) -> Result<OfferResponse, WorkError> {
        self.with(self.0.offer.get()).await
    }

    async fn with(&self, offer: Option<OfferRequest>) -> Result<OfferResponse, WorkError> {
        let home = self.0.home.clone();
        // Probing for devices may load a driver, which blocks.
        let found = tokio::task::spawn_blocking(move || Ok::<_, WorkError>((machine::bases(&home)?, machine::probe())));
        let (bases, machine) = found.await.expect("probing does not panic")?;
        Ok(OfferResponse {
            offer,
            bases,
            device: machine::device_name(machine.device),
            threads: machine.threads,
            memory_gib: machine.memory_gib,
        })
    }

    /// Announces the offer, if there is one.
    async fn announce(&self) {
        self.announce_for(self.0.offer.get(), LIFE_MS).await;
    }

    async fn announce_for(&self, offer: Option<OfferRequest>, life_ms: u64) {
        let (Some(net), Some(offer)) = (self.0.peer.net(), offer) else {
            return;
        };
        let home = self.0.home.clone();
        let found = tokio::task::spawn_blocking(move || {
            Ok::<_, WorkError>((machine::bases(&home)?, machine::probe(), offer::terms(&offer)?))
        });
        let (bases, machine, (kinds, prices)) = match found.await.expect("probing does not panic") {
            Ok(found) => found,
            Err(error) => return tracing::warn!(error = chained(&error), "could not announce the offer of work"),
        };
        let worker = Worker {
            worker: self.0.peer.id(),
            kinds,
            bases,
            prices,
            machine,
            term: Term::starting(self.0.peer.now(), life_ms),
        };
        self.heard().note(self.0.peer.now(), worker.clone());
        net.announce(Announcement::Worker(self.0.peer.sign(worker)));
    }

    /// Keeps the offers of others until the node stops.
    async fn listen(self, stop: CancellationToken) {
        let Some(net) = self.0.peer.net() else { return };
        let mut announcements = net.announcements();
        loop {
            let said = tokio::select! {
                () = stop.cancelled() => return,
                said = announcements.recv() => said,
            };
            match said {
                Ok(Announcement::Worker(said)) => self.heard().note(self.0.peer.now(), said.message),
                Ok(Announcement::Dataset(_) | Announcement::Claim(_)) => (),
                // Missed announcements are repeated by their senders.
                Err(RecvError::Lagged(_)) => (),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Lists the nodes that offer work, with this node.
    pub fn workers(&self) -> Vec<WorkerLine> {
        self.heard().lines(self.0.peer.now())
    }
}

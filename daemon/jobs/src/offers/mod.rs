//! Compute offers: this node's own, made by its operator, and those of others.
//!
//! An offer is stored in `data/work.json` until it is withdrawn, so a restart does not end it. While the node runs, the
//! offer is announced with the stored base models and the hardware. An announcement is valid for ten minutes and repeated
//! before it expires. It is a hint: a job binds nobody before both sides agreed on it.

mod machine;
mod stored;
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

use self::{stored::StoredOffer, workers::Workers};
use base::{
    home::Home,
    lock,
    operator::work::{OfferResponse, OfferRequest, WorkerLine},
    report::{Failure, Kind},
    errors::chained,
};
use data::Peer;

/// Validity of an announcement.
const LIFE_MS: u64 = 10 * 60 * 1000;
/// Validity of the last announcement of a withdrawn offer, so that peers forget it soon.
const FAREWELL_MS: u64 = 1_000;

/// Reason why an offer failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error("`{field}`: {what}")]
    InvalidArgument {
        /// Name of the argument.
        field: &'static str,
        /// The mistake, and what would be right.
        what: String,
    },
    #[error("could not read or write the offer in {}; correct or remove the file", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Models(#[from] compute::model::StoreError),
}

/// The failure that the operator sees.
impl From<WorkError> for Failure {
    fn from(why: WorkError) -> Self {
        let kind = match &why {
            WorkError::InvalidArgument { .. } => Kind::Usage,
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
    offer: StoredOffer,
    workers: Mutex<Workers>,
}

impl Offers {
    /// Opens the stored offer of a home.
    pub fn open(home: &Home, peer: Peer) -> Result<Self, WorkError> {
        Ok(Self(Arc::new(Inner {
            peer,
            home: home.clone(),
            offer: StoredOffer::open(home)?,
            workers: Mutex::default(),
        })))
    }

    /// Collects offers of others, and repeats this node's announcement, until the node stops.
    pub fn start(&self) {
        let (peer, again, own) = (self.0.peer.clone(), Duration::from_millis(LIFE_MS / 3), self.clone());
        let tell = move || {
            let own = own.clone();
            async move { own.announce().await }
        };
        self.0.peer.keep(|stop| peer.keep_telling(again, stop, tell));
        self.0.peer.keep(|stop| self.clone().hear(stop));
    }

    fn heard(&self) -> MutexGuard<'_, Workers> {
        lock::locked(&self.0.workers)
    }

    /// Replaces this node's offer and announces it.
    pub async fn offer(&self, ask: OfferRequest) -> Result<OfferResponse, WorkError> {
        let (kinds, _) = stored::terms(&ask)?;
        let answer = self.with(Some(ask.clone())).await?;
        // An auditor gets its models from the job; the other kinds need one here.
        if answer.bases.is_empty() && kinds.iter().any(|work| *work != Work::Audit) {
            let what = "training and inference need a base model; keep one with `openledger model add DIR`".to_owned();
            return Err(WorkError::InvalidArgument { field: "kind", what });
        }
        self.0.offer.set(Some(ask))?;
        self.announce().await;
        Ok(answer)
    }

    /// Withdraws the offer. Peers forget it at once, or within ten minutes if they miss the announcement.
    pub async fn withdraw(&self) -> Result<bool, WorkError> {
        let offered = self.0.offer.get();
        self.0.offer.set(None)?;
        let any = offered.is_some();
        self.say(offered, FAREWELL_MS).await;
        Ok(any)
    }

    /// This node's offer with its hardware and models.
    pub async fn status(&self) -> Result<OfferResponse, WorkError> {
        self.with(self.0.offer.get()).await
    }

    async fn with(&self, offer: Option<OfferRequest>) -> Result<OfferResponse, WorkError> {
        let home = self.0.home.clone();
        // Probing devices may load a driver, which blocks.
        let found = tokio::task::spawn_blocking(move || Ok::<_, WorkError>((machine::bases(&home)?, machine::found())));
        let (bases, machine) = found.await.expect("looking around does not panic")?;
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
        self.say(self.0.offer.get(), LIFE_MS).await;
    }

    async fn say(&self, offer: Option<OfferRequest>, life_ms: u64) {
        let (Some(net), Some(offer)) = (self.0.peer.net(), offer) else {
            return;
        };
        let home = self.0.home.clone();
        let found = tokio::task::spawn_blocking(move || {
            Ok::<_, WorkError>((machine::bases(&home)?, machine::found(), stored::terms(&offer)?))
        });
        let (bases, machine, (kinds, prices)) = match found.await.expect("looking around does not panic") {
            Ok(found) => found,
            Err(error) => return tracing::warn!(error = chained(&error), "work is not announced"),
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

    /// Collects announcements of others.
    async fn hear(self, stop: CancellationToken) {
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

    /// All known offers, this node's included.
    pub fn workers(&self) -> Vec<WorkerLine> {
        self.heard().lines(self.0.peer.now())
    }
}

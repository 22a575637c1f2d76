//! Work that this node offers, by its operator's word, and who else offers any.
//!
//! An offer lies in `data/work.json` until it is taken back, so a restart does not end it. While the node runs it is
//! announced with the base models that are here and with what computes, holds for ten minutes, and is announced again
//! before it runs out. It is a hint: nothing comes of it before a job is agreed on.

mod heard;
mod machine;
mod offer;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use protocol::message::announce::{Announcement, Term, Work, Worker};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use self::{heard::Workers, offer::Offer};
use base::{
    home::Home,
    lock,
    operator::work::{OfferAnswer, OfferAsk, WorkerLine},
    report::{Failure, Kind},
    words::chained,
};
use data::Peer;

/// How long an offer holds.
const LIFE_MS: u64 = 10 * 60 * 1000;
/// How long one holds that only says that the last holds no longer.
const FAREWELL_MS: u64 = 1_000;

/// Why work is not offered.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// What was asked for cannot be meant.
    #[error("`{field}`: {what}")]
    Ask {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// The offer could not be remembered.
    #[error("could not read or write the offer in {}; correct or remove the file", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The models that are here could not be listed.
    #[error(transparent)]
    Models(#[from] compute::model::StoreError),
}

/// As the command that asked shows it.
impl From<WorkError> for Failure {
    fn from(why: WorkError) -> Self {
        let kind = match &why {
            WorkError::Ask { .. } => Kind::Usage,
            WorkError::File { .. } | WorkError::Models(_) => Kind::Failed,
        };
        Self::of(kind, &why)
    }
}

/// What this node offers, and what others do. Clones are the same.
#[derive(Clone)]
pub struct Offers(Arc<Inner>);

struct Inner {
    peer: Peer,
    home: Home,
    offer: Offer,
    workers: Mutex<Workers>,
}

impl Offers {
    /// What was last offered in a home.
    pub fn open(home: &Home, peer: Peer) -> Result<Self, WorkError> {
        Ok(Self(Arc::new(Inner {
            peer,
            home: home.clone(),
            offer: Offer::open(home)?,
            workers: Mutex::default(),
        })))
    }

    /// Hears others, and says again what this node offers, until the node ends.
    pub fn start(&self) {
        let (peer, again, own) = (self.0.peer.clone(), Duration::from_millis(LIFE_MS / 3), self.clone());
        let tell = move || {
            let own = own.clone();
            async move { own.announce().await }
        };
        self.0
            .peer
            .spawn_until_stopped(|stop| peer.repeat_announcing(again, stop, tell));
        self.0.peer.spawn_until_stopped(|stop| self.clone().hear(stop));
    }

    fn heard(&self) -> MutexGuard<'_, Workers> {
        lock::locked(&self.0.workers)
    }

    /// Offers work from now on, in place of what was offered.
    pub async fn offer(&self, ask: OfferAsk) -> Result<OfferAnswer, WorkError> {
        let (kinds, _) = offer::terms(&ask)?;
        let answer = self.with(Some(ask.clone())).await?;
        // An auditor computes on what it is sent; the others need a model.
        if answer.bases.is_empty() && kinds.iter().any(|work| *work != Work::Audit) {
            let what = "training and inference need a base model; keep one with `openledger model add DIR`".to_owned();
            return Err(WorkError::Ask { field: "kind", what });
        }
        self.0.offer.set(Some(ask))?;
        self.announce().await;
        Ok(answer)
    }

    /// Offers nothing any more. Peers forget the last offer as soon as they hear so, and within ten minutes otherwise.
    pub async fn withdraw(&self) -> Result<bool, WorkError> {
        let offered = self.0.offer.get();
        self.0.offer.set(None)?;
        let any = offered.is_some();
        self.say(offered, FAREWELL_MS).await;
        Ok(any)
    }

    /// What is offered.
    pub async fn status(&self) -> Result<OfferAnswer, WorkError> {
        self.with(self.0.offer.get()).await
    }

    async fn with(&self, offer: Option<OfferAsk>) -> Result<OfferAnswer, WorkError> {
        let home = self.0.home.clone();
        // Looking for devices may load a driver.
        let found = tokio::task::spawn_blocking(move || Ok::<_, WorkError>((machine::bases(&home)?, machine::found())));
        let (bases, machine) = found.await.expect("looking around does not panic")?;
        Ok(OfferAnswer {
            offer,
            bases,
            device: machine::device_name(machine.device),
            threads: machine.threads,
            memory_gib: machine.memory_gib,
        })
    }

    /// Tells everybody what is offered, if anything is.
    async fn announce(&self) {
        self.say(self.0.offer.get(), LIFE_MS).await;
    }

    async fn say(&self, offer: Option<OfferAsk>, life_ms: u64) {
        let (Some(net), Some(offer)) = (self.0.peer.net(), offer) else {
            return;
        };
        let home = self.0.home.clone();
        let found = tokio::task::spawn_blocking(move || {
            Ok::<_, WorkError>((machine::bases(&home)?, machine::found(), offer::terms(&offer)?))
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

    /// Remembers what others offer.
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
                // Those that were missed come again.
                Err(RecvError::Lagged(_)) => (),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Who offers work, this node included.
    pub fn workers(&self) -> Vec<WorkerLine> {
        self.heard().lines(self.0.peer.now())
    }
}

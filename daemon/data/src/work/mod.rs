//! Work that this node offers, by its operator's word, and who else offers any.
//!
//! An offer lies in `data/work.json` until it is taken back, so a restart does not end it. While the node runs it is
//! announced with the base models that are here and with what computes, holds for ten minutes, and is announced again
//! before it runs out. It is a hint: nothing comes of it before a job is agreed on.

mod heard;
mod machine;
mod offer;

use std::{io, path::PathBuf};

use protocol::{
    crypto::Signed,
    message::announce::{Announcement, Term, Work, Worker},
};

pub(super) use heard::Workers;
pub(super) use offer::Offer;

use super::{Data, DataError};
use base::{
    operator::work::{OfferAnswer, OfferAsk, WorkerLine},
    report::Kind,
    words::chained,
};

/// How long an offer holds.
pub(super) const LIFE_MS: u64 = 10 * 60 * 1000;
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

impl WorkError {
    /// What kind of failure it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Ask { .. } => Kind::Usage,
            Self::File { .. } | Self::Models(_) => Kind::Failed,
        }
    }
}

impl Data {
    /// Offers work from now on, in place of what was offered.
    pub async fn work_offer(&self, ask: OfferAsk) -> Result<OfferAnswer, DataError> {
        let (kinds, _) = offer::terms(&ask)?;
        let answer = self.work_with(Some(ask.clone())).await?;
        // An auditor computes on what it is sent; the others need a model.
        if answer.bases.is_empty() && kinds.iter().any(|work| *work != Work::Audit) {
            let what = "training and inference need a base model; keep one with `openledger model add DIR`".to_owned();
            return Err(WorkError::Ask { field: "kind", what }.into());
        }
        self.0.offer.set(Some(ask))?;
        self.announce_work().await;
        Ok(answer)
    }

    /// Offers nothing any more. Peers forget the last offer as soon as they hear so, and within ten minutes otherwise.
    pub async fn work_withdraw(&self) -> Result<bool, DataError> {
        let offered = self.0.offer.get();
        self.0.offer.set(None)?;
        let any = offered.is_some();
        self.say_work(offered, FAREWELL_MS).await;
        Ok(any)
    }

    /// What is offered.
    pub async fn work_status(&self) -> Result<OfferAnswer, DataError> {
        self.work_with(self.0.offer.get()).await
    }

    async fn work_with(&self, offer: Option<OfferAsk>) -> Result<OfferAnswer, DataError> {
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
    pub(super) async fn announce_work(&self) {
        self.say_work(self.0.offer.get(), LIFE_MS).await;
    }

    async fn say_work(&self, offer: Option<OfferAsk>, life_ms: u64) {
        let (Some(network), Some(offer)) = (&self.0.network, offer) else {
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
            worker: self.0.me,
            kinds,
            bases,
            prices,
            machine,
            term: Term::starting(self.0.clock.now(), life_ms),
        };
        let said = Signed::new(worker, &network.key, &network.domain);
        self.heard()
            .note(self.0.clock.now(), Announcement::Worker(said.clone()));
        network.net.announce(Announcement::Worker(said));
    }

    /// Who offers work, this node included.
    pub fn workers(&self) -> Vec<WorkerLine> {
        self.heard().workers(self.0.clock.now())
    }
}

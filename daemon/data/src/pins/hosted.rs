//! The shell around a host's machine of one deal: fetch, register, prove, forget.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use net::data::Alpn;
use protocol::{
    NodeId, Time,
    crypto::Signed,
    machine::{Deal, DealId, HostEffect, HostInput, Hosting},
    message::pin::{PinReply, PinRequest},
    proof::{Beacon, Bundle},
    receipt::StorageAnswer,
};
use storage::blob::{Content, Reason};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{
    PinError, Pins,
    note::{self, HostSaid, Note},
    told::Told,
};
use crate::{
    fetching::{self, Errand},
    library::LibraryError,
    notes::Notes,
};
use base::lock;
use protocol::event::Event;

/// How long after a failed fetch it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

type Proven = (Signed<StorageAnswer>, Bundle);

/// A deal that this node took.
pub(super) struct Hosted {
    pub(super) id: DealId,
    pub(super) deal: Deal,
    dir: PathBuf,
    told: Told<Hosting>,
    /// What is to be done first after a start.
    first: Mutex<Vec<HostEffect>>,
    asked: Mutex<Vec<(Beacon, oneshot::Sender<Proven>)>>,
}

impl Hosted {
    /// A deal that was weighed and taken; on disk when this returns.
    pub(super) async fn take(dir: &Path, signed: Signed<Deal>, me: NodeId, now: Time) -> Result<Self, PinError> {
        let notes = note::begin(dir, &signed, now).await?;
        Ok(Self::new(dir, notes, signed.message, me, now))
    }

    fn new(dir: &Path, notes: Notes, deal: Deal, me: NodeId, now: Time) -> Self {
        let mut first = Vec::new();
        let machine = Hosting::take(deal.clone(), me, now, &mut first);
        Self {
            id: machine.id(),
            deal,
            dir: dir.to_owned(),
            told: Told::new(machine, notes),
            first: Mutex::new(first),
            asked: Mutex::default(),
        }
    }

    /// A deal as it was when the node last ran; none if nothing was promised yet.
    pub(super) fn read(dir: &Path, me: NodeId) -> Result<Option<Self>, PinError> {
        let Some(known) = note::read(dir)? else {
            return Ok(None);
        };
        let hosted = Self::new(dir, known.notes, known.signed.message, me, known.at);
        for record in known.rest {
            if let Note::Host(at, said) = record {
                let mut todo = hosted.told.step(at, said.into());
                // Of all that was wanted, the last is what may not have been done; registering is said again by itself.
                todo.retain(|effect| !matches!(effect, HostEffect::Register { .. } | HostEffect::Answer(..)));
                *lock::locked(&hosted.first) = todo;
            }
        }
        Ok(Some(hosted))
    }

    /// Does what was left to do.
    pub(super) fn begin(self: &Arc<Self>, pins: &Pins) {
        let first = std::mem::take(&mut *lock::locked(&self.first));
        self.perform_all(pins, first);
    }

    pub(super) fn is_over(&self) -> bool {
        self.told.machine().is_over()
    }

    /// Until when, as it was renewed.
    pub(super) fn until(&self) -> Time {
        self.told.machine().deal().until
    }

    pub(super) fn is_registered(&self) -> bool {
        self.told.machine().is_registered()
    }

    async fn tell(self: &Arc<Self>, pins: &Pins, said: HostSaid) {
        match self.told.tell(&pins.0.peer, said, |_| ()).await {
            Ok((effects, ())) => self.perform_all(pins, effects),
            Err(error) => warn!(%error, deal = %format_args!("{:#}", self.id), "a deal could not be written down"),
        }
    }

    fn step(self: &Arc<Self>, pins: &Pins, input: HostInput) {
        self.perform_all(pins, self.told.step(pins.0.peer.now(), input));
    }

    fn perform_all(self: &Arc<Self>, pins: &Pins, effects: Vec<HostEffect>) {
        effects.into_iter().for_each(|effect| self.perform(pins, effect));
    }

    fn perform(self: &Arc<Self>, pins: &Pins, effect: HostEffect) {
        let hosted = self.clone();
        match effect {
            HostEffect::Fetch => pins.spawn(move |pins| async move { hosted.fetch(&pins).await }),
            HostEffect::Prove(chunks) => pins.spawn(move |pins| async move { hosted.prove(&pins, chunks).await }),
            HostEffect::Register { part, bundle } => pins.spawn(move |pins| async move {
                let deal = hosted.id;
                let ask = PinRequest::Register { deal, part, bundle };
                if let Ok(PinReply::Accepted) = pins.ask(hosted.deal.owner, &ask).await {
                    let parts = hosted.deal.parts();
                    info!(deal = %format_args!("{deal:#}"), part, parts, "registered as a host");
                    hosted.tell(&pins, HostSaid::Registered { part }).await;
                }
            }),
            HostEffect::Answer(beacon, bundle) => {
                let said = StorageAnswer {
                    deal: self.id,
                    host: pins.0.peer.id(),
                    beacon,
                    bundle: bundle.hash(),
                };
                let signed = pins.0.peer.sign(said);
                let asked = std::mem::take(&mut *lock::locked(&self.asked));
                for (wanted, reply) in asked {
                    if wanted == beacon {
                        // Whoever asked may be gone.
                        drop(reply.send((signed.clone(), bundle.clone())));
                    }
                }
            }
            HostEffect::Unpin(why) => pins.spawn(move |pins| async move {
                pins.0.peer.tell(Event::CopyDropped {
                    deal: hosted.id,
                    why: format!("{why:?}"),
                });
                hosted.forget(&pins).await;
            }),
        }
    }

    async fn fetch(self: &Arc<Self>, pins: &Pins) {
        while !self.is_over() {
            match self.fetch_once(pins).await {
                Ok(()) => return self.tell(pins, HostSaid::Fetched).await,
                Err(error) => {
                    let why = base::words::chained(&error);
                    warn!(why, deal = %format_args!("{:#}", self.id), "a deal's shards did not come; tried again");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn fetch_once(&self, pins: &Pins) -> Result<(), PinError> {
        let content = Content::sequence(self.deal.set);
        let (shelf, network) = (pins.0.public.shelf(), pins.0.peer.network()?);
        if shelf.blobs.settle(content).await.is_err() {
            let errand = Errand {
                plane: &network.plane,
                net: &network.net,
                shelf: &shelf,
                content,
                bytes: self.deal.bytes(),
                providers: pins
                    .0
                    .announcements
                    .providers_or(self.deal.set, vec![self.deal.owner])
                    .await,
                alpn: Alpn::public(),
            };
            fetching::fetch(errand, |_| ()).await?;
        }
        shelf
            .blobs
            .pin(content, Reason::Deal(self.id.0))
            .await
            .map_err(LibraryError::from)?;
        pins.0.public.refresh().await;
        pins.0.announcements.announce(self.deal.set).await;
        Ok(())
    }

    async fn prove(self: &Arc<Self>, pins: &Pins, chunks: Vec<(usize, u64)>) {
        let mut bundle = Bundle {
            proofs: Vec::with_capacity(chunks.len()),
        };
        for (position, chunk) in chunks {
            match pins.0.public.blobs.prove(&self.deal.shards[position], chunk).await {
                Ok(proof) => bundle.proofs.push(proof),
                Err(error) => {
                    let why = base::words::chained(&error);
                    warn!(why, deal = %format_args!("{:#}", self.id), "a shard is no longer what it was; fetched again");
                    // Damaged blobs are dropped, so that they can come again.
                    drop(
                        pins.0
                            .public
                            .blobs
                            .fsck(storage::blob::Repair::Damaged, |_, _| ())
                            .await,
                    );
                    return self.tell(pins, HostSaid::Damaged).await;
                }
            }
        }
        if self.is_registered() {
            self.step(pins, HostInput::Proven(bundle));
        } else {
            self.tell(pins, HostSaid::Registering(bundle)).await;
        }
    }

    /// What this host proves under a beacon that the chain has.
    pub(super) async fn challenged(self: &Arc<Self>, pins: &Pins, beacon: Beacon) -> Option<Proven> {
        if !self.is_registered() {
            // An owner audits whom it has registered: the word of it was lost.
            let part = self.deal.parts() - 1;
            self.tell(pins, HostSaid::Registered { part }).await;
        }
        let (reply, answer) = oneshot::channel();
        lock::locked(&self.asked).push((beacon, reply));
        self.step(pins, HostInput::Challenged(beacon));
        let within = Duration::from_millis(self.deal.answer_within_ms);
        tokio::time::timeout(within, answer).await.ok()?.ok()
    }

    pub(super) async fn renewed(self: &Arc<Self>, pins: &Pins, until: Time) {
        self.tell(pins, HostSaid::Renewed { until }).await;
    }

    pub(super) async fn released(self: &Arc<Self>, pins: &Pins) {
        self.tell(pins, HostSaid::Released).await;
    }

    pub(super) async fn tick(self: &Arc<Self>, pins: &Pins) {
        if self.told.is_due(pins.0.peer.now()) {
            self.tell(pins, HostSaid::Tick).await;
        }
    }

    async fn forget(&self, pins: &Pins) {
        if let Err(error) = pins.0.public.blobs.unpin_all(&Reason::Deal(self.id.0)).await {
            warn!(%error, "a copy could not be let go");
            return;
        }
        pins.0.public.refresh().await;
        if pins.0.public.blobs.reasons(self.deal.set).is_none() {
            pins.0.announcements.withdraw(self.deal.set);
        }
        pins.0.deals.hosted_gone(self.id);
        // The next start finds a deal that is over otherwise.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

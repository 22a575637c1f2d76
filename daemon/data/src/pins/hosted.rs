//! A deal that this node hosts: the shell around the host's state machine, which fetches, registers, proves and drops the
//! copy.

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
    journaled::Journaled,
    record::{self, HostRecord, Record},
};
use crate::{
    fetching::{self, FetchRequest},
    library::LibraryError,
    record_list::RecordList,
};
use base::lock;
use protocol::event::Event;

/// Wait before a failed fetch is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(5);

type Proven = (Signed<StorageAnswer>, Bundle);

/// A deal that this node accepted as a host.
pub(super) struct Hosted {
    pub(super) id: DealId,
    pub(super) deal: Deal,
    dir: PathBuf,
    machine: Journaled<Hosting>,
    /// Effects to perform after a start: the last ones before the node stopped.
    first: Mutex<Vec<HostEffect>>,
    /// Challenges that wait for their proof.
    challenges: Mutex<Vec<(Beacon, oneshot::Sender<Proven>)>>,
}

impl Hosted {
    /// Accepts a deal. It is durable when this returns.
    pub(super) async fn take(dir: &Path, signed: Signed<Deal>, me: NodeId, now: Time) -> Result<Self, PinError> {
        let records = record::begin(dir, &signed, now).await?;
        Ok(Self::new(dir, records, signed.message, me, now))
    }

    fn new(dir: &Path, records: RecordList, deal: Deal, me: NodeId, now: Time) -> Self {
        let mut first = Vec::new();
        let machine = Hosting::take(deal.clone(), me, now, &mut first);
        Self {
            id: machine.id(),
            deal,
            dir: dir.to_owned(),
            machine: Journaled::new(machine, records),
            first: Mutex::new(first),
            challenges: Mutex::default(),
        }
    }

    /// Reads a deal and replays its recorded inputs. `None` if a crash left no deal in the folder.
    pub(super) fn read(dir: &Path, me: NodeId) -> Result<Option<Self>, PinError> {
        let Some(known) = record::read(dir)? else {
            return Ok(None);
        };
        let hosted = Self::new(dir, known.records, known.signed.message, me, known.at);
        for record in known.rest {
            if let Record::Host(at, said) = record {
                let mut todo = hosted.machine.step(at, said.into());
                // Only the effects of the last input may be undone. Registration is repeated by the machine itself.
                todo.retain(|effect| !matches!(effect, HostEffect::Register { .. } | HostEffect::Answer(..)));
                *lock::locked(&hosted.first) = todo;
            }
        }
        Ok(Some(hosted))
    }

    /// Performs the effects that were left at the last stop.
    pub(super) fn resume(self: &Arc<Self>, pins: &Pins) {
        let first = std::mem::take(&mut *lock::locked(&self.first));
        self.perform_all(pins, first);
    }

    pub(super) fn is_over(&self) -> bool {
        self.machine.machine().is_over()
    }

    /// End of the deal, with renewals.
    pub(super) fn until(&self) -> Time {
        self.machine.machine().deal().until
    }

    pub(super) fn is_registered(&self) -> bool {
        self.machine.machine().is_registered()
    }

    async fn apply(self: &Arc<Self>, pins: &Pins, input: HostRecord) {
        match self.machine.apply(&pins.0.peer, input, |_| ()).await {
            Ok((effects, ())) => self.perform_all(pins, effects),
            Err(error) => warn!(%error, deal = %format_args!("{:#}", self.id), "could not store an input of a deal"),
        }
    }

    fn step(self: &Arc<Self>, pins: &Pins, input: HostInput) {
        self.perform_all(pins, self.machine.step(pins.0.peer.now(), input));
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
                    hosted.apply(&pins, HostRecord::Registered { part }).await;
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
                let challenges = std::mem::take(&mut *lock::locked(&self.challenges));
                for (wanted, reply) in challenges {
                    if wanted == beacon {
                        // The waiting request may be gone.
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
                Ok(()) => return self.apply(pins, HostRecord::Fetched).await,
                Err(error) => {
                    let why = base::errors::chained(&error);
                    warn!(why, deal = %format_args!("{:#}", self.id), "could not fetch the shards of a deal; trying again");
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn fetch_once(&self, pins: &Pins) -> Result<(), PinError> {
        let content = Content::sequence(self.deal.set);
        let (store, network) = (pins.0.public.shard_store(), pins.0.peer.network()?);
        if store.blobs.settle(content).await.is_err() {
            let request = FetchRequest {
                plane: &network.plane,
                net: &network.net,
                store: &store,
                content,
                bytes: self.deal.bytes(),
                providers: pins
                    .0
                    .announcements
                    .providers_or(self.deal.set, vec![self.deal.owner])
                    .await,
                alpn: Alpn::public(),
            };
            fetching::fetch(request, |_| ()).await?;
        }
        store
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
                    let why = base::errors::chained(&error);
                    warn!(why, deal = %format_args!("{:#}", self.id), "a shard is damaged; fetching it again");
                    // Damaged blobs must be dropped before they can be fetched again.
                    drop(
                        pins.0
                            .public
                            .blobs
                            .fsck(storage::blob::Repair::Damaged, |_, _| ())
                            .await,
                    );
                    return self.apply(pins, HostRecord::Damaged).await;
                }
            }
        }
        if self.is_registered() {
            self.step(pins, HostInput::Proven(bundle));
        } else {
            self.apply(pins, HostRecord::Registering(bundle)).await;
        }
    }

    /// Proves the chunks that a beacon of the chain draws.
    pub(super) async fn challenged(self: &Arc<Self>, pins: &Pins, beacon: Beacon) -> Option<Proven> {
        if !self.is_registered() {
            // The owner audits only registered hosts, so its confirmation of the registration was lost.
            let part = self.deal.parts() - 1;
            self.apply(pins, HostRecord::Registered { part }).await;
        }
        let (reply, proven) = oneshot::channel();
        lock::locked(&self.challenges).push((beacon, reply));
        self.step(pins, HostInput::Challenged(beacon));
        let within = Duration::from_millis(self.deal.answer_within_ms);
        tokio::time::timeout(within, proven).await.ok()?.ok()
    }

    pub(super) async fn renewed(self: &Arc<Self>, pins: &Pins, until: Time) {
        self.apply(pins, HostRecord::Renewed { until }).await;
    }

    pub(super) async fn released(self: &Arc<Self>, pins: &Pins) {
        self.apply(pins, HostRecord::Released).await;
    }

    pub(super) async fn tick(self: &Arc<Self>, pins: &Pins) {
        if self.machine.is_due(pins.0.peer.now()) {
            self.apply(pins, HostRecord::Tick).await;
        }
    }

    async fn forget(&self, pins: &Pins) {
        if let Err(error) = pins.0.public.blobs.unpin_all(&Reason::Deal(self.id.0)).await {
            warn!(%error, "could not unpin a copy");
            return;
        }
        pins.0.public.refresh().await;
        if pins.0.public.blobs.reasons(self.deal.set).is_none() {
            pins.0.announcements.withdraw(self.deal.set);
        }
        pins.0.deals.hosted_gone(self.id);
        // If this fails, the next start finds a deal that is over.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

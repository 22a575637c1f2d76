//! The shell around the owner's machine of one deal: written down, stepped, performed.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
};

use protocol::{
    NodeId, Time,
    crypto::Signed,
    machine::{Audit, AuditEffect, AuditInput, Deal, DealId, Pin, PinEffect},
    message::pin::{PinReply, PinRequest},
    proof::Beacon,
    receipt::{RetrievalReceipt, StorageReceipt},
};
use tracing::{info, warn};

use super::{
    PinError, Pins,
    note::{self, Note, OwnerSaid},
    told::Told,
};
use crate::notes::Notes;
use base::lock;
use protocol::event::Event;

/// Receipts that are kept at hand.
const AT_HAND: usize = 512;

/// A deal of this node's own.
pub(super) struct Owned {
    pub(super) id: DealId,
    pub(super) signed: Signed<Deal>,
    told: Told<Pin>,
    audits: Mutex<BTreeMap<NodeId, Audit>>,
    receipts: Mutex<VecDeque<Signed<StorageReceipt>>>,
    retrievals: Mutex<VecDeque<Signed<RetrievalReceipt>>>,
    /// Until when each host was told that the deal goes on.
    informed: Mutex<BTreeMap<NodeId, Time>>,
}

impl Owned {
    /// A new deal, on disk when this returns.
    pub(super) async fn make(dir: &Path, signed: Signed<Deal>, now: Time) -> Result<Self, PinError> {
        let notes = note::begin(dir, &signed, now).await?;
        Ok(Self::new(notes, signed))
    }

    fn new(notes: Notes, signed: Signed<Deal>) -> Self {
        Self {
            id: signed.message.id(),
            told: Told::new(Pin::new(signed.message.clone()), notes),
            signed,
            audits: Mutex::default(),
            receipts: Mutex::default(),
            retrievals: Mutex::default(),
            informed: Mutex::default(),
        }
    }

    /// A deal as it was when the node last ran; none if nothing was promised to anybody yet.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, PinError> {
        let Some(known) = note::read(dir)? else {
            return Ok(None);
        };
        let owned = Self::new(known.notes, known.signed);
        for record in known.rest {
            match record {
                // What the machine wanted done was done, or is asked for again by its deadlines.
                Note::Owner(at, said) => drop(owned.told.step(at, said.into())),
                Note::Storage(receipt) => push(&owned.receipts, receipt),
                Note::Retrieval(receipt) => push(&owned.retrievals, receipt),
                Note::Deal(..) | Note::Host(..) | Note::False(_) => (),
            }
        }
        Ok(Some(owned))
    }

    pub(super) fn deal(&self) -> Deal {
        self.told.machine().deal().clone()
    }

    pub(super) fn holding(&self) -> Vec<NodeId> {
        self.told.machine().holding().collect()
    }

    /// How many parts of a host's registration came.
    pub(super) fn parts(&self, host: NodeId) -> u32 {
        self.told.machine().parts(host)
    }

    /// Whether a host was told that the deal goes on until then.
    pub(super) fn has_heard(&self, host: NodeId, until: Time) -> bool {
        lock::locked(&self.informed)
            .get(&host)
            .is_some_and(|told| *told >= until)
    }

    /// A host was told.
    pub(super) fn heard(&self, host: NodeId, until: Time) {
        lock::locked(&self.informed).insert(host, until);
    }

    pub(super) fn spent(&self) -> protocol::Amount {
        self.told.machine().spent()
    }

    /// A machine that has no deadline wants nothing any more.
    pub(super) fn is_over(&self) -> bool {
        self.told.machine().deadline().is_none()
    }

    pub(super) fn receipts(&self) -> Vec<Signed<StorageReceipt>> {
        lock::locked(&self.receipts).iter().cloned().collect()
    }

    pub(super) fn retrievals(&self) -> Vec<Signed<RetrievalReceipt>> {
        lock::locked(&self.retrievals).iter().cloned().collect()
    }

    /// Tells the machine something: durable first, then stepped, then performed.
    pub(super) async fn tell(self: &Arc<Self>, pins: &Pins, said: OwnerSaid) -> Result<(), PinError> {
        let holding = |pin: &Pin| pin.holding().collect::<Vec<_>>();
        let (effects, before) = self.told.tell(&pins.0.peer, said, holding).await?;
        for effect in effects {
            self.perform(pins, effect, &before);
        }
        Ok(())
    }

    fn perform(self: &Arc<Self>, pins: &Pins, effect: PinEffect, before: &[NodeId]) {
        let (deal, owned) = (self.id, self.clone());
        let tell = |event| pins.0.peer.tell(event);
        match effect {
            PinEffect::Seek { missing } => {
                info!(deal = %format_args!("{deal:#}"), missing, "looking for hosts");
                pins.spawn(|pins| async move {
                    for peer in pins.0.peer.peers() {
                        drop(owned.tell(&pins, OwnerSaid::Candidate(peer)).await);
                    }
                });
            }
            PinEffect::Offer(node) => pins.spawn(move |pins| async move { owned.offer(&pins, node).await }),
            // The answer to the host says so.
            PinEffect::Acknowledge { .. } => (),
            PinEffect::Registered(host) => tell(Event::CopyHeld { deal, host }),
            PinEffect::Pay { host, epoch, amount } => {
                tell(Event::HostOwed {
                    deal,
                    host,
                    epoch,
                    amount,
                });
            }
            PinEffect::Warn { host, misses } => {
                let misses = u32::from(misses);
                tell(Event::AuditMissed { deal, host, misses });
            }
            PinEffect::Drop(node, why) => {
                let (host, why) = (node, format!("{why:?}"));
                tell(Event::HostDropped { deal, host, why });
                lock::locked(&self.audits).remove(&node);
                pins.release(self.id, node);
            }
            PinEffect::Ended => {
                tell(Event::DealEnded { deal });
                lock::locked(&self.audits).clear();
                before.iter().for_each(|node| pins.release(self.id, *node));
            }
        }
    }

    async fn offer(self: &Arc<Self>, pins: &Pins, node: NodeId) {
        // Who does not answer is asked again by the machine.
        let (deal, renewal) = (Box::new(self.signed.clone()), self.renewal(pins));
        let said = match pins.ask(node, &PinRequest::Offer { deal, renewal }).await {
            Ok(PinReply::Accepted) => OwnerSaid::Accepted(node),
            Ok(PinReply::Declined(why)) => {
                info!(host = %format_args!("{node:#}"), %why, "a host declined");
                OwnerSaid::Declined(node)
            }
            Ok(_) => OwnerSaid::Declined(node),
            Err(_) => return,
        };
        self.report(pins, said).await;
    }

    async fn report(self: &Arc<Self>, pins: &Pins, said: OwnerSaid) {
        if let Err(error) = self.tell(pins, said).await {
            warn!(%error, deal = %format_args!("{:#}", self.id), "a deal could not be written down");
        }
    }

    /// An epoch began: every host that holds a copy is asked to prove it.
    pub(super) fn epoch(self: &Arc<Self>, pins: &Pins, beacon: Beacon) {
        self.spread(pins);
        // Deals are made on a chain; without one there are no beacons either.
        let Some(domain) = pins.0.peer.domain() else { return };
        // As it was signed: a renewal changes its end and not its name, which every answer carries.
        let deal = &self.signed.message;
        for host in self.holding() {
            let audit = || Audit::new(deal.clone(), host, pins.0.peer.id(), domain);
            lock::locked(&self.audits).entry(host).or_insert_with(audit);
            self.audit(pins, host, AuditInput::Epoch(beacon));
        }
    }

    fn audit(self: &Arc<Self>, pins: &Pins, host: NodeId, input: AuditInput) {
        let mut todo = Vec::new();
        if let Some(audit) = lock::locked(&self.audits).get_mut(&host) {
            audit.step(pins.0.peer.now(), input, &mut todo);
        }
        for effect in todo {
            let owned = self.clone();
            pins.spawn(move |pins| async move { owned.judge(&pins, host, effect).await });
        }
    }

    #[tracing::instrument(name = "pins.audit.verify", skip_all, fields(deal = %format_args!("{:#}", self.id), host = %format_args!("{host:#}")))]
    async fn judge(self: Arc<Self>, pins: &Pins, host: NodeId, effect: AuditEffect) {
        let kept = match effect {
            AuditEffect::Challenge(beacon) => {
                let ask = PinRequest::Challenge { deal: self.id, beacon };
                if let Ok(PinReply::Proof { answer, bundle }) = pins.ask(host, &ask).await {
                    self.audit(pins, host, AuditInput::Answered(answer, bundle));
                }
                return;
            }
            AuditEffect::Verdict(receipt) => {
                let said = OwnerSaid::Audited {
                    host,
                    epoch: receipt.epoch,
                    outcome: receipt.outcome,
                };
                pins.0.deals.tally.note(receipt.outcome);
                let signed = pins.0.peer.sign(receipt);
                let kept = self.told.notes.add(&[Note::Storage(signed.clone())]).await;
                push(&self.receipts, signed);
                self.report(pins, said).await;
                kept
            }
            AuditEffect::Accuse(proof) => {
                warn!(host = %format_args!("{host:#}"), deal = %format_args!("{:#}", self.id), "a host signed a false proof; the evidence is kept");
                self.told.notes.add(&[Note::False(proof)]).await
            }
        };
        if let Err(error) = kept {
            warn!(%error, "a verdict could not be written down");
        }
    }

    /// What a peer got that asked a host for a chunk.
    pub(super) async fn retrieved(&self, receipt: Signed<RetrievalReceipt>) -> Result<(), PinError> {
        self.told.notes.add(&[Note::Retrieval(receipt.clone())]).await?;
        push(&self.retrievals, receipt);
        Ok(())
    }

    /// Does what is due.
    pub(super) async fn tick(self: &Arc<Self>, pins: &Pins) {
        let now = pins.0.peer.now();
        let due: Vec<_> = {
            let audits = lock::locked(&self.audits);
            let due = |audit: &Audit| audit.deadline().is_some_and(|at| at <= now);
            audits
                .iter()
                .filter(|(_, audit)| due(audit))
                .map(|(host, _)| *host)
                .collect()
        };
        for host in due {
            self.audit(pins, host, AuditInput::Tick);
        }
        if self.told.is_due(now) {
            self.report(pins, OwnerSaid::Tick).await;
        }
    }
}

fn push<T>(list: &Mutex<VecDeque<T>>, item: T) {
    let mut list = lock::locked(list);
    if list.len() == AT_HAND {
        list.pop_front();
    }
    list.push_back(item);
}

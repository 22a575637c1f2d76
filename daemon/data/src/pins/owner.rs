//! A deal that this node owns: the shell around the owner's state machine. Inputs are recorded, then stepped, then their
//! effects performed.

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
    journaled::Journaled,
    record::{self, PinRecord, Record},
};
use crate::record_list::RecordList;
use base::lock;
use protocol::event::Event;

/// Most receipts per deal that are kept in memory.
const RECEIPTS_KEPT: usize = 512;

/// A deal that this node owns.
pub(super) struct Owned {
    pub(super) id: DealId,
    pub(super) signed: Signed<Deal>,
    machine: Journaled<Pin>,
    audits: Mutex<BTreeMap<NodeId, Audit>>,
    receipts: Mutex<VecDeque<Signed<StorageReceipt>>>,
    retrievals: Mutex<VecDeque<Signed<RetrievalReceipt>>>,
    /// The end of the deal as last confirmed by each host.
    informed: Mutex<BTreeMap<NodeId, Time>>,
}

impl Owned {
    /// Makes a deal. It is durable when this returns.
    pub(super) async fn make(dir: &Path, signed: Signed<Deal>, now: Time) -> Result<Self, PinError> {
        let records = record::begin(dir, &signed, now).await?;
        Ok(Self::new(records, signed))
    }

    fn new(records: RecordList, signed: Signed<Deal>) -> Self {
        Self {
            id: signed.message.id(),
            machine: Journaled::new(Pin::new(signed.message.clone()), records),
            signed,
            audits: Mutex::default(),
            receipts: Mutex::default(),
            retrievals: Mutex::default(),
            informed: Mutex::default(),
        }
    }

    /// Reads a deal and replays its recorded inputs. `None` if a crash left no deal in the folder.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, PinError> {
        let Some(known) = record::read(dir)? else {
            return Ok(None);
        };
        let owned = Self::new(known.records, known.signed);
        for record in known.rest {
            match record {
                // Effects were performed, or are repeated by the machine's deadlines.
                Record::Owner(at, said) => drop(owned.machine.step(at, said.into())),
                Record::Storage(receipt) => push(&owned.receipts, receipt),
                Record::Retrieval(receipt) => push(&owned.retrievals, receipt),
                Record::Deal(..) | Record::Host(..) | Record::False(_) => (),
            }
        }
        Ok(Some(owned))
    }

    pub(super) fn deal(&self) -> Deal {
        self.machine.machine().deal().clone()
    }

    pub(super) fn holding(&self) -> Vec<NodeId> {
        self.machine.machine().holding().collect()
    }

    /// Number of registration parts received from a host.
    pub(super) fn parts(&self, host: NodeId) -> u32 {
        self.machine.machine().parts(host)
    }

    /// Returns true if a host has confirmed a renewal until then.
    pub(super) fn has_confirmed(&self, host: NodeId, until: Time) -> bool {
        lock::locked(&self.informed)
            .get(&host)
            .is_some_and(|told| *told >= until)
    }

    /// Notes that a host has confirmed a renewal.
    pub(super) fn set_confirmed(&self, host: NodeId, until: Time) {
        lock::locked(&self.informed).insert(host, until);
    }

    pub(super) fn spent(&self) -> protocol::Amount {
        self.machine.machine().spent()
    }

    /// Returns true if the deal has ended: the machine has no deadline left.
    pub(super) fn is_over(&self) -> bool {
        self.machine.machine().deadline().is_none()
    }

    pub(super) fn receipts(&self) -> Vec<Signed<StorageReceipt>> {
        lock::locked(&self.receipts).iter().cloned().collect()
    }

    pub(super) fn retrievals(&self) -> Vec<Signed<RetrievalReceipt>> {
        lock::locked(&self.retrievals).iter().cloned().collect()
    }

    /// Records an input, steps the machine, and performs the effects.
    pub(super) async fn apply(self: &Arc<Self>, pins: &Pins, input: PinRecord) -> Result<(), PinError> {
        let holding = |pin: &Pin| pin.holding().collect::<Vec<_>>();
        let (effects, before) = self.machine.apply(&pins.0.peer, input, holding).await?;
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
                        drop(owned.apply(&pins, PinRecord::Candidate(peer)).await);
                    }
                });
            }
            PinEffect::Offer(node) => pins.spawn(move |pins| async move { owned.offer(&pins, node).await }),
            // The reply to the host confirms it.
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
        // The machine repeats an offer that gets no reply.
        let (deal, renewal) = (Box::new(self.signed.clone()), self.renewal(pins));
        let said = match pins.ask(node, &PinRequest::Offer { deal, renewal }).await {
            Ok(PinReply::Accepted) => PinRecord::Accepted(node),
            Ok(PinReply::Declined(why)) => {
                info!(host = %format_args!("{node:#}"), %why, "a host declined");
                PinRecord::Declined(node)
            }
            Ok(_) => PinRecord::Declined(node),
            Err(_) => return,
        };
        self.report(pins, said).await;
    }

    async fn report(self: &Arc<Self>, pins: &Pins, input: PinRecord) {
        if let Err(error) = self.apply(pins, input).await {
            warn!(%error, deal = %format_args!("{:#}", self.id), "could not store an input of a deal");
        }
    }

    /// Starts an epoch: challenges every host that holds a copy.
    pub(super) fn start_epoch(self: &Arc<Self>, pins: &Pins, beacon: Beacon) {
        self.send_renewal(pins);
        // Without a chain there are no beacons and no deals.
        let Some(domain) = pins.0.peer.domain() else { return };
        // The deal as signed: a renewal changes its end but not its ID, which every answer contains.
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
                let said = PinRecord::Audited {
                    host,
                    epoch: receipt.epoch,
                    outcome: receipt.outcome,
                };
                pins.0.deals.tally.note(receipt.outcome);
                let signed = pins.0.peer.sign(receipt);
                let kept = self.machine.records.add(&[Record::Storage(signed.clone())]).await;
                push(&self.receipts, signed);
                self.report(pins, said).await;
                kept
            }
            AuditEffect::Accuse(proof) => {
                warn!(host = %format_args!("{host:#}"), deal = %format_args!("{:#}", self.id), "stored evidence of a false proof");
                self.machine.records.add(&[Record::False(proof)]).await
            }
        };
        if let Err(error) = kept {
            warn!(%error, "could not store an audit result");
        }
    }

    /// Stores the result of a chunk request to a host.
    pub(super) async fn add_retrieval(&self, receipt: Signed<RetrievalReceipt>) -> Result<(), PinError> {
        self.machine.records.add(&[Record::Retrieval(receipt.clone())]).await?;
        push(&self.retrievals, receipt);
        Ok(())
    }

    /// Steps the machines whose deadlines have passed.
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
        if self.machine.is_due(now) {
            self.report(pins, PinRecord::Tick).await;
        }
    }
}

fn push<T>(list: &Mutex<VecDeque<T>>, item: T) {
    let mut list = lock::locked(list);
    if list.len() == RECEIPTS_KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

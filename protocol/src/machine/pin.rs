//! The owner's state machine for one deal: keep the paid number of copies, and replace each host that fails.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deal, DealId, RESEND_MS};
use crate::{Amount, NodeId, Time, proof::Bundle, receipt::Outcome};

/// Missed audits in a row after which a host loses the deal.
pub const MISSES_MAX: u8 = 3;
/// Time for a host to accept or decline an offer.
const ACCEPT_WITHIN_MS: u64 = 10_000;
/// Interval between searches for candidates while copies are missing.
const SEEK_EVERY_MS: u64 = 30_000;
/// Most candidates kept in reserve. Further ones are dropped.
const CANDIDATES_MAX: usize = 64;

/// One deal, from the owner's side. At most `copies` hosts are in use, and at most `escrow` is paid.
#[derive(Clone, Debug)]
pub struct Pin {
    deal: Deal,
    id: DealId,
    hosts: BTreeMap<NodeId, Host>,
    /// Candidates that have not been asked yet.
    candidates: BTreeSet<NodeId>,
    /// Hosts that failed or declined. They are not asked again.
    failed: BTreeSet<NodeId>,
    seek: Option<Time>,
    spent: Amount,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Offered {
        again: Time,
        due: Time,
    },
    /// `parts` of its registration have arrived.
    Fetching {
        due: Time,
        parts: u32,
    },
    Holding {
        misses: u8,
        judged: Option<u64>,
    },
}

/// An input of [`Pin::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinInput {
    /// A node that may be willing to host.
    Candidate(NodeId),
    Accepted(NodeId),
    Declined(NodeId),
    /// A host sent a part of its registration: proofs of the last chunks of its shards.
    Registered {
        host: NodeId,
        /// Index of the part, from 0.
        part: u32,
        bundle: Bundle,
    },
    /// An auditor's verdict. The caller has checked the signature, and that the auditor was drawn.
    Audited {
        host: NodeId,
        epoch: u64,
        outcome: Outcome,
    },
    Renewed {
        until: Time,
        /// The new total escrow.
        escrow: Amount,
    },
    /// The owner ended the deal.
    Cancelled,
    Tick,
}

/// The reason that a host was dropped from a deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No reply to the offer. The host may be asked again, since the offer may have been lost.
    Silent,
    Declined,
    /// Accepted the offer but did not register in time.
    NotFetched,
    /// Registered with proofs that do not verify.
    BadRegistration,
    /// [`MISSES_MAX`] missed audits in a row.
    Missed,
    /// Signed a proof that does not verify.
    Lied,
}

/// An effect that the caller performs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinEffect {
    /// Search for nodes that would host.
    Seek { missing: u16 },
    /// Send the offer to a host.
    Offer(NodeId),
    /// Tell a host that a part of its registration arrived. Also sent for a repeated part.
    Acknowledge { host: NodeId, part: u32 },
    /// A host registered completely: store that and start auditing it.
    Registered(NodeId),
    /// Record that a host is owed for one epoch.
    Pay { host: NodeId, epoch: u64, amount: Amount },
    /// Warn a host about a missed audit.
    Warn {
        host: NodeId,
        /// Misses in a row.
        misses: u8,
    },
    /// Stop auditing a dropped host, and tell it.
    Drop(NodeId, Dropped),
    /// The deal ended; all hosts are released.
    Ended,
}

impl Pin {
    /// Creates the machine for a deal that passed [`Deal::check`]. No host knows of the deal yet.
    pub fn new(deal: Deal) -> Self {
        Self {
            id: deal.id(),
            deal,
            hosts: BTreeMap::new(),
            candidates: BTreeSet::new(),
            failed: BTreeSet::new(),
            seek: Some(Time(0)),
            spent: Amount::ZERO,
            over: false,
        }
    }

    /// Returns the deal's id.
    pub const fn id(&self) -> DealId {
        self.id
    }

    /// Returns the terms, with renewals applied.
    pub const fn deal(&self) -> &Deal {
        &self.deal
    }

    /// Returns the hosts that registered completely.
    pub fn holding(&self) -> impl Iterator<Item = NodeId> {
        let holding = |(node, host): (&NodeId, &Host)| matches!(host, Host::Holding { .. }).then_some(*node);
        self.hosts.iter().filter_map(holding)
    }

    /// Returns the number of registration parts that arrived from a host.
    pub fn parts(&self, node: NodeId) -> u32 {
        match self.hosts.get(&node) {
            Some(Host::Holding { .. }) => self.deal.parts(),
            Some(Host::Fetching { parts, .. }) => *parts,
            Some(Host::Offered { .. }) | None => 0,
        }
    }

    /// Returns the sum of all payments so far.
    pub const fn spent(&self) -> Amount {
        self.spent
    }

    /// Processes one input at time `now` and appends the effects to `todo`.
    pub fn step(&mut self, now: Time, input: PinInput, todo: &mut Vec<PinEffect>) {
        if self.over {
            return;
        }
        match input {
            PinInput::Candidate(node) => {
                let known = self.hosts.contains_key(&node) || self.failed.contains(&node);
                if !known && self.candidates.len() < CANDIDATES_MAX {
                    self.candidates.insert(node);
                }
            }
            PinInput::Accepted(node) => {
                if let Some(host @ Host::Offered { .. }) = self.hosts.get_mut(&node) {
                    let due = now.after_ms(self.deal.fetch_within_ms);
                    *host = Host::Fetching { due, parts: 0 };
                }
            }
            PinInput::Declined(node) => {
                if matches!(
                    self.hosts.get(&node),
                    Some(Host::Offered { .. } | Host::Fetching { .. })
                ) {
                    self.drop_host(node, Dropped::Declined, todo);
                }
            }
            PinInput::Registered { host, part, bundle } => self.register(now, host, (part, &bundle), todo),
            PinInput::Audited { host, epoch, outcome } => self.judge(host, epoch, outcome, todo),
            PinInput::Renewed { until, escrow } => {
                self.deal.until = self.deal.until.max(until);
                self.deal.escrow = self.deal.escrow.max(escrow);
            }
            PinInput::Cancelled => self.end(todo),
            PinInput::Tick => self.tick(now, todo),
        }
        if self.deal.until <= now {
            self.end(todo);
        }
        if !self.over {
            self.repair(now, todo);
        }
        assert!(
            self.hosts.len() <= usize::from(self.deal.copies),
            "more hosts than copies"
        );
        assert!(self.spent <= self.deal.escrow, "more was paid than was set aside");
    }

    /// Returns the time at which `step` needs the next [`PinInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        let due = |host: &Host| match host {
            Host::Offered { again, due } => Some(*again.min(due)),
            Host::Fetching { due, .. } => Some(*due),
            Host::Holding { .. } => None,
        };
        let own = [Some(self.deal.until), self.seek];
        self.hosts
            .values()
            .map(due)
            .chain(own)
            .flatten()
            .min()
            .filter(|_| !self.over)
    }

    fn register(&mut self, now: Time, host: NodeId, said: (u32, &Bundle), todo: &mut Vec<PinEffect>) {
        let (part, bundle) = said;
        let (due, parts) = match self.hosts.get(&host) {
            // The acknowledgement was lost: send it again.
            Some(Host::Holding { .. }) => return todo.push(PinEffect::Acknowledge { host, part }),
            Some(Host::Fetching { due, parts }) => (*due, *parts),
            Some(Host::Offered { .. }) => (now.after_ms(self.deal.fetch_within_ms), 0),
            None => return,
        };
        if part > parts {
            return;
        }
        if part == parts {
            if self.deal.registers(part, bundle).is_err() {
                return self.drop_host(host, Dropped::BadRegistration, todo);
            }
            let parts = parts + 1;
            self.hosts.insert(host, Host::Fetching { due, parts });
            if parts == self.deal.parts() {
                let (misses, judged) = (0, None);
                self.hosts.insert(host, Host::Holding { misses, judged });
                todo.push(PinEffect::Registered(host));
            }
        }
        todo.push(PinEffect::Acknowledge { host, part });
    }

    fn judge(&mut self, node: NodeId, epoch: u64, outcome: Outcome, todo: &mut Vec<PinEffect>) {
        let Some(Host::Holding { misses, judged }) = self.hosts.get_mut(&node) else {
            return;
        };
        // A false proof counts whenever it arrives; other outcomes count once per epoch, in ascending order.
        if outcome != Outcome::False && judged.is_some_and(|judged| epoch <= judged) {
            return;
        }
        *judged = (*judged).max(Some(epoch));
        match outcome {
            Outcome::Held => {
                *misses = 0;
                self.pay(node, epoch, todo);
            }
            Outcome::Missed => {
                *misses += 1;
                let misses = *misses;
                todo.push(PinEffect::Warn { host: node, misses });
                if misses >= MISSES_MAX {
                    self.drop_host(node, Dropped::Missed, todo);
                }
            }
            Outcome::False => self.drop_host(node, Dropped::Lied, todo),
        }
    }

    fn pay(&mut self, host: NodeId, epoch: u64, todo: &mut Vec<PinEffect>) {
        let amount = self.deal.price;
        match self.spent.checked_add(amount).filter(|sum| *sum <= self.deal.escrow) {
            Some(sum) => {
                self.spent = sum;
                todo.push(PinEffect::Pay { host, epoch, amount });
            }
            // The escrow is used up.
            None => self.end(todo),
        }
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<PinEffect>) {
        let mut late = Vec::new();
        for (node, host) in &mut self.hosts {
            match host {
                Host::Offered { due, .. } if *due <= now => late.push((*node, Dropped::Silent)),
                Host::Offered { again, .. } if *again <= now => {
                    *again = now.after_ms(RESEND_MS);
                    todo.push(PinEffect::Offer(*node));
                }
                Host::Fetching { due, .. } if *due <= now => late.push((*node, Dropped::NotFetched)),
                Host::Offered { .. } | Host::Fetching { .. } | Host::Holding { .. } => (),
            }
        }
        for (node, why) in late {
            self.drop_host(node, why, todo);
        }
    }

    fn drop_host(&mut self, node: NodeId, why: Dropped, todo: &mut Vec<PinEffect>) {
        self.hosts.remove(&node);
        if why != Dropped::Silent {
            self.failed.insert(node);
        }
        todo.push(PinEffect::Drop(node, why));
    }

    fn end(&mut self, todo: &mut Vec<PinEffect>) {
        if !self.over {
            self.over = true;
            self.hosts.clear();
            todo.push(PinEffect::Ended);
        }
    }

    /// Offers the deal to reserve candidates until enough hosts are in use, and searches for more if none is left.
    fn repair(&mut self, now: Time, todo: &mut Vec<PinEffect>) {
        let wanted = usize::from(self.deal.copies);
        while self.hosts.len() < wanted
            && let Some(node) = self.candidates.pop_first()
        {
            let (again, due) = (now.after_ms(RESEND_MS), now.after_ms(ACCEPT_WITHIN_MS));
            self.hosts.insert(node, Host::Offered { again, due });
            todo.push(PinEffect::Offer(node));
        }
        if self.hosts.len() == wanted {
            self.seek = None;
        } else if self.seek.is_none_or(|seek| seek <= now) {
            self.seek = Some(now.after_ms(SEEK_EVERY_MS));
            let missing = u16::try_from(wanted - self.hosts.len()).expect("at most as many as are wanted");
            todo.push(PinEffect::Seek { missing });
        }
    }
}

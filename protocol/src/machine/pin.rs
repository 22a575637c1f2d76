//! The owner's side: as many copies as were paid for, and a new host for each one that fails.

use std::collections::{BTreeMap, BTreeSet};

use super::{AGAIN_MS, Deal, DealId};
use crate::{Amount, NodeId, Time, proof::Bundle, receipt::Outcome};

/// Misses in a row that lose the deal.
pub const MISSES_MAX: u8 = 3;
/// How long a host may think about an offer.
const ACCEPT_WITHIN_MS: u64 = 10_000;
/// How often more candidates are looked for while copies are missing.
const SEEK_EVERY_MS: u64 = 30_000;
/// Candidates that are remembered beyond those that are needed.
const SPARE_MAX: usize = 64;

/// One deal, on the side of whoever pays.
#[derive(Clone, Debug)]
pub struct Pin {
    deal: Deal,
    id: DealId,
    hosts: BTreeMap<NodeId, Host>,
    /// Who could be asked.
    spare: BTreeSet<NodeId>,
    /// Who failed, and is not asked again.
    failed: BTreeSet<NodeId>,
    seek: Option<Time>,
    spent: Amount,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Asked {
        again: Time,
        due: Time,
    },
    /// Of its registration, `parts` came.
    Fetching {
        due: Time,
        parts: u32,
    },
    Holding {
        misses: u8,
        judged: Option<u64>,
    },
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinInput {
    /// A node that would host.
    Candidate(NodeId),
    /// A host took the offer.
    Accepted(NodeId),
    /// A host did not.
    Declined(NodeId),
    /// A host says that it has everything, with proofs of last chunks.
    Registered {
        /// Who.
        host: NodeId,
        /// Which part of its registration, in order.
        part: u32,
        /// The proofs.
        bundle: Bundle,
    },
    /// An auditor's verdict, whose signature was checked and whose auditor is one that was drawn.
    Audited {
        /// About whom.
        host: NodeId,
        /// In which epoch.
        epoch: u64,
        /// What.
        outcome: Outcome,
    },
    /// The deal goes on.
    Renewed {
        /// Until when.
        until: Time,
        /// With all that is set aside.
        escrow: Amount,
    },
    /// The owner wants no copies any more.
    Cancelled,
    /// A deadline passed.
    Tick,
}

/// Why a host lost the deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It never answered the offer. It may be asked again: perhaps it never heard.
    Silent,
    /// It did not want the deal.
    Declined,
    /// It took the offer and did not fetch in time.
    NotFetched,
    /// It registered with proofs that do not verify.
    BadRegistration,
    /// It missed too often in a row.
    Missed,
    /// It signed a false proof.
    Lied,
}

/// What should happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinEffect {
    /// Look for nodes that would host.
    Seek {
        /// How many copies are missing.
        missing: u16,
    },
    /// Offer the deal.
    Ask(NodeId),
    /// A part of a registration came, now or before: tell the host so.
    Heard {
        /// Whom.
        host: NodeId,
        /// Which part.
        part: u32,
    },
    /// A host has registered in all parts: remember it and audit it.
    Holds(NodeId),
    /// A host held everything for an epoch: pay it.
    Pay {
        /// Whom.
        host: NodeId,
        /// For which epoch.
        epoch: u64,
        /// How much.
        amount: Amount,
    },
    /// A host missed an audit, and knows what comes of more.
    Warn {
        /// Whom.
        host: NodeId,
        /// How often in a row.
        misses: u8,
    },
    /// A host lost the deal: stop auditing it, and tell it so.
    Drop(NodeId, Dropped),
    /// The deal is over; every host is free.
    Over,
}

impl Pin {
    /// A deal that nobody has heard of yet, and which passes [`Deal::check`].
    pub fn new(deal: Deal) -> Self {
        Self {
            id: deal.id(),
            deal,
            hosts: BTreeMap::new(),
            spare: BTreeSet::new(),
            failed: BTreeSet::new(),
            seek: Some(Time(0)),
            spent: Amount::ZERO,
            over: false,
        }
    }

    /// Its name.
    pub const fn id(&self) -> DealId {
        self.id
    }

    /// Its terms, as they were founded and renewed.
    pub const fn deal(&self) -> &Deal {
        &self.deal
    }

    /// Who holds everything, as far as is known.
    pub fn holding(&self) -> impl Iterator<Item = NodeId> {
        let holding = |(node, host): (&NodeId, &Host)| matches!(host, Host::Holding { .. }).then_some(*node);
        self.hosts.iter().filter_map(holding)
    }

    /// How many parts of a host's registration came.
    pub fn parts(&self, node: NodeId) -> u32 {
        match self.hosts.get(&node) {
            Some(Host::Holding { .. }) => self.deal.parts(),
            Some(Host::Fetching { parts, .. }) => *parts,
            Some(Host::Asked { .. }) | None => 0,
        }
    }

    /// What was paid so far.
    pub const fn spent(&self) -> Amount {
        self.spent
    }

    /// One input.
    pub fn step(&mut self, now: Time, input: PinInput, todo: &mut Vec<PinEffect>) {
        if self.over {
            return;
        }
        match input {
            PinInput::Candidate(node) => {
                let known = self.hosts.contains_key(&node) || self.failed.contains(&node);
                if !known && self.spare.len() < SPARE_MAX {
                    self.spare.insert(node);
                }
            }
            PinInput::Accepted(node) => {
                if let Some(host @ Host::Asked { .. }) = self.hosts.get_mut(&node) {
                    let due = now.after_ms(self.deal.fetch_within_ms);
                    *host = Host::Fetching { due, parts: 0 };
                }
            }
            PinInput::Declined(node) => {
                if matches!(self.hosts.get(&node), Some(Host::Asked { .. } | Host::Fetching { .. })) {
                    self.lose(node, Dropped::Declined, todo);
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

    /// When `step` next wants a [`PinInput::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        let due = |host: &Host| match host {
            Host::Asked { again, due } => Some(*again.min(due)),
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
            // The word that it was registered was lost: say it again.
            Some(Host::Holding { .. }) => return todo.push(PinEffect::Heard { host, part }),
            Some(Host::Fetching { due, parts }) => (*due, *parts),
            Some(Host::Asked { .. }) => (now.after_ms(self.deal.fetch_within_ms), 0),
            None => return,
        };
        if part > parts {
            return;
        }
        if part == parts {
            if self.deal.registers(part, bundle).is_err() {
                return self.lose(host, Dropped::BadRegistration, todo);
            }
            let parts = parts + 1;
            self.hosts.insert(host, Host::Fetching { due, parts });
            if parts == self.deal.parts() {
                let (misses, judged) = (0, None);
                self.hosts.insert(host, Host::Holding { misses, judged });
                todo.push(PinEffect::Holds(host));
            }
        }
        todo.push(PinEffect::Heard { host, part });
    }

    fn judge(&mut self, node: NodeId, epoch: u64, outcome: Outcome, todo: &mut Vec<PinEffect>) {
        let Some(Host::Holding { misses, judged }) = self.hosts.get_mut(&node) else {
            return;
        };
        // A false proof is judged whenever it comes; anything else once per epoch, and never backwards.
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
                    self.lose(node, Dropped::Missed, todo);
                }
            }
            Outcome::False => self.lose(node, Dropped::Lied, todo),
        }
    }

    fn pay(&mut self, host: NodeId, epoch: u64, todo: &mut Vec<PinEffect>) {
        let amount = self.deal.price;
        match self.spent.checked_add(amount).filter(|sum| *sum <= self.deal.escrow) {
            Some(sum) => {
                self.spent = sum;
                todo.push(PinEffect::Pay { host, epoch, amount });
            }
            // Nothing is left to pay anyone with.
            None => self.end(todo),
        }
    }

    fn tick(&mut self, now: Time, todo: &mut Vec<PinEffect>) {
        let mut late = Vec::new();
        for (node, host) in &mut self.hosts {
            match host {
                Host::Asked { due, .. } if *due <= now => late.push((*node, Dropped::Silent)),
                Host::Asked { again, .. } if *again <= now => {
                    *again = now.after_ms(AGAIN_MS);
                    todo.push(PinEffect::Ask(*node));
                }
                Host::Fetching { due, .. } if *due <= now => late.push((*node, Dropped::NotFetched)),
                Host::Asked { .. } | Host::Fetching { .. } | Host::Holding { .. } => (),
            }
        }
        for (node, why) in late {
            self.lose(node, why, todo);
        }
    }

    fn lose(&mut self, node: NodeId, why: Dropped, todo: &mut Vec<PinEffect>) {
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
            todo.push(PinEffect::Over);
        }
    }

    /// Asks spare hosts for the copies that are missing, and looks for more where none is left.
    fn repair(&mut self, now: Time, todo: &mut Vec<PinEffect>) {
        let wanted = usize::from(self.deal.copies);
        while self.hosts.len() < wanted
            && let Some(node) = self.spare.pop_first()
        {
            let (again, due) = (now.after_ms(AGAIN_MS), now.after_ms(ACCEPT_WITHIN_MS));
            self.hosts.insert(node, Host::Asked { again, due });
            todo.push(PinEffect::Ask(node));
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

//! Offers of other nodes, until each expires.

use std::collections::BTreeMap;

use protocol::{
    NodeId, Time,
    message::announce::{Work, Worker},
};

use super::machine;
use base::operator::work::WorkerLine;

/// Most workers that are kept; further ones are ignored until others expire.
const WORKERS_MAX: usize = 4096;

/// The latest unexpired offer of each worker.
#[derive(Debug, Default)]
pub(super) struct Workers(BTreeMap<NodeId, Worker>);

impl Workers {
    /// Keeps an offer whose signature the network has checked. It replaces the node's last one.
    pub(super) fn note(&mut self, now: Time, said: Worker) {
        self.0.retain(|_, known| known.term.expires > now);
        if self.0.len() < WORKERS_MAX || self.0.contains_key(&said.worker) {
            self.0.insert(said.worker, said);
        }
    }

    /// Describes the unexpired offers.
    pub(super) fn lines(&self, now: Time) -> Vec<WorkerLine> {
        let line = |worker: &Worker| WorkerLine {
            node: worker.worker,
            kinds: worker.kinds.iter().map(|work| word(*work)).collect(),
            bases: worker.bases.clone(),
            prices: worker
                .prices
                .iter()
                .map(|hint| (word(hint.work), hint.per_million_tokens.to_string()))
                .collect(),
            device: machine::device_name(worker.machine.device),
            threads: worker.machine.threads,
            memory_gib: worker.machine.memory_gib,
            until_ms: worker.term.expires.0 / 1000,
        };
        let holds = |worker: &&Worker| worker.term.expires > now;
        self.0.values().filter(holds).map(line).collect()
    }
}

fn word(work: Work) -> String {
    match work {
        Work::Train => "train",
        Work::Infer => "infer",
        Work::Audit => "audit",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use protocol::message::announce::{Device, Machine, Term, Work};

    use super::*;

    #[test]
    fn the_newest_offer_of_a_node_holds_until_it_runs_out() {
        let (node, mut workers) = (NodeId([1; 32]), Workers::default());
        let said = |from: u64, until: u64| Worker {
            worker: node,
            kinds: [Work::Audit].into(),
            bases: Vec::new(),
            prices: Vec::new(),
            machine: Machine {
                device: Device::Cpu,
                threads: 2,
                memory_gib: 4,
            },
            term: Term {
                issued: Time(from),
                expires: Time(until),
            },
        };
        workers.note(Time(0), said(0, 1_000));
        assert_eq!(workers.lines(Time(10)).len(), 1);
        workers.note(Time(10), said(10, 20));
        assert_eq!(workers.lines(Time(20)), [], "a farewell ends it");
    }
}

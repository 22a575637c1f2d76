//! Performs a plan's effects: connections, and jobs that talk to providers.

use std::ops::Range;

use protocol::NodeId;

use super::{Fetching, Job};
use crate::data::{
    FetchError, FetchEvent,
    swarm::{plan::Effect, ranges, transfer::Source},
};

impl Fetching {
    /// Performs the pending effects. Returns true when nothing is missing.
    pub(super) async fn perform(&mut self) -> Result<bool, FetchError> {
        if self.offered.is_empty() {
            self.offer();
        }
        for effect in std::mem::take(&mut self.todo) {
            match effect {
                Effect::Connect(node) => self.call(node),
                Effect::Probe { node, first } => self.probe(node, first),
                Effect::QueryRanges(node) => self.query_ranges(node),
                Effect::Fetch { node, task, range } => self.fetch(node, task, range),
                Effect::Cancel { node, task } => {
                    if let Some(job) = self.running.remove(&(node, task)) {
                        job.abort();
                    }
                }
                Effect::Drop(node, why) => {
                    self.leases.remove(&node);
                    // A provider that may come back is tried again when it is offered again.
                    self.shared.plane.counters.providers_dropped.one();
                    tracing::debug!(blob = %format_args!("{:#}", self.blob), peer = %format_args!("{node:#}"), ?why, "dropped a provider");
                    self.tell(FetchEvent::Gone { node, why });
                }
                Effect::Starved => tracing::debug!(blob = %format_args!("{:#}", self.blob), "nobody is left to ask"),
                Effect::Complete => return Ok(true),
            }
        }
        Ok(false)
    }

    fn call(&mut self, node: NodeId) {
        let (plane, alpn) = (self.shared.plane.clone(), self.shared.wanted.alpn.clone());
        self.jobs
            .spawn(async move { Job::Called(node, plane.connect(node, &alpn).await) });
    }

    fn source(&self, node: NodeId) -> Option<Source> {
        Some(Source {
            node,
            blob: self.blob,
            lease: self.leases.get(&node)?.clone(),
            store: self.shared.store.clone(),
            limits: [
                self.shared.plane.download.clone(),
                self.shared.plane.download_each.of(node),
            ],
        })
    }

    fn probe(&mut self, node: NodeId, first: bool) {
        let Some(source) = self.source(node) else { return };
        let job = self
            .jobs
            .spawn(async move { Job::Probed(node, source.probe(first).await) });
        self.running.insert((node, None), job);
    }

    fn query_ranges(&mut self, node: NodeId) {
        let Some(source) = self.source(node) else { return };
        self.jobs
            .spawn(async move { Job::Queried(node, source.query_ranges().await.as_ref().map(ranges::part)) });
    }

    fn fetch(&mut self, node: NodeId, task: u64, range: Range<u64>) {
        let (Some(source), Some(size)) = (self.source(node), self.size) else {
            return;
        };
        let reports = self.reports.clone();
        let job = self
            .jobs
            .spawn(async move { Job::Fetched(node, task, source.fetch(size, task, range, &reports).await) });
        self.running.insert((node, Some(task)), job);
    }
}

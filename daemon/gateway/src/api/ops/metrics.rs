//! The Prometheus page of a node: every metric has help text and a unit, and none has a label with unbounded values.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use consensus::node::Signing;

use super::ChainStatus;
use crate::api::Parts;
use base::metrics::{Page, seconds};
use chain::rpc::client_version;

pub(super) fn page(parts: &Parts, chain_status: &ChainStatus) -> String {
    let mut page = Page::default();
    process(&mut page, parts);
    chain(&mut page, parts, chain_status);
    consensus(&mut page, chain_status);
    page.counters("openledger", parts.chain.counters.each());
    network(&mut page, parts);
    if let Some(data) = parts.data.get() {
        page.gauge(
            "openledger_datanets",
            "Datanets that are known here, counted.",
            data.datanets.count(),
        );
        page.metrics("openledger_pin", data.pins.metrics());
        if let Some(counts) = data.peer.transfers() {
            page.counters("openledger_data", counts.each());
        }
    }
    page.0
}

fn process(page: &mut Page, parts: &Parts) {
    let version = client_version();
    let _ = writeln!(
        page.0,
        "# HELP openledger_build_info What software runs, as a label; always 1.\n\
         # TYPE openledger_build_info gauge\n\
         openledger_build_info{{version=\"{version}\"}} 1"
    );
    page.gauge(
        "openledger_uptime_seconds",
        "Seconds since the node started.",
        parts.about.started.elapsed().as_secs(),
    );
    // Only Linux has this file; elsewhere the metric is missing rather than wrong.
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(resident_bytes)
    {
        page.gauge("process_resident_memory_bytes", "Resident memory in bytes.", bytes);
    }
}

fn chain(page: &mut Page, parts: &Parts, chain_status: &ChainStatus) {
    let (head, counters) = (parts.chain.head.borrow().clone(), &parts.chain.counters);
    page.gauge(
        "openledger_chain_height_blocks",
        "Height of the last durable block, in blocks.",
        head.height.0,
    );
    page.gauge(
        "openledger_chain_best_known_height_blocks",
        "Highest block that a peer claims, or our own, in blocks.",
        chain_status.best_known.max(head.height.0),
    );
    page.gauge(
        "openledger_chain_head_timestamp_seconds",
        "Time in the header of the last committed block, in seconds since 1970.",
        head.view.tip().timestamp_s,
    );
    page.gauge(
        "openledger_chain_next_base_fee_wei",
        "Base fee of the next block, in the smallest unit per gas.",
        head.view.tip().next_base_fee,
    );
    page.counter(
        "openledger_chain_sync_seconds_total",
        "Seconds spent waiting for the disk to make journal and blocks durable.",
        seconds(read(&counters.sync_us)),
    );
    if let Some([half, most]) = counters.heights.quantiles([500, 990]) {
        page.summary(
            "openledger_consensus_height_seconds",
            "Seconds from beginning a height to its block being final and durable here, over the last 1024.",
            [("0.5", half), ("0.99", most)],
        );
    }
    page.gauge(
        "openledger_mempool_transactions",
        "Transactions that wait, counted.",
        chain_status.waiting,
    );
    page.gauge(
        "openledger_mempool_bytes",
        "Transactions that wait, in bytes.",
        chain_status.waiting_bytes,
    );
}

fn consensus(page: &mut Page, chain_status: &ChainStatus) {
    page.gauge(
        "openledger_consensus_round",
        "Round of the height being decided; 0 is the first.",
        chain_status.round,
    );
    page.gauge(
        "openledger_consensus_validators",
        "Validators that vote, counted.",
        chain_status.validators,
    );
    page.gauge(
        "openledger_consensus_signing",
        "1 while this node signs votes, else 0.",
        u8::from(chain_status.signing == Signing::On),
    );
}

fn network(page: &mut Page, parts: &Parts) {
    let net = parts.net.metrics();
    page.gauge(
        "openledger_net_peers",
        "Connected peers, counted.",
        parts.net.peers().len(),
    );
    page.counters("openledger_net", net.each());
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Resident memory from `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_what_the_kernel_says() {
        assert_eq!(
            resident_bytes("VmPeak:\t  9 kB\nVmRSS:\t   1234 kB\nThreads: 2\n"),
            Some(1234 * 1024)
        );
        assert_eq!(resident_bytes("Threads: 2\n"), None);
    }
}

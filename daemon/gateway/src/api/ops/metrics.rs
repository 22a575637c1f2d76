//! Figures as text for Prometheus: every one with what it means and its unit, none with a label that can grow.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use consensus::node::Signing;

use super::Inside;
use crate::api::Parts;
use base::figures::{Page, seconds};
use chain::rpc::client_version;
use data::{Data, Figures};

pub(super) fn page(parts: &Parts, inside: &Inside) -> String {
    let mut page = Page::default();
    process(&mut page, parts);
    chain(&mut page, parts, inside);
    consensus(&mut page, parts, inside);
    network(&mut page, parts);
    if let Some(data) = parts.data.get() {
        shared(&mut page, data, &data.pins.figures());
        if let Some(counts) = data.peer.transfers() {
            transfers(&mut page, counts);
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
    // Only Linux tells; elsewhere the figure is missing rather than wrong.
    if let Some(bytes) = std::fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(resident_bytes)
    {
        page.gauge("process_resident_memory_bytes", "Resident memory in bytes.", bytes);
    }
}

fn chain(page: &mut Page, parts: &Parts, inside: &Inside) {
    let (head, counters) = (parts.chain.head.borrow().clone(), &parts.chain.counters);
    page.gauge(
        "openledger_chain_height_blocks",
        "Height of the last durable block, in blocks.",
        head.height.0,
    );
    page.gauge(
        "openledger_chain_best_known_height_blocks",
        "Highest block that a peer claims, or our own, in blocks.",
        inside.best_known.max(head.height.0),
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
        "openledger_chain_blocks_total",
        "Blocks committed since the start.",
        read(&counters.blocks),
    );
    page.counter(
        "openledger_chain_transactions_total",
        "Transactions in committed blocks since the start.",
        read(&counters.transactions),
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
        inside.waiting,
    );
    page.gauge(
        "openledger_mempool_bytes",
        "Transactions that wait, in bytes.",
        inside.waiting_bytes,
    );
}

fn consensus(page: &mut Page, parts: &Parts, inside: &Inside) {
    let counters = &parts.chain.counters;
    page.gauge(
        "openledger_consensus_round",
        "Round of the height being decided; 0 is the first.",
        inside.round,
    );
    page.gauge(
        "openledger_consensus_validators",
        "Validators that vote, counted.",
        inside.validators,
    );
    page.gauge(
        "openledger_consensus_signing",
        "1 while this node signs votes, else 0.",
        u8::from(inside.signing == Signing::On),
    );
    page.counter(
        "openledger_consensus_extra_rounds_total",
        "Rounds beyond the first that blocks needed, counted.",
        read(&counters.extra_rounds),
    );
    page.counter(
        "openledger_consensus_refused_blocks_total",
        "Proposed blocks refused.",
        read(&counters.refused),
    );
    page.counter(
        "openledger_consensus_equivocations_total",
        "Proofs that a validator contradicted itself, counted.",
        read(&counters.equivocations),
    );
    page.counter(
        "openledger_consensus_faults_total",
        "Broken rules that peers were blamed for.",
        read(&counters.blamed),
    );
}

fn shared(page: &mut Page, data: &Data, figures: &Figures) {
    page.gauge(
        "openledger_datanets",
        "Datanets that are known here, counted.",
        data.datanets.count(),
    );
    page.gauge(
        "openledger_pin_deals",
        "Deals of this node's own that run, counted.",
        figures.deals,
    );
    page.gauge(
        "openledger_pin_copies_wanted",
        "Copies that those deals want, counted.",
        figures.copies_wanted,
    );
    page.gauge(
        "openledger_pin_copies_held",
        "Copies that hosts hold, as far as is known, counted.",
        figures.copies_held,
    );
    page.gauge(
        "openledger_pin_hosted",
        "Deals of others that this node keeps, counted.",
        figures.hosted,
    );
    page.gauge(
        "openledger_pin_hosted_bytes",
        "What is kept for others, in bytes.",
        figures.hosted_bytes,
    );
    page.counter(
        "openledger_pin_audits_held_total",
        "Audits that a host passed, since the start.",
        figures.audits_held,
    );
    page.counter(
        "openledger_pin_audits_missed_total",
        "Audits that a host missed, since the start.",
        figures.audits_missed,
    );
    page.counter(
        "openledger_pin_audits_false_total",
        "Audits with a false proof, since the start.",
        figures.audits_false,
    );
}

fn transfers(page: &mut Page, data: net::data::DataMetrics) {
    let counted = [
        (
            "bytes_served",
            "Bytes sent to peers that fetch, proofs included.",
            data.bytes_served,
        ),
        ("bytes_fetched", "Verified bytes fetched.", data.bytes_fetched),
        ("requests_served", "Requests for blobs served.", data.requests_served),
        (
            "requests_refused",
            "Requests for blobs refused: not admitted, or of a kind that is not served.",
            data.requests_refused,
        ),
        (
            "connections_refused",
            "Data connections refused: not admitted, too many, or of an unknown protocol.",
            data.connections_refused,
        ),
        (
            "connections_revoked",
            "Data connections closed because their peer was revoked.",
            data.connections_revoked,
        ),
        (
            "providers_blamed",
            "Providers that sent what is not so.",
            data.providers_blamed,
        ),
        (
            "providers_dropped",
            "Providers given up: slow, silent, refusing or gone.",
            data.providers_dropped,
        ),
    ];
    for (name, help, value) in counted {
        page.counter(&format!("openledger_data_{name}_total"), help, value);
    }
}

fn network(page: &mut Page, parts: &Parts) {
    let net = parts.net.metrics();
    page.gauge(
        "openledger_net_peers",
        "Connected peers, counted.",
        parts.net.peers().len(),
    );
    let counted = [
        ("gossip_sent", "Gossip messages published.", net.gossip_sent),
        (
            "gossip_received",
            "Gossip messages received for the first time.",
            net.gossip_received,
        ),
        (
            "gossip_duplicate",
            "Gossip messages not published: the same bytes went out moments before.",
            net.gossip_duplicate,
        ),
        (
            "gossip_unsent",
            "Gossip messages not published: nobody listens, or queues are full.",
            net.gossip_unsent,
        ),
        (
            "gossip_dropped",
            "Gossip messages dropped unread: the node was behind.",
            net.gossip_dropped,
        ),
        ("gossip_rejected", "Gossip messages rejected.", net.gossip_rejected),
        (
            "gossip_oversize",
            "Gossip messages longer than allowed.",
            net.gossip_oversize,
        ),
        (
            "announcements_sent",
            "Announcements of this node's own that went out.",
            net.announcements_sent,
        ),
        (
            "announcements_received",
            "Announcements of others that count.",
            net.announcements_received,
        ),
        (
            "announcements_rejected",
            "Announcements that were expired, replayed, ill-signed or malformed.",
            net.announcements_rejected,
        ),
        (
            "announcements_limited",
            "Announcements not heard: their author makes too many.",
            net.announcements_limited,
        ),
        ("slow_peers", "Times a peer read gossip too slowly.", net.slow_peers),
        ("direct_sent", "Direct messages sent.", net.direct_sent),
        ("direct_received", "Direct messages received.", net.direct_received),
        (
            "direct_dropped",
            "Direct messages dropped: the peer's queue was full, or it went away.",
            net.direct_dropped,
        ),
        (
            "oversize",
            "Direct messages and requests longer than allowed.",
            net.oversize,
        ),
        ("requests_sent", "Requests sent.", net.requests_sent),
        ("requests_failed", "Requests sent in vain.", net.requests_failed),
        ("requests_received", "Requests received.", net.requests_received),
        (
            "requests_dropped",
            "Requests dropped unread: the node was behind.",
            net.requests_dropped,
        ),
        (
            "responses_dropped",
            "Responses that came too late, or for a peer that went away.",
            net.responses_dropped,
        ),
        (
            "foreign_peers",
            "Connections to nodes of another chain.",
            net.foreign_peers,
        ),
        (
            "connections_refused",
            "Connections refused because there are enough.",
            net.connections_refused,
        ),
        ("bans", "Peers banned.", net.bans),
        ("dials_failed", "Addresses that could not be reached.", net.dials_failed),
    ];
    for (name, help, value) in counted {
        page.counter(&format!("openledger_net_{name}_total"), help, value);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Resident memory in the kernel's description of a process.
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

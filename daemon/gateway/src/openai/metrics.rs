//! Metrics of the engine for Prometheus.

use std::fmt::Display;

use serve::engine::{Histogram, Metrics};

use base::metrics;

/// Renders the page. Without `metrics` the engine is down, and only that is reported.
pub(super) fn page(up: bool, restarts: u64, metrics: Option<&Metrics>) -> String {
    let mut page = Page::default();
    page.gauge("up", "1 while the engine takes requests, else 0.", u8::from(up));
    page.counter(
        "restarts",
        "How often the engine ended by itself and was started again.",
        restarts,
    );
    if let Some(metrics) = metrics {
        latencies(&mut page, metrics);
        requests(&mut page, metrics);
        tiers(&mut page, metrics);
    }
    page.0.0
}

fn latencies(page: &mut Page, metrics: &Metrics) {
    page.histogram(
        "time_to_first_token",
        "Seconds from a request to its first token.",
        &metrics.first_token,
    );
    page.histogram(
        "inter_token_latency",
        "Seconds from one token of an answer to the next.",
        &metrics.next_token,
    );
    page.histogram(
        "request",
        "Seconds from a request to the end of its answer.",
        &metrics.whole,
    );
    page.histogram("step", "Seconds that a step of the model took.", &metrics.step);
}

fn requests(page: &mut Page, metrics: &Metrics) {
    for (name, help, value) in [
        (
            "requests_finished",
            "Requests that ended by themselves.",
            metrics.finished,
        ),
        (
            "requests_cancelled",
            "Requests whose client went away.",
            metrics.cancelled,
        ),
        ("requests_refused", "Requests that were not served.", metrics.refused),
        ("requests_failed", "Requests that could not go on.", metrics.failed),
        ("prompt_tokens", "Tokens of prompts.", metrics.prompt_tokens),
        (
            "cached_prompt_tokens",
            "Tokens of prompts that were known already.",
            metrics.cached_tokens,
        ),
        ("answer_tokens", "Tokens of answers.", metrics.completion_tokens),
        ("slot_loads", "Adapters put onto the device.", metrics.slot_loads),
        (
            "model_rebuilds",
            "How often the model was set up again because a step failed.",
            metrics.rebuilds,
        ),
    ] {
        page.counter(name, help, value);
    }
    let occupancy = &metrics.occupancy;
    for (name, help, value) in [
        ("requests_running", "Requests that run.", occupancy.running),
        ("requests_waiting", "Requests that wait for room.", occupancy.ready),
        (
            "requests_cold",
            "Requests whose adapters are on their way.",
            occupancy.cold,
        ),
        ("slots_used", "Adapters on the device.", occupancy.resident),
        ("pages", "Pages of keys and values there are.", occupancy.pages),
        ("pages_free", "Pages without use or content.", occupancy.pages_free),
        ("pages_kept", "Pages kept for their content.", occupancy.pages_kept),
    ] {
        page.gauge(name, help, value);
    }
    for (name, help, value) in [
        ("pages_evicted", "Kept pages given up.", occupancy.pages_evicted),
        (
            "slots_evicted",
            "Adapters that left the device for others.",
            occupancy.slots_evicted,
        ),
        (
            "preempted",
            "Answers that gave their room back half-way.",
            occupancy.preempted,
        ),
    ] {
        page.counter(name, help, value);
    }
}

fn tiers(page: &mut Page, metrics: &Metrics) {
    let tiers = &metrics.tiers;
    page.gauge("adapters_registered", "Names of adapters.", tiers.registered);
    page.gauge("adapters_in_memory", "Adapters in memory.", tiers.host_adapters);
    page.gauge(
        "adapter_bytes",
        "What adapters take in memory, in bytes.",
        tiers.host_bytes,
    );
    page.gauge("adapters_loading", "Adapters on their way to memory.", tiers.loading);
    for (name, help, value) in [
        (
            "adapter_memory_hits",
            "Adapters that were in memory when asked for.",
            tiers.host_hits,
        ),
        ("adapter_disk_loads", "Adapters read from disk.", tiers.disk_loads),
        ("adapter_peer_loads", "Adapters got from peers.", tiers.peer_loads),
        (
            "adapter_failed_loads",
            "Adapters that could not be had.",
            tiers.failed_loads,
        ),
        (
            "adapter_evictions",
            "Adapters given up for others.",
            tiers.host_evictions,
        ),
    ] {
        page.counter(name, help, value);
    }
}

/// A page whose metric names all begin with the engine's prefix.
#[derive(Default)]
struct Page(metrics::Page);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.0.gauge(&format!("openledger_engine_{name}"), help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.0.counter(&format!("openledger_engine_{name}_total"), help, value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let name = format!("openledger_engine_{name}_seconds");
        let (bounds, Histogram { counts, sum_us }) = (Histogram::bounds_us(), histogram);
        self.0.histogram(&name, help, bounds, counts, *sum_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_the_engine_have_its_prefix_and_a_unit() {
        let mut metrics = Metrics::default();
        metrics.first_token.counts[19] = 1;
        let text = page(true, 3, Some(&metrics));
        for line in [
            "openledger_engine_time_to_first_token_seconds_bucket{le=\"+Inf\"} 1",
            "openledger_engine_restarts_total 3",
            "openledger_engine_up 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}

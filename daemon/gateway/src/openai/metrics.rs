//! Metrics of the engine for Prometheus.

use std::fmt::Display;

use serve::engine::{Histogram, Metrics};

use base::metrics;

/// Renders the page. Without `metrics` the engine is down, and only that is reported.
pub(super) fn page(up: bool, restarts: u64, metrics: Option<&Metrics>) -> String {
    let mut page = Page::default();
    page.gauge("up", "1 while the engine takes requests, else 0.", u8::from(up));
    page.counter("restarts", "Restarts of the engine after it ended by itself.", restarts);
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
        "Seconds from one token of a completion to the next.",
        &metrics.next_token,
    );
    page.histogram(
        "request",
        "Seconds from a request to the end of its completion.",
        &metrics.whole,
    );
    page.histogram(
        "step",
        "Seconds of a step, which is one forward pass over a batch.",
        &metrics.step,
    );
}

fn requests(page: &mut Page, metrics: &Metrics) {
    for (name, help, value) in [
        (
            "requests_finished",
            "Requests that ended at an end token, a stop string or the length limit.",
            metrics.finished,
        ),
        (
            "requests_cancelled",
            "Requests whose client went away.",
            metrics.cancelled,
        ),
        (
            "requests_refused",
            "Requests that were refused before their first token.",
            metrics.refused,
        ),
        ("requests_failed", "Requests that failed half-way.", metrics.failed),
        (
            "prompt_tokens",
            "Prompt tokens of requests that ended.",
            metrics.prompt_tokens,
        ),
        (
            "cached_prompt_tokens",
            "Prompt tokens that were found in the prefix cache.",
            metrics.cached_tokens,
        ),
        ("answer_tokens", "Tokens of completions.", metrics.completion_tokens),
        (
            "slot_loads",
            "Adapters loaded into slots of the device.",
            metrics.slot_loads,
        ),
        (
            "model_rebuilds",
            "Rebuilds of the model after a failed step.",
            metrics.rebuilds,
        ),
    ] {
        page.counter(name, help, value);
    }
    let occupancy = &metrics.occupancy;
    for (name, help, value) in [
        ("requests_running", "Requests that are running.", occupancy.running),
        (
            "requests_waiting",
            "Requests that wait for a row, slots or pages.",
            occupancy.ready,
        ),
        (
            "requests_cold",
            "Requests that wait for their adapters to be loaded.",
            occupancy.cold,
        ),
        ("slots_used", "Adapters in slots of the device.", occupancy.resident),
        ("pages", "Pages of the KV cache.", occupancy.pages),
        (
            "pages_free",
            "Pages that are neither used nor cached.",
            occupancy.pages_free,
        ),
        ("pages_kept", "Pages in the prefix cache.", occupancy.pages_kept),
    ] {
        page.gauge(name, help, value);
    }
    for (name, help, value) in [
        (
            "pages_evicted",
            "Pages evicted from the prefix cache.",
            occupancy.pages_evicted,
        ),
        (
            "slots_evicted",
            "Adapters evicted from slots of the device.",
            occupancy.slots_evicted,
        ),
        ("preempted", "Preemptions of running requests.", occupancy.preempted),
    ] {
        page.counter(name, help, value);
    }
}

fn tiers(page: &mut Page, metrics: &Metrics) {
    let tiers = &metrics.tiers;
    page.gauge("adapters_registered", "Registered names of adapters.", tiers.registered);
    page.gauge("adapters_in_memory", "Adapters in host memory.", tiers.host_adapters);
    page.gauge("adapter_bytes", "Adapters in host memory, in bytes.", tiers.host_bytes);
    page.gauge(
        "adapters_loading",
        "Adapters being loaded into host memory.",
        tiers.loading,
    );
    for (name, help, value) in [
        (
            "adapter_memory_hits",
            "Fetches of an adapter that was in host memory.",
            tiers.host_hits,
        ),
        ("adapter_disk_loads", "Adapters read from disk.", tiers.disk_loads),
        ("adapter_peer_loads", "Adapters fetched from peers.", tiers.peer_loads),
        (
            "adapter_failed_loads",
            "Adapters that could not be loaded.",
            tiers.failed_loads,
        ),
        (
            "adapter_evictions",
            "Adapters evicted from host memory.",
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

//! Metrics in the Prometheus text format: each with help text, type and value. Numbers are written without floats.
//!
//! ```
//! let mut page = base::metrics::Page::default();
//! page.counter("openledger_blocks_total", "Blocks committed.", 7);
//! assert!(page.0.ends_with("# TYPE openledger_blocks_total counter\nopenledger_blocks_total 7\n"));
//! ```

use std::{
    fmt::{Display, Write},
    time::Duration,
};

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
}

/// A metric with its value, as the crate that counts it declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub kind: Kind,
    /// Without the prefix of the program, and without the `_total` of a counter.
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

/// The text of a metrics page.
#[derive(Default)]
pub struct Page(pub String);

impl Page {
    /// Adds a gauge: a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("gauge", name, help, value);
    }

    /// Adds a counter: a value that only grows while the program runs. Its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        assert!(name.ends_with("_total"), "a counter is called so");
        self.metric("counter", name, help, value);
    }

    /// Adds metrics under a prefix.
    pub fn metrics(&mut self, prefix: &str, metrics: impl IntoIterator<Item = Metric>) {
        for metric in metrics {
            let Metric { name, help, value, .. } = metric;
            match metric.kind {
                Kind::Gauge => self.gauge(&format!("{prefix}_{name}"), help, value),
                Kind::Counter => self.counter(&format!("{prefix}_{name}_total"), help, value),
            }
        }
    }

    /// Adds counters, given as name, help and value, under a prefix.
    pub fn counters(&mut self, prefix: &str, counters: impl IntoIterator<Item = (&'static str, &'static str, u64)>) {
        let metric = |(name, help, value)| Metric {
            kind: Kind::Counter,
            name,
            help,
            value,
        };
        self.metrics(prefix, counters.into_iter().map(metric));
    }

    /// Adds a summary: quantiles of durations.
    pub fn summary<const N: usize>(&mut self, name: &str, help: &str, quantiles: [(&str, Duration); N]) {
        self.about("summary", name, help);
        for (quantile, value) in quantiles {
            let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
            let _ = writeln!(self.0, "{name}{{quantile=\"{quantile}\"}} {}", seconds(micros));
        }
    }

    /// Adds a histogram of durations. `counts` has one entry more than `bounds_us`, for longer ones.
    pub fn histogram(&mut self, name: &str, help: &str, bounds_us: &[u64], counts: &[u64], sum_us: u64) {
        assert_eq!(
            counts.len(),
            bounds_us.len() + 1,
            "what is longer falls behind the last bound"
        );
        self.about("histogram", name, help);
        let mut total = 0;
        for (bound, count) in bounds_us.iter().zip(counts) {
            total += count;
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{}\"}} {total}", seconds(*bound));
        }
        let (count, sum) = (counts.iter().sum::<u64>(), seconds(sum_us));
        let _ = writeln!(
            self.0,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        );
    }

    fn metric(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        self.about(kind, name, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn about(&mut self, kind: &str, name: &str, help: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

/// Microseconds as decimal seconds.
pub fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_help_and_type() {
        let mut page = Page::default();
        page.gauge("openledger_net_peers", "Connected peers, counted.", 3);
        assert_eq!(
            page.0,
            "# HELP openledger_net_peers Connected peers, counted.\n\
             # TYPE openledger_net_peers gauge\n\
             openledger_net_peers 3\n"
        );
    }

    #[test]
    fn buckets_of_a_histogram_add_up_to_its_count() {
        let mut page = Page::default();
        page.histogram(
            "step_seconds",
            "Seconds of a step.",
            &[500, 60_000_000],
            &[2, 0, 1],
            61_000_500,
        );
        assert_eq!(
            page.0,
            "# HELP step_seconds Seconds of a step.\n\
             # TYPE step_seconds histogram\n\
             step_seconds_bucket{le=\"0.000500\"} 2\n\
             step_seconds_bucket{le=\"60.000000\"} 2\n\
             step_seconds_bucket{le=\"+Inf\"} 3\n\
             step_seconds_sum 61.000500\n\
             step_seconds_count 3\n"
        );
    }

    #[test]
    fn microseconds_are_shown_as_seconds() {
        assert_eq!(
            (seconds(0).as_str(), seconds(12_000_034).as_str()),
            ("0.000000", "12.000034")
        );
    }
}

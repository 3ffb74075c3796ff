//! Families of metrics on their way to text.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::model::histogram::Counts;

/// Media type of the text format.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Exposition(Vec<MetricFamily>);

/// Names and values of one sample's labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Family {
    kind: MetricType,
    samples: Vec<Metric>,
}

impl Family {
    /// Of counters: they never go down while the gateway runs.
    pub(super) fn counter() -> Self {
        Family { kind: MetricType::COUNTER, samples: Vec::new() }
    }

    /// Of gauges.
    pub(super) fn gauge() -> Self {
        Family { kind: MetricType::GAUGE, samples: Vec::new() }
    }

    /// Adds a sample.
    pub(super) fn put(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = Metric::from_label(labels.iter().map(|(name, value)| pair(name, value)).collect());
        match self.kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.samples.push(metric);
    }

    /// Adds a count.
    pub(super) fn count(&mut self, labels: Labels<'_>, value: u64) {
        self.put(labels, value as f64);
    }
}

impl Exposition {
    /// Adds a family; one without samples is left out.
    pub(super) fn add(&mut self, name: &str, help: &str, family: Family) {
        if family.samples.is_empty() {
            return;
        }
        let mut whole = MetricFamily::default();
        whole.set_name(name.to_owned());
        whole.set_help(help.to_owned());
        whole.set_field_type(family.kind);
        whole.set_metric(family.samples);
        self.0.push(whole);
    }

    /// Adds a family of one counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        let mut family = Family::counter();
        family.count(&[], value);
        self.add(name, help, family);
    }

    /// Adds a family of one gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let mut family = Family::gauge();
        family.put(&[], value);
        self.add(name, help, family);
    }

    /// Adds a histogram, with bounds and sum divided by `unit`.
    pub(super) fn histogram(&mut self, name: &str, help: &str, counts: &Counts, unit: f64) {
        let mut histogram = Histogram::default();
        let mut sum = 0;
        let buckets = counts.bounds.iter().zip(&counts.counts).map(|(bound, count)| {
            sum += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / unit);
            bucket.set_cumulative_count(sum);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.count());
        histogram.set_sample_sum(counts.sum as f64 / unit);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.add(name, help, Family { kind: MetricType::HISTOGRAM, samples: vec![metric] });
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        // It refuses families without a name or samples only; there is none.
        TextEncoder::new().encode_to_string(&self.0).unwrap_or_default()
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_help_type_escapes_and_cumulative_buckets() {
        let mut page = Exposition::default();
        let mut family = Family::counter();
        family.count(&[("what", "a \"b\"\\\n")], 3);
        page.add("x_total", "Some.", family);
        page.add("none", "Left out.", Family::gauge());
        let counts = Counts { bounds: &[1000, 5000], counts: vec![2, 1, 4], sum: 9500 };
        page.histogram("y_seconds", "More.", &counts, 1000.0);
        let expected = "# HELP x_total Some.\n# TYPE x_total counter\nx_total{what=\"a \\\"b\\\"\\\\\\n\"} 3\n\
            # HELP y_seconds More.\n# TYPE y_seconds histogram\ny_seconds_bucket{le=\"1\"} 2\n\
            y_seconds_bucket{le=\"5\"} 3\ny_seconds_bucket{le=\"+Inf\"} 7\ny_seconds_sum 9.5\ny_seconds_count 7\n";
        assert_eq!(page.text(), expected);
    }
}

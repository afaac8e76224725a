//! Metric families, and the text that they become.

use std::collections::BTreeMap;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use crate::histogram::Summed;
use crate::names::Named;

/// Metric families by name, in the form that the text encoder takes.
#[derive(Default)]
pub(crate) struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    fn add(
        &mut self,
        (name, help): Named,
        kind: MetricType,
        labels: &[(&'static str, String)],
    ) -> &mut Metric {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        let mut metric = Metric::default();
        metric.set_label(labels.iter().map(|(name, value)| label(name, value)).collect());
        let metrics = family.mut_metric();
        metrics.push(metric);
        metrics.last_mut().expect("one was just pushed")
    }

    pub(crate) fn counter(&mut self, named: Named, labels: &[(&'static str, String)], count: u64) {
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        self.add(named, MetricType::COUNTER, labels).set_counter(counter);
    }

    /// Adds to the counter with these labels, which may have been seen in another worker's shard.
    pub(crate) fn add_to_counter(&mut self, named: Named, labels: &[(&'static str, String)], count: u64) {
        let wanted: Vec<LabelPair> = labels.iter().map(|(name, value)| label(name, value)).collect();
        let family = self.0.get_mut(named.0);
        let known =
            family.and_then(|f| f.mut_metric().iter_mut().find(|m| m.get_label() == wanted.as_slice()));
        match known {
            Some(metric) => {
                let mut counter = Counter::default();
                counter.set_value(metric.get_counter().get_value() + count as f64);
                metric.set_counter(counter);
            }
            None => self.counter(named, labels, count),
        }
    }

    pub(crate) fn gauge(&mut self, named: Named, labels: &[(&'static str, String)], value: u64) {
        self.ratio(named, labels, value as f64);
    }

    /// Adds a gauge of something that is not counted.
    pub(crate) fn ratio(&mut self, named: Named, labels: &[(&'static str, String)], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.add(named, MetricType::GAUGE, labels).set_gauge(gauge);
    }

    pub(crate) fn histogram(&mut self, named: Named, labels: &[(&'static str, String)], summed: &Summed) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(summed.count());
        histogram.set_sample_sum(summed.sum_seconds());
        let buckets = summed.cumulative().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        self.add(named, MetricType::HISTOGRAM, labels).set_histogram(histogram);
    }

    pub(crate) fn encode(self) -> String {
        let families: Vec<MetricFamily> = self.0.into_values().collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).expect("every family has a name and a metric");
        String::from_utf8(text).expect("names and labels are text")
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

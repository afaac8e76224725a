//! How much work requests bring.

use std::time::Duration;

use weir_config::document::{Fields, Node, Reader};

use super::{keys, trace};
use crate::work::{BoundedPareto, Work};

/// What one request may be at a server of speed 1, in the mean.
const MEAN_MIN: Duration = Duration::from_nanos(1);
const MEAN_MAX: Duration = Duration::from_secs(60);

/// How heavy tails may be: 1 itself has a mean of another form, so that it is left out.
const ALPHA: std::ops::RangeInclusive<f64> = 0.1..=10.0;
const AROUND_ONE: f64 = 1e-6;

/// How far the largest request may be from the smallest.
const SPREAD: std::ops::RangeInclusive<f64> = 1.001..=1e6;

/// What part elephants may be, and what part of the work.
const PART: std::ops::RangeInclusive<f64> = 0.000_001..=0.999_999;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distribution {
    BoundedPareto,
    Constant,
    Elephants,
    Exponential,
    Normal,
    Trace,
    Uniform,
}

const DISTRIBUTIONS: [(&str, Distribution); 7] = [
    ("bounded_pareto", Distribution::BoundedPareto),
    ("constant", Distribution::Constant),
    ("elephants", Distribution::Elephants),
    ("exponential", Distribution::Exponential),
    ("normal", Distribution::Normal),
    ("trace", Distribution::Trace),
    ("uniform", Distribution::Uniform),
];

/// Reads `work`.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Work> {
    let fields = reader.fields(node, &keys::WORK)?;
    let word = fields.require(reader, "distribution", "exponential")?;
    let distribution = reader.choice(word, &DISTRIBUTIONS)?;
    let own: &[&str] = match distribution {
        Distribution::BoundedPareto => &["mean", "alpha", "spread"],
        Distribution::Constant | Distribution::Exponential => &["mean"],
        Distribution::Elephants => &["mean", "share", "of_work"],
        Distribution::Normal => &["mean", "deviation"],
        Distribution::Trace => &["file"],
        Distribution::Uniform => &["least", "most"],
    };
    let name = DISTRIBUTIONS.iter().find(|(_, other)| *other == distribution).map_or("", |(name, _)| name);
    for key in keys::WORK.keys.iter().filter(|key| **key != "distribution" && !own.contains(key)) {
        if let Some(node) = fields.get(key) {
            let remedy = format!("take it out: its keys are {}", own.join(", "));
            reader.problem(node, &format!("work that is {name} has no {key}"), Some(&remedy));
        }
    }
    match distribution {
        Distribution::Constant => time(fields, "mean", reader).map(Work::Constant),
        Distribution::Exponential => time(fields, "mean", reader).map(Work::Exponential),
        Distribution::Normal => {
            let (mean, deviation) = (time(fields, "mean", reader), time(fields, "deviation", reader));
            Some(Work::Normal { mean: mean?, deviation: deviation? })
        }
        Distribution::Uniform => uniform(fields, reader),
        Distribution::BoundedPareto => bounded_pareto(fields, reader),
        Distribution::Elephants => {
            let mean = time(fields, "mean", reader);
            let share = fields.require(reader, "share", "0.01").and_then(|node| reader.decimal(node, PART));
            let of_work =
                fields.require(reader, "of_work", "0.8").and_then(|node| reader.decimal(node, PART));
            Some(Work::Elephants { mean: mean?, share: share?, of_work: of_work? })
        }
        Distribution::Trace => {
            let node = fields.require(reader, "file", "works.csv")?;
            let works = trace::read(node, false, reader)?;
            if works.iter().all(|work| *work == 0) {
                reader.problem(node, "none of its requests is any work", Some("write more than 0 somewhere"));
                return None;
            }
            Some(Work::Trace(works))
        }
    }
}

/// A length of time of that name, in nanoseconds.
fn time(fields: Fields<'_>, name: &str, reader: &mut Reader<'_>) -> Option<f64> {
    let node = fields.require(reader, name, "10ms")?;
    reader.fine_duration(node, MEAN_MIN..=MEAN_MAX).map(|time| time.as_nanos() as f64)
}

fn uniform(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Work> {
    let (least, most) = (time(fields, "least", reader), time(fields, "most", reader));
    let (least, most) = (least?, most?);
    if let Some(node) = fields.get("most").filter(|_| most < least) {
        reader.problem(node, "the most is less than the least", Some("write them the other way round"));
        return None;
    }
    Some(Work::Uniform { least, most })
}

fn bounded_pareto(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Work> {
    let mean = time(fields, "mean", reader);
    let alpha = fields.require(reader, "alpha", "1.5").and_then(|node| {
        let alpha = reader.decimal(node, ALPHA)?;
        if (alpha - 1.0).abs() < AROUND_ONE {
            let cause = "with an alpha of 1 the mean has another form, which is not here";
            reader.problem(node, cause, Some("write 1.01 or 0.99"));
            return None;
        }
        Some(alpha)
    });
    let spread = fields.require(reader, "spread", "1000").and_then(|node| reader.decimal(node, SPREAD));
    Some(Work::BoundedPareto(BoundedPareto::new(mean?, alpha?, spread?)))
}

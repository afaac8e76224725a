//! What is said of live runs: whether they were in time, and what a generator would show that forgets who had to wait.

use hdrhistogram::Histogram;

use super::axis::Axis;
use super::figure::Figure;
use super::figures::{by_nines, by_nines_values, nines};
use super::ink::Inks;
use super::plot::{Dash, Line, Plot};
use super::words::{load, milliseconds, number};
use crate::compare::{Case, Results, Series};
use crate::run::{Live, Run};

/// What part of requests was no later than that, in nanoseconds.
pub(super) fn lag(live: &Live, part: f64) -> f64 {
    live.lag.value_at_quantile(part) as f64
}

/// What a case is called.
pub(super) fn case_name(case: &Case) -> String {
    case.load.map_or_else(
        || case.scenario.name.clone(),
        |at| format!("{} at load {}", case.scenario.name, load(at)),
    )
}

/// Runs that do not count, in words.
pub(super) fn invalid(results: &Results) -> Vec<String> {
    let mut invalid = Vec::new();
    for case in &results.cases {
        for series in &case.live {
            for run in series.runs.iter().filter(|run| !run.is_valid()) {
                let (case, policy) = (case_name(case), series.policy.name());
                invalid.push(format!("{case}, {policy}, seed {}: {}", run.seed, why(run)));
            }
        }
    }
    invalid
}

/// Why a run does not count.
fn why(run: &Run) -> String {
    match &run.live {
        Some(live) if live.is_sound => format!(
            "the generator was late, p99.9 of its lag is {} ms where p99 is {} ms",
            milliseconds(lag(live, 0.999)),
            milliseconds(run.quantile(0.99))
        ),
        _ => "nothing was answered, or this machine had no port or descriptor left".to_owned(),
    }
}

/// All live runs in a sentence; `None` where there are none.
pub(super) fn summary(results: &Results) -> Option<String> {
    let all = results.cases.iter().flat_map(|case| &case.live).flat_map(|series| &series.runs);
    let all: Vec<&Live> = all.filter_map(|run| run.live.as_ref()).collect();
    let (wanted, answered): (f64, f64) =
        all.iter().fold((0.0, 0.0), |sums, live| (sums.0 + live.rates.0, sums.1 + live.rates.1));
    let late = all.iter().map(|live| lag(live, 0.999)).reduce(f64::max)?;
    let count = all.len() as f64;
    Some(format!(
        "{count} runs, in the mean {} requests per second wanted and {} answered; p99.9 of the lag is {} ms at most",
        number(wanted / count),
        number(answered / count),
        milliseconds(late),
    ))
}

/// Live runs in a table: case, policy, seed, rates wanted and answered, p50, p99, p99.9 and most of the lag, and whether it
/// counts.
pub(super) fn rows(results: &Results) -> Vec<[String; 10]> {
    let mut rows = Vec::new();
    for case in &results.cases {
        for series in &case.live {
            for (run, live) in series.runs.iter().filter_map(|run| Some((run, run.live.as_ref()?))) {
                let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| milliseconds(lag(live, part)));
                rows.push([
                    case_name(case),
                    series.policy.name().to_owned(),
                    run.seed.to_string(),
                    number(live.rates.0),
                    number(live.rates.1),
                    p50,
                    p99,
                    p999,
                    milliseconds(live.lag.max() as f64),
                    if run.is_valid() { "valid" } else { "INVALID" }.to_owned(),
                ]);
            }
        }
    }
    rows
}

fn from_sent(series: &Series) -> Histogram<u64> {
    let mut all = crate::measure::histogram();
    for live in series.runs.iter().filter_map(|run| run.live.as_ref()) {
        // It grows as it has to.
        let _ = all.add(&live.from_sent);
    }
    all
}

/// Latency from when requests were due, and from when they were sent; `None` where nothing was live.
pub(super) fn gap(case: &Case, inks: &Inks) -> Option<Figure> {
    const TITLE: &str = "From when it was due, and from when it was sent";
    let live: Vec<&Series> = case.live.iter().filter(|series| !series.runs.is_empty()).collect();
    if live.is_empty() {
        return None;
    }
    let histograms: Vec<_> = live.iter().map(|series| (series.latencies(), from_sent(series))).collect();
    let due: Vec<_> = histograms.iter().map(|(due, _)| due.clone()).collect();
    let nines = nines(&due);
    let mut lines = Vec::new();
    for (series, (due, sent)) in live.iter().zip(&histograms) {
        for (histogram, dash) in [(due, Dash::Solid), (sent, Dash::Dotted)] {
            if !histogram.is_empty() {
                let (points, marks) = by_nines(histogram, nines);
                let (name, ink) = (series.policy.name().to_owned(), inks.ink(series.policy));
                lines.push(Line { name, ink, dash, points, marks: Some(marks), bars: Vec::new() });
            }
        }
    }
    if lines.is_empty() {
        return Some(Figure::missing(TITLE, "No request ended live after the warm-up."));
    }
    let plot = Plot {
        title: TITLE.to_owned(),
        x: Axis::nines("percentile of requests (%)", nines),
        y: Axis::logarithmic("latency, live (ms)", by_nines_values(&lines)),
        lines,
        moments: Vec::new(),
        notes: vec!["solid: from when it was due, dotted: from when it was sent".to_owned()],
    };
    let caption = "What lies between the two is what a generator leaves out that waits for an answer before it asks again.";
    Some(Figure::drawn(TITLE, plot.svg(), caption))
}

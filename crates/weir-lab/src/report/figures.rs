//! The figures of one case.

use super::axis::Axis;
use super::figure::{Figure, Shown, notes, shown};
use super::forest::Forest;
use super::heat::{Heat, Panel, Shades};
use super::ink::Inks;
use super::plot::{Dash, Line, Plot};
use super::words::{MILLISECOND, number, percent};
use crate::compare::Case;
use crate::run::{Run, Slice};
use hdrhistogram::Histogram;

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// Nines that are shown at most.
const NINES: f64 = 7.0;

/// All of them.
pub(super) fn of(case: &Case, inks: &Inks) -> Vec<Figure> {
    let shown = shown(case);
    if shown.is_empty() {
        return vec![Figure::missing("Latency", "Nothing was run.")];
    }
    let mut figures = vec![percentiles(&shown, inks), mean_over_time(case, &shown, inks)];
    figures.push(failures_over_time(case, &shown, inks));
    figures.extend(forests(&shown, inks));
    figures.push(shares(case, &shown));
    figures.push(in_flight(case, &shown));
    figures.push(imbalance(case, &shown, inks));
    figures.push(waiting(&shown, inks));
    figures
}

/// Values at parts of a histogram as nines grow, in milliseconds, and the parts that are marked.
pub(super) fn by_nines(histogram: &Histogram<u64>, nines: f64) -> (Vec<(f64, f64)>, Vec<f64>) {
    let marks: Vec<f64> =
        std::iter::once(0.5).chain((1..=NINES as i32).map(|nines| 1.0 - 10_f64.powi(-nines))).collect();
    let steps = (nines * 20.0).floor() as i32;
    let mut parts: Vec<f64> = (0..=steps).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 20.0)).collect();
    parts.extend(&marks);
    parts.sort_by(f64::total_cmp);
    parts.dedup_by(|one, other| (*one - *other).abs() < 1e-12);
    let count = histogram.len() as f64;
    // At least ten requests took longer than what is shown: less is chance.
    let is_known = |part: &f64| (1.0 - part) * count >= 9.99 || *part <= 0.9;
    let points = parts.into_iter().filter(is_known);
    (points.map(|part| (part, histogram.value_at_quantile(part) as f64 / MILLISECOND)).collect(), marks)
}

/// Values that an axis has to show: not those of the luckiest tenth, which would take most of it.
pub(super) fn by_nines_values(lines: &[Line]) -> impl Iterator<Item = f64> {
    let points = lines.iter().flat_map(|line| &line.points);
    points.filter(|(part, _)| *part >= 0.1).map(|(_, value)| *value)
}

/// How many nines so many requests show.
pub(super) fn nines(histograms: &[Histogram<u64>]) -> f64 {
    let most = histograms.iter().map(Histogram::len).max().unwrap_or(0);
    (most as f64 / 10.0).max(10.0).log10().min(NINES)
}

fn percentiles(shown: &[Shown<'_>], inks: &Inks) -> Figure {
    const TITLE: &str = "Latency by percentile";
    let histograms: Vec<_> = shown.iter().map(|shown| shown.series.latencies()).collect();
    if histograms.iter().all(Histogram::is_empty) {
        return Figure::missing(TITLE, "No request ended after the warm-up.");
    }
    let nines = nines(&histograms);
    let lines: Vec<Line> = shown
        .iter()
        .zip(&histograms)
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(shown, histogram)| {
            let (points, marks) = by_nines(histogram, nines);
            shown.line(inks, points, Some(marks))
        })
        .collect();
    let plot = Plot {
        title: TITLE.to_owned(),
        x: Axis::nines("percentile of requests (%)", nines),
        y: Axis::logarithmic("latency (ms)", by_nines_values(&lines)),
        lines,
        moments: Vec::new(),
        notes: notes(shown),
    };
    let caption = "All seeds together, from when a request came; whoever gave up counts with the time until then, and \
                   failures are left out. Each line ends where fewer than ten requests took longer.";
    Figure::drawn(TITLE, plot.svg(), caption)
}

/// What is shown of each slice of a series, over its seeds; slices of which nothing is known are left out.
fn over_time(
    case: &Case,
    shown: &[Shown<'_>],
    inks: &Inks,
    figure: impl Fn(&Slice) -> Option<f64>,
) -> Vec<Line> {
    let line = |(at, shown): (usize, &Shown<'_>)| {
        let slices = shown.series.runs.iter().map(|run| run.slices.len()).max().unwrap_or(0);
        let width = case.scenario.duration as f64 / SECOND / slices.max(1) as f64;
        let middle = |slice: usize| (slice as f64 + 0.5) * width;
        let mean = |slice: usize| {
            let known = shown.series.runs.iter().filter_map(|run| figure(run.slices.get(slice)?));
            let values: Vec<f64> = known.collect();
            (!values.is_empty()).then(|| (middle(slice), values.iter().sum::<f64>() / values.len() as f64))
        };
        let points = (0..slices).filter_map(mean).collect();
        // Markers of different policies shall not hide one another.
        let marks = (0..slices).filter(|slice| slice % 12 == at * 5 % 12).map(middle).collect();
        shown.line(inks, points, Some(marks))
    };
    shown.iter().enumerate().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// Lines over time in a frame.
fn time_plot(title: &str, case: &Case, y: Axis, lines: Vec<Line>, shown: &[Shown<'_>]) -> String {
    let seconds = |at: u64| at as f64 / SECOND;
    let mut notes = notes(shown);
    let mut moments = Vec::new();
    if case.scenario.warm_up > 0 {
        moments.push((seconds(case.scenario.warm_up), Dash::Dotted));
        notes.push("dotted, upright: end of the warm-up".to_owned());
    }
    if !case.scenario.events.is_empty() {
        moments.extend(case.scenario.events.iter().map(|(at, _)| (seconds(*at), Dash::Mixed)));
        notes.push("dash-dotted, upright: something happens to servers".to_owned());
    }
    let x = Axis::linear("time (s)", 0.0, seconds(case.scenario.duration));
    Plot { title: title.to_owned(), x, y, lines, moments, notes }.svg()
}

fn mean_over_time(case: &Case, shown: &[Shown<'_>], inks: &Inks) -> Figure {
    const TITLE: &str = "Mean latency over time";
    let mean = |slice: &Slice| {
        (slice.timed > 0).then(|| (slice.latencies as f64 / slice.timed as f64 / MILLISECOND).max(0.001))
    };
    let lines = over_time(case, shown, inks, mean);
    if lines.is_empty() {
        return Figure::missing(TITLE, "No request came in any slice of time.");
    }
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let y = Axis::logarithmic("mean latency (ms)", values);
    let caption = "By when requests came, as the mean of all seeds.";
    Figure::drawn(TITLE, time_plot(TITLE, case, y, lines, shown), caption)
}

fn failures_over_time(case: &Case, shown: &[Shown<'_>], inks: &Inks) -> Figure {
    const TITLE: &str = "Failures over time";
    let part = |slice: &Slice| (slice.came > 0).then(|| slice.failed as f64 * 100.0 / slice.came as f64);
    let lines = over_time(case, shown, inks, part);
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
    if most <= 0.0 {
        return Figure::missing(TITLE, "No request failed.");
    }
    let y = Axis::linear("failed requests (%)", 0.0, most * 1.05);
    let caption = "By when requests came, as the mean of all seeds: errors, refusals and those who gave up.";
    Figure::drawn(TITLE, time_plot(TITLE, case, y, lines, shown), caption)
}

fn imbalance(case: &Case, shown: &[Shown<'_>], inks: &Inks) -> Figure {
    const TITLE: &str = "Imbalance over time";
    let figure = |slice: &Slice| {
        let (most, sum) = (slice.answers.iter().max()?, slice.answers.iter().sum::<u64>());
        (sum > 0).then(|| *most as f64 * slice.answers.len() as f64 / sum as f64)
    };
    let lines = over_time(case, shown, inks, figure);
    if lines.is_empty() {
        return Figure::missing(TITLE, "No answer came in any slice of time.");
    }
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(1.0, f64::max);
    let y =
        Axis::linear("most answers of a server (times the mean)", 1.0, 1.0 + (most - 1.0).max(0.1) * 1.05);
    let caption = "1 is even. A part of it is chance: few answers in a slice of time are never quite even.";
    Figure::drawn(TITLE, time_plot(TITLE, case, y, lines, shown), caption)
}

fn forests(shown: &[Shown<'_>], inks: &Inks) -> Vec<Figure> {
    const TITLE: &str = "Paired differences";
    let stable = |is_live| move |shown: &&Shown<'_>| shown.is_live == is_live && shown.stability.is_stable();
    let Some(first) =
        shown.iter().find(stable(false)).filter(|_| shown.iter().filter(stable(false)).count() > 1)
    else {
        let why = "There are not two policies whose simulated percentiles mean something.";
        return vec![Figure::missing(TITLE, why)];
    };
    let live = shown.iter().find(|shown| shown.is_live && shown.series.policy == first.series.policy);
    let live = live.filter(|live| live.stability.is_stable());
    let forest = |of: &str, figure: &dyn Fn(&Run) -> f64| {
        let title = format!("Paired differences of the {of}");
        let mut rows = Vec::new();
        for (is_live, baseline) in [(false, Some(first)), (true, live)] {
            let Some(baseline) = baseline else { continue };
            let others = shown.iter().filter(stable(is_live));
            for other in others.filter(|other| other.series.policy != baseline.series.policy) {
                let difference = other.series.difference(baseline.series, |run| figure(run) / MILLISECOND);
                rows.push((other.name(), inks.ink(other.series.policy), difference));
            }
        }
        let label = format!("{of}, less that of {} (ms)", first.series.policy.name());
        let left_out: Vec<String> =
            shown.iter().filter(|shown| !shown.stability.is_stable()).map(Shown::name).collect();
        let mut caption =
            "Seed by seed, with 95 % confidence intervals: left of the dashed line is faster.".to_owned();
        if !left_out.is_empty() {
            caption = format!("{caption} Left out as unstable: {}.", left_out.join(", "));
        }
        Figure::drawn(&title, Forest { title: title.clone(), label, rows }.svg(), caption)
    };
    vec![forest("p99", &|run| run.quantile(0.99)), forest("mean", &|run| run.latencies.mean())]
}

/// A panel of the first seed of each series.
fn panels(shown: &[Shown<'_>], cells: impl Fn(&Slice) -> Vec<Option<f64>>) -> Vec<Panel> {
    let panel = |shown: &Shown<'_>| {
        let run = shown.series.runs.first()?;
        Some(Panel { name: shown.name(), cells: run.slices.iter().map(&cells).collect() })
    };
    let panels = shown.iter().filter_map(panel);
    panels.filter(|panel| panel.cells.iter().flatten().any(Option::is_some)).collect()
}

fn heat(title: &str, label: &str, shades: Shades, case: &Case, panels: Vec<Panel>) -> String {
    let (title, label) = (title.to_owned(), label.to_owned());
    Heat { title, label, shades, seconds: case.scenario.duration as f64 / SECOND, panels }.svg()
}

fn shares(case: &Case, shown: &[Shown<'_>]) -> Figure {
    const TITLE: &str = "Share of answers by server over time";
    let panels = panels(shown, |slice| {
        let sum = slice.answers.iter().sum::<u64>();
        let share = |answers: &u64| {
            (sum > 0).then(|| *answers as f64 * slice.answers.len() as f64 / sum.max(1) as f64)
        };
        slice.answers.iter().map(share).collect()
    });
    if panels.is_empty() {
        return Figure::missing(TITLE, "No answer came in any slice of time.");
    }
    let caption = "First seed, in times an even share: blue is less, orange is more. Of many servers, neighbours share a row, \
                   which shows the highest of them.";
    Figure::drawn(TITLE, heat(TITLE, "even share", Shades::AroundOne, case, panels), caption)
}

fn in_flight(case: &Case, shown: &[Shown<'_>]) -> Figure {
    const TITLE: &str = "In flight by server over time";
    let panels = panels(shown, |slice| slice.in_flight.iter().map(|count| Some(*count)).collect());
    let most =
        panels.iter().flat_map(|panel| panel.cells.iter().flatten()).flatten().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return Figure::missing(TITLE, "Nothing was ever seen in flight.");
    }
    let caption = format!(
        "First seed, in the mean of each slice of time; {} at most. The brighter, the more.",
        number(most)
    );
    Figure::drawn(TITLE, heat(TITLE, "in flight", Shades::UpTo(most), case, panels), caption)
}

fn waiting(shown: &[Shown<'_>], inks: &Inks) -> Figure {
    const TITLE: &str = "Waiting before service";
    let mut lines = Vec::new();
    let mut at_once = Vec::new();
    for shown in shown.iter().filter(|shown| !shown.is_live) {
        let mut waits = crate::measure::histogram();
        for run in &shown.series.runs {
            // It grows as it has to.
            let _ = waits.add(&run.waits);
        }
        if waits.is_empty() {
            continue;
        }
        at_once.push(format!("{} {}", shown.name(), percent(waits.count_at(0) as f64 / waits.len() as f64)));
        // From what is too short to matter to the longest, at equal distances of the axis.
        let (from, to) = (1e4_f64.ln(), (waits.max().max(20_000) as f64).ln());
        let at = |step: u32| (from + (to - from) * f64::from(step) / 100.0).exp();
        let part = |value: f64| waits.count_between(0, value as u64) as f64 * 100.0 / waits.len() as f64;
        let points: Vec<_> = (0..=100).map(|step| (at(step) / MILLISECOND, part(at(step)))).collect();
        let marks = points.iter().skip(lines.len() * 3 % 20).step_by(20).map(|(value, _)| *value).collect();
        if waits.max() > 0 {
            lines.push(shown.line(inks, points, Some(marks)));
        }
    }
    if at_once.is_empty() {
        return Figure::missing(TITLE, "Nobody was answered whose waiting is known.");
    }
    let caption = format!("Served at once: {}.", at_once.join(", "));
    if lines.is_empty() {
        return Figure::missing(TITLE, caption);
    }
    let values = lines.iter().flat_map(|line| &line.points).map(|(value, _)| *value);
    let plot = Plot {
        title: TITLE.to_owned(),
        x: Axis::logarithmic("waiting at the server (ms)", values),
        y: Axis::linear("answers that waited no longer (%)", 0.0, 100.0),
        lines,
        moments: Vec::new(),
        notes: Vec::new(),
    };
    Figure::drawn(TITLE, plot.svg(), caption)
}

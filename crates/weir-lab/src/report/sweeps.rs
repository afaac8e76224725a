//! Figures across cases: against load, and from variant to variant.

use super::axis::Axis;
use super::bounds::{Known, Law};
use super::figure::{Figure, notes, shown};
use super::ink::{Ink, Inks};
use super::plot::{Dash, Line, Plot};
use super::tables::{Family, load, objective};
use super::words::{self, MILLISECOND};
use crate::compare::{Case, Series};
use crate::run::Run;
use crate::scenario::Policy;

/// What is drawn against load: its name, and the part of requests that it is about; the mean where there is none.
const DRAWN: [(&str, Option<f64>); 4] =
    [("mean", None), ("p50", Some(0.5)), ("p99", Some(0.99)), ("p99.9", Some(0.999))];

fn value(run: &Run, part: Option<f64>) -> f64 {
    part.map_or_else(|| run.latencies.mean(), |part| run.quantile(part)) / MILLISECOND
}

/// The figures of a scenario at several loads.
pub(super) fn against_load(sweep: &[&Case], inks: &Inks) -> Vec<Figure> {
    let latencies = DRAWN.iter().map(|(name, part)| one_against_load(sweep, inks, name, *part));
    let places: Vec<f64> = sweep.iter().map(|case| load(case)).collect();
    let counts = |what| counted(what, "against load", (sweep, &places), loads(&places), inks);
    latencies.chain(COUNTED.iter().filter_map(counts)).collect()
}

/// The axis of loads.
fn loads(places: &[f64]) -> Axis {
    let (least, most) = (places[0], places[places.len() - 1]);
    let margin = ((most - least) * 0.03).max(0.005);
    Axis::linear_at("load (part of the capacity)", (least - margin, most + margin), places)
}

fn one_against_load(sweep: &[&Case], inks: &Inks, name: &str, part: Option<f64>) -> Figure {
    let title = format!("Latency against load: {name}");
    let places: Vec<f64> = sweep.iter().map(|case| load(case)).collect();
    let (mut lines, unstable) = lines(sweep, &places, inks, &|run| value(run, part));
    if values(&lines).all(|value| !value.is_finite()) {
        return Figure::missing(&title, format!("No percentile means anything. {unstable}"));
    }
    let (least, most) = (places[0], places[places.len() - 1]);
    let laws = laws(sweep[0], (least, most), part);
    let is_bounded = !laws.is_empty();
    lines.extend(laws);
    if part == Some(0.99) {
        let objective = objective(sweep) / MILLISECOND;
        let name = format!("objective: {} ms", words::number(objective));
        let points = vec![(least, objective), (most, objective)];
        lines.push(Line { name, ink: Ink::PLAIN, dash: Dash::Solid, points, marks: None, bars: Vec::new() });
    }
    let y = Axis::logarithmic(format!("{name} of latency (ms)"), values(&lines));
    let x = loads(&places);
    let notes = notes(&shown(sweep[0]));
    let plot = Plot { title: title.clone(), x, y, lines, moments: Vec::new(), notes };
    let theory = match (is_bounded, part) {
        (false, _) => "Theory has no closed form for this scenario. ",
        (true, None) => "No policy beats one queue for all servers. ",
        (true, Some(_)) => {
            "One queue for all servers has the least mean; its percentiles are shown for comparison. "
        }
    };
    Figure::drawn(
        &title,
        plot.svg(),
        format!("Means of all seeds with 95 % confidence intervals. {theory}{unstable}"),
    )
}

/// Points and bars of all lines.
fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    let points = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    points.chain(lines.iter().flat_map(|line| &line.bars).map(|(_, _, high)| *high))
}

/// A line for each policy, simulated and live, through the cases at which it is stable; and who is not, in words.
fn lines(cases: &[&Case], places: &[f64], inks: &Inks, figure: &dyn Fn(&Run) -> f64) -> (Vec<Line>, String) {
    let mut policies: Vec<(Policy, bool)> = Vec::new();
    for case in cases {
        for one in shown(case) {
            if !policies.contains(&(one.series.policy, one.is_live)) {
                policies.push((one.series.policy, one.is_live));
            }
        }
    }
    let (mut lines, mut unstable) = (Vec::new(), Vec::new());
    for (number, (policy, is_live)) in policies.iter().enumerate() {
        // Bars of different policies stand beside one another.
        let width = (places[places.len() - 1] - places[0]) / places.len().max(2) as f64;
        let offset = (number as f64 / policies.len() as f64 - 0.5) * width * 0.08;
        let (mut points, mut bars) = (Vec::new(), Vec::new());
        for (case, place) in cases.iter().zip(places) {
            let shown = shown(case);
            let one = shown.iter().find(|one| one.series.policy == *policy && one.is_live == *is_live);
            let Some(one) = one else { continue };
            let place = place + offset;
            if !one.stability.is_stable() {
                // Nothing joins what is on either side of it.
                points.push((place, f64::NAN));
                unstable.push(format!("{} {}", one.name(), at(case)));
                continue;
            }
            let estimate = one.series.estimate(figure);
            points.push((place, estimate.mean));
            if estimate.half_width.is_finite() {
                let (low, high) = estimate.interval();
                bars.push((place, low, high));
            }
        }
        let dash = if *is_live { Dash::Dashed } else { Dash::Solid };
        let name = policy.name().to_owned();
        lines.push(Line { name, ink: inks.ink(*policy), dash, points, marks: None, bars });
    }
    let words = if unstable.is_empty() {
        String::new()
    } else {
        format!("Left out as unstable: {}.", unstable.join(", "))
    };
    (lines, words)
}

fn at(case: &Case) -> String {
    case.load.map_or_else(|| format!("in {}", case.scenario.name), |load| format!("at {}", words::load(load)))
}

/// What theory says, between two loads.
fn laws(case: &Case, (from, to): (f64, f64), part: Option<f64>) -> Vec<Line> {
    let Some(known) = Known::of(&case.scenario) else { return Vec::new() };
    let line = |law: Law| {
        // It goes to infinity at a load of one.
        let to = to.min(0.98);
        let loads = (0..=60).map(|step| from + (to - from) * f64::from(step) / 60.0);
        let latency =
            |load| part.map_or_else(|| known.mean(law, load), |part| known.quantile(law, load, part));
        let points = loads.map(|load| (load, latency(load) / MILLISECOND)).collect();
        let dash = match law {
            Law::OneQueue => Dash::Dotted,
            Law::AtRandom => Dash::Mixed,
            Law::InTurn => Dash::Dashed,
        };
        Line { name: law.name().to_owned(), ink: Ink::PLAIN, dash, points, marks: None, bars: Vec::new() }
    };
    if from < 0.98 { known.laws().map(line).collect() } else { Vec::new() }
}

/// The figures of a family.
pub(super) fn by_variant(family: &Family<'_>, inks: &Inks) -> Vec<Figure> {
    let cases: Vec<&Case> = family.variants.iter().map(|(_, case)| *case).collect();
    let places: Vec<f64> = (0..cases.len()).map(|at| at as f64).collect();
    let names = || family.variants.iter().map(|(variant, _)| (*variant).to_owned());
    let title = format!("p99 by variant of {}", name(family));
    let (lines, unstable) = lines(&cases, &places, inks, &|run| value(run, Some(0.99)));
    let mut figures = Vec::new();
    if values(&lines).all(|value| !value.is_finite()) {
        figures.push(Figure::missing(&title, format!("No percentile means anything. {unstable}")));
    } else {
        let y = Axis::logarithmic("p99 of latency (ms)", values(&lines));
        let x = Axis::named("variant", names());
        let plot =
            Plot { title: title.clone(), x, y, lines, moments: Vec::new(), notes: notes(&shown(cases[0])) };
        let caption = format!("Means of all seeds with 95 % confidence intervals. {unstable}");
        figures.push(Figure::drawn(&title, plot.svg(), caption));
    }
    let of = format!("by variant of {}", name(family));
    let axis = || Axis::named("variant", names());
    figures.extend(COUNTED.iter().filter_map(|what| counted(what, &of, (&cases, &places), axis(), inks)));
    figures
}

/// What a family is called.
fn name(family: &Family<'_>) -> String {
    family.load.map_or_else(
        || family.name.to_owned(),
        |load| format!("{} at load {}", family.name, words::load(load)),
    )
}

/// What is counted of every policy: of those that are unstable, too.
struct Counted {
    what: &'static str,
    label: &'static str,
    caption: &'static str,
    of: fn(&Series) -> f64,
    /// What it is where all is well: nothing is drawn if it is nowhere more than a little above.
    well: f64,
    little: f64,
}

const COUNTED: [Counted; 3] = [
    Counted {
        what: "Failed requests",
        label: "failed requests (%)",
        caption: "All seeds together: errors, refusals and those who gave up.",
        of: failed,
        well: 0.0,
        little: 0.0,
    },
    Counted {
        what: "Attempts",
        label: "attempts for each request",
        caption: "All seeds together: retries and hedges are attempts, too.",
        of: attempts,
        well: 1.0,
        little: 0.001,
    },
    Counted {
        what: "Imbalance",
        label: "most answers of a server (times the mean)",
        caption: "Means of all seeds, over each whole run after its warm-up. 1 is even.",
        of: |series| series.estimate(Run::imbalance).mean,
        well: 1.0,
        little: 0.2,
    },
];

/// A figure of what is counted; `None` where all is well.
fn counted(
    what: &Counted,
    of: &str,
    (cases, places): (&[&Case], &[f64]),
    x: Axis,
    inks: &Inks,
) -> Option<Figure> {
    let mut lines: Vec<Line> = Vec::new();
    for (case, place) in cases.iter().zip(places) {
        for one in shown(case) {
            let name = one.series.policy.name();
            let dash = if one.is_live { Dash::Dashed } else { Dash::Solid };
            let point = (*place, (what.of)(one.series));
            match lines.iter_mut().find(|line| line.name == name && line.dash == dash) {
                Some(line) => line.points.push(point),
                None => {
                    let ink = inks.ink(one.series.policy);
                    let (name, bars) = (name.to_owned(), Vec::new());
                    lines.push(Line { name, ink, dash, points: vec![point], marks: None, bars });
                }
            }
        }
    }
    let most = values(&lines).fold(what.well, f64::max);
    if most <= what.well + what.little {
        return None;
    }
    let title = format!("{} {of}", what.what);
    let y = Axis::linear(what.label, what.well, what.well + (most - what.well) * 1.05);
    let notes = notes(&shown(cases[0]));
    let plot = Plot { title: title.clone(), x, y, lines, moments: Vec::new(), notes };
    Some(Figure::drawn(&title, plot.svg(), what.caption))
}

/// Requests that failed, in parts of a hundred.
fn failed(series: &Series) -> f64 {
    let all: u64 = series.runs.iter().map(|run| run.counts.all).sum();
    let answered: u64 = series.runs.iter().map(|run| run.counts.answered).sum();
    (all - answered) as f64 * 100.0 / all.max(1) as f64
}

/// How often a request was sent, in the mean.
fn attempts(series: &Series) -> f64 {
    let all: u64 = series.runs.iter().map(|run| run.counts.all).sum();
    let attempts: u64 = series.runs.iter().map(|run| run.counts.attempts).sum();
    attempts as f64 / all.max(1) as f64
}

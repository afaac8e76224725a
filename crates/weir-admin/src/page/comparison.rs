//! The comparisons of algorithms, on the page.

use maud::{Markup, html};

use super::ago;
use crate::comparison::{ArmView, ComparisonView, DifferenceView};

/// A group that compares: its arms, by how much they differ, and what follows.
pub(super) fn section(comparison: &ComparisonView) -> Markup {
    let [a, b] = &comparison.arms;
    html! {
        section {
            h3 {
                a href={ "#" (comparison.target_group) } { (comparison.target_group) }
                " " small { (a.algorithm) " against " (b.algorithm) }
            }
            p {
                @match &comparison.stopped {
                    Some(stopped) => {
                        span.unhealthy { (stopped.algorithm) " stopped" } " " (ago(stopped.since_seconds))
                        ": " (stopped.cause)
                    }
                    None => {
                        (verdict(comparison))
                        @if !comparison.stop_when_worse { " · whichever is worse goes on" }
                    }
                }
            }
            div.scroll {
                table {
                    thead { tr {
                        th { "Arm" } th.number { "Share" } th.number { "Requests" } th.number { "Failed" }
                        th.number { "Mean" } th.number { "p50 ≤" } th.number { "p99 ≤" }
                    } }
                    tbody {
                        @for arm in &comparison.arms { (row(arm)) }
                    }
                }
            }
            p {
                small {
                    "B less A, with 95 % intervals: failed " (failures(comparison.failure_ratio_difference.as_ref()))
                    " · mean " (latency(comparison.latency_difference_ms.as_ref()))
                }
            }
        }
    }
}

fn row(arm: &ArmView) -> Markup {
    let millis = |millis: Option<f64>| millis.map_or("–".to_owned(), |millis| format!("{millis:.3} ms"));
    let percent = arm.failure_ratio.map(|ratio| format!(" ({:.2} %)", ratio * 100.0)).unwrap_or_default();
    html! {
        tr {
            td { (arm.arm) " " (arm.algorithm) }
            td.number { (arm.percentage) " %" }
            td.number { (arm.requests) }
            td.number { (arm.failures) (percent) }
            td.number { (millis(arm.mean_ms)) }
            td.number { (millis(arm.p50_ms)) }
            td.number { (millis(arm.p99_ms)) }
        }
    }
}

fn verdict(comparison: &ComparisonView) -> String {
    let [a, b] = &comparison.arms;
    match comparison.verdict {
        "a_is_better" => format!("{} is better", a.algorithm),
        "b_is_better" => format!("{} is better", b.algorithm),
        "mixed" => "each is better in one respect".to_owned(),
        "too_few" => "too few requests or connections yet".to_owned(),
        _ => "undecided".to_owned(),
    }
}

/// With the 95 % confidence interval.
fn latency(difference: Option<&DifferenceView>) -> String {
    difference.map_or("–".to_owned(), |DifferenceView { found, interval: [low, high], .. }| {
        format!("{found:+.3} ms ({low:+.3} to {high:+.3})")
    })
}

fn failures(difference: Option<&DifferenceView>) -> String {
    difference.map_or("–".to_owned(), |DifferenceView { found, interval, .. }| {
        let [found, low, high] = [*found, interval[0], interval[1]].map(|ratio| ratio * 100.0);
        format!("{found:+.2} % ({low:+.2} to {high:+.2})")
    })
}

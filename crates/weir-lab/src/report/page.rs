//! The page: one file, without scripts and without anything from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Header;
use super::disruption::{self, Moves};
use super::figure::Figure;
use super::ink::Inks;
use super::live::{self, case_name};
use super::tables::{self, Broke, Row, p99};
use super::words::{estimate, load, milliseconds, number, percent};
use super::{figures, sweeps};
use crate::compare::{Case, Results, rankings};

const STYLE: &str = include_str!("page.css");

/// Where fewer are answered the summary says how many.
const ALL_ANSWERED: f64 = 0.9995;

/// Invalid runs that are named; the table has all.
const NAMED: usize = 8;

pub(super) fn page(results: &Results, header: &Header, moves: &[Moves]) -> Markup {
    let inks = Inks::of(results);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (results.name) " · weir lab" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (top(results, header))
                main {
                    (banner(&live::invalid(results)))
                    @if results.cases.is_empty() { p.warning { "There are no cases: nothing was run." } }
                    @else { (overview(results, &inks)) }
                    @for sweep in &tables::sweeps(&results.cases) { (sweep_section(sweep, &inks)) }
                    @for family in &tables::families(&results.cases) {
                        section {
                            h2 { "Variants: " (family.name) }
                            (all(&sweeps::by_variant(family, &inks)))
                        }
                    }
                    (moves_section(moves, &inks))
                    (live_section(results))
                    @if !results.cases.is_empty() { h2 { "Case by case" } }
                    @for (at, case) in results.cases.iter().enumerate() { (case_section(at, case, &inks)) }
                }
            }
        }
    }
}

fn all(figures: &[Figure]) -> Markup {
    html! { @for figure in figures { (figure.markup()) } }
}

fn top(results: &Results, header: &Header) -> Markup {
    let mut seeds: Vec<u64> = results.cases.iter().flat_map(Case::seeds).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let is_without_gaps = seeds.len() > 2 && seeds.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let texts: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let seeds = match &texts[..] {
        [] => "none".to_owned(),
        [first, .., last] if is_without_gaps => format!("{first} to {last}"),
        _ => texts.join(", "),
    };
    html! {
        header {
            h1 { (results.name) }
            @if !results.about.is_empty() { p { (results.about) } }
            dl {
                dt { "version" } dd { (header.version) }
                dt { "machine" } dd { (header.cpu) ", " (header.cores) " cores" }
                dt { "command" } dd { code { (header.command) } }
                dt { "when" } dd { (header.when) }
                @if let Some(summary) = live::summary(results) { dt { "live" } dd { (summary) } }
                dt { "seeds" } dd { (seeds) ", the same for every policy" }
            }
        }
    }
}

/// A name that may be broken where its words end: a column is no wider than its numbers.
fn broken(name: &str) -> Markup {
    html! { @for word in name.split_inclusive('_') { (word) wbr; } }
}

fn banner(invalid: &[String]) -> Markup {
    html! {
        @if !invalid.is_empty() {
            div.invalid {
                strong { "INVALID: " (invalid.len()) " live runs do not count." }
                ul {
                    @for text in invalid.iter().take(NAMED) { li { (text) } }
                    @if invalid.len() > NAMED { li { "and " (invalid.len() - NAMED) " more, see the table of live runs" } }
                }
            }
        }
    }
}

/// All cases and policies by their p99.
fn overview(results: &Results, inks: &Inks) -> Markup {
    let names = inks.names();
    html! {
        section {
            h2 { "Summary: p99 in ms" }
            p.note {
                "Means of all seeds with 95 % confidence intervals, of those that were answered or gave up. " strong { "Bold" } " is the least of \
                 those who answer most. Ranks are in brackets: whoever answers as many and is not surely slower, seed by seed, shares \
                 one. Open a case for all of its figures."
            }
            div.scroll { table {
                thead { tr { th { "case" } @for name in names { th.number { (broken(name)) } } } }
                tbody {
                    @for (at, case) in results.cases.iter().enumerate() {
                        @let rows = tables::rows(case);
                        @for is_live in [false, true] {
                            @if !is_live || rows.iter().any(|row| row.is_live) {
                                tr {
                                    td { a href={ "#case-" (at) } { (case_name(case)) } @if is_live { " (live)" } }
                                    @for name in names {
                                        (p99_cell(rows.iter().find(|row| row.policy == *name && row.is_live == is_live)))
                                    }
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn p99_cell(row: Option<&Row>) -> Markup {
    let Some(row) = row else { return html! { td.number { "–" } } };
    if !row.stability.is_stable() {
        return html! { td.unstable { (row.stability.words()) } };
    }
    html! {
        td.number.best[row.is_best] {
            (estimate(row.p99))
            @if let Some(rank) = row.rank { small { " (" (rank) ")" } }
            @if row.answered < ALL_ANSWERED { br; small { (percent(row.answered)) " answered" } }
        }
    }
}

fn sweep_section(sweep: &[&Case], inks: &Inks) -> Markup {
    let scenario = &sweep[0].scenario;
    let of = if scenario.objective.is_some() { "the objective" } else { "ten times the mean work" };
    let last = sweep.last().map_or(0.0, |case| tables::load(case));
    html! {
        section {
            h2 { "Against load: " (scenario.name) }
            h3 { "What broke first" }
            p.note {
                "The highest load up to which p99 stays within " (milliseconds(tables::objective(sweep))) " ms, " (of) "."
            }
            div.scroll { table {
                thead { tr { th { "policy" } th.number { "holds up to" } th { "then" } } }
                tbody { @for row in tables::broke(sweep) { (broke_row(&row, last)) } }
            } }
            (all(&sweeps::against_load(sweep, inks)))
        }
    }
}

fn broke_row(row: &Broke, last: f64) -> Markup {
    html! {
        tr {
            td { (row.policy) }
            td.number { @if let Some(holds) = row.holds { (load(holds)) } @else { "none of these" } }
            td {
                @if let Some((at, why)) = &row.breaks { "at " (load(*at)) ": " (why) }
                @else if row.holds.is_some() { "held at all loads, up to " (load(last)) }
                @else { "not run" }
            }
        }
    }
}

fn moves_section(moves: &[Moves], inks: &Inks) -> Markup {
    html! {
        @if let Some(figure) = disruption::figure(moves, inks) {
            section {
                h2 { "Disruption" }
                (figure.markup())
                div.scroll { table {
                    thead { tr {
                        th { "policy" } th.number { "targets" } th.number { "leave" } th.number { "keys that must move" }
                        th.number { "keys that move" } th.number { "without need" }
                    } }
                    tbody { @for moves in moves { @for (left, moved, needless) in &moves.leaving { tr {
                        td { (moves.policy.name()) }
                        td.number { (moves.targets) }
                        td.number { (left) }
                        td.number { (percent(moved - needless)) }
                        td.number { (percent(*moved)) }
                        td.number { (percent(*needless)) }
                    } } } }
                } }
            }
        }
    }
}

fn live_section(results: &Results) -> Markup {
    let rows = live::rows(results);
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Live runs" }
                p.note {
                    "Rates per second; how late requests were sent, in ms. A run counts where p99.9 of that is at most a \
                     tenth of the p99 that it shows."
                }
                div.scroll { table {
                    thead { tr {
                        th { "case" } th { "policy" } th.number { "seed" } th.number { "rate wanted" } th.number { "answered" }
                        th.number { "lag p50" } th.number { "p99" } th.number { "p99.9" } th.number { "most" } th { "" }
                    } }
                    tbody { @for row in &rows { tr {
                        @for (at, text) in row.iter().enumerate() {
                            td.number[(2..9).contains(&at)].unstable[text == "INVALID"] { (text) }
                        }
                    } } }
                } }
            }
        }
    }
}

fn case_section(at: usize, case: &Case, inks: &Inks) -> Markup {
    html! {
        details id={ "case-" (at) } open[at == 0] {
            summary { (case_name(case)) }
            @if !case.scenario.about.is_empty() { p { (case.scenario.about) } }
            @if case.scenario.seeds < 2 { p.warning { "One seed: there are no confidence intervals and no ranks." } }
            (case_table(case))
            (agreement(case))
            (all(&figures::of(case, inks)))
            @if let Some(figure) = live::gap(case, inks) { (figure.markup()) }
        }
    }
}

fn case_table(case: &Case) -> Markup {
    let rows = tables::rows(case);
    let has_objective = case.scenario.objective.is_some();
    html! {
        div.scroll { table {
            thead { tr {
                th { "policy" } th.number { "mean (ms)" } th.number { "p50 (ms)" } th.number { "p90 (ms)" }
                th.number { "p99 (ms)" } th.number { "p99.9 (ms)" } th.number { "rank" } th.number { "answered" }
                @if let Some(objective) = case.scenario.objective {
                    th.number { "within " (milliseconds(objective as f64)) " ms" }
                }
                th.number { "attempts" } th.number { "imbalance" }
            } }
            tbody {
                @for row in &rows {
                    tr.best[row.is_best] {
                        td { (row.policy) @if row.is_live { " (live)" } }
                        @if row.stability.is_stable() {
                            @for value in [row.mean, row.p50, row.p90, row.p99, row.p999] {
                                td.number { (estimate(value)) }
                            }
                            td.number { @if let Some(rank) = row.rank { (rank) } @else { "–" } }
                        } @else {
                            td.unstable colspan="6" { (row.stability.words()) }
                        }
                        td.number { (percent(row.answered)) }
                        @if has_objective { td.number { (row.in_time.map_or("–".to_owned(), percent)) } }
                        td.number { (number(row.attempts)) }
                        td.number { (number(row.imbalance.mean)) }
                    }
                }
            }
        } }
    }
}

/// Whether policies that are apart in the simulation rank the same live.
fn agreement(case: &Case) -> Markup {
    let pairs = rankings(case, p99);
    let is_live = case.live.iter().any(|series| !series.runs.is_empty());
    let disagree = pairs.iter().filter(|(_, _, agrees)| !agrees);
    let disagree: Vec<String> =
        disagree.map(|(one, other, _)| format!("{} and {}", one.name(), other.name())).collect();
    html! {
        @if is_live {
            p {
                @if pairs.is_empty() { "No two policies are surely apart in the simulation by their p99." }
                @else {
                    "Of " (pairs.len()) " pairs of policies that are surely apart in the simulation by their p99, "
                    (pairs.len() - disagree.len()) " rank the same live."
                    @if !disagree.is_empty() { " Not so: " (disagree.join("; ")) "." }
                }
            }
        }
    }
}

//! `weir lab validate`: the laboratory checks itself.

use std::process::ExitCode;

use serde_json::json;
use weir_lab::validate::{Depth, Expected, Got, Item, NOT_CHECKED, Row, check, items};

use super::progress::Progress;
use crate::output::say;

/// What is checked.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Loads up to 0.8, fewer requests, nothing that takes real time: half a minute on two cores.
    #[arg(long)]
    quick: bool,
    /// Only the items of these numbers.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    item: Vec<u8>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Checks; exit status 1 when a line of the table is not as expected.
pub(crate) fn validate(options: &Options) -> anyhow::Result<ExitCode> {
    let depth = if options.quick { Depth::Quick } else { Depth::Whole };
    let is_wanted = |item: &Item| options.item.is_empty() || options.item.contains(&item.number);
    let items: Vec<Item> = items(depth).into_iter().filter(is_wanted).collect();
    anyhow::ensure!(
        !items.is_empty(),
        "--item: there is none of these; docs/lab.md has the numbers, 1 to 31"
    );
    let progress = Progress::of(items.iter().map(|item| item.cost).sum());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = check(&items, threads, &|item| progress.add(item.cost, item.name));
    drop(progress);
    say(&if options.json { in_json(&rows) } else { table(&rows, options.item.is_empty()) });
    Ok(if rows.iter().all(Row::passes) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn in_json(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let (expected, tolerance) = expected(&row.expected);
        json!({
            "item": row.item, "what": row.what, "expected": expected, "tolerance": tolerance, "got": got(&row.got),
            "count": row.count, "source": row.source.to_string(), "passes": row.passes(),
        })
    };
    serde_json::Value::Array(rows.iter().map(row).collect()).to_string()
}

/// What is expected, and how far from it is allowed.
fn expected(expected: &Expected) -> (String, String) {
    match expected {
        Expected::Near(value, part) => (number(*value), format!("±{} %", number(part * 100.0))),
        Expected::Within(value, by) if *by == 0.0 => (number(*value), "exact".to_owned()),
        Expected::Within(value, by) => (number(*value), format!("±{}", number(*by))),
        Expected::Between(low, high) => (format!("{} to {}", number(*low), number(*high)), String::new()),
        Expected::That(what) => (what.clone(), String::new()),
    }
}

fn got(got: &Got) -> String {
    match got {
        Got::Value(value) => number(*value),
        Got::Words(words, _) => words.clone(),
    }
}

/// Five digits at most, and none that say nothing.
fn number(value: f64) -> String {
    let text = if value.abs() >= 1_000.0 { format!("{value:.1}") } else { format!("{value:.4}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Requests and the like, in millions and thousands.
fn count(count: u64) -> String {
    match count {
        0 => String::new(),
        1..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{} k", count / 1_000),
        _ => format!("{} M", count / 1_000_000),
    }
}

fn table(rows: &[Row], is_whole: bool) -> String {
    let mut lines = vec![format!(
        "{:<5}{:<64}{:>18} {:<10}{:>12}{:>8}  {}",
        "item", "what", "expected", "", "got", "count", "source"
    )];
    for row in rows {
        let (expected, tolerance) = expected(&row.expected);
        let (verdict, got, count) =
            (if row.passes() { "" } else { "FAILS  " }, got(&row.got), count(row.count));
        let item = if row.item > 30 { "table".to_owned() } else { row.item.to_string() };
        if matches!(row.expected, Expected::That(_)) {
            lines.push(format!("{item:<5}{:<64}{verdict}expected: {expected}", row.what));
            lines.push(format!("{:<69}     got: {got}  {count}  ({})", "", row.source));
        } else {
            lines.push(format!(
                "{item:<5}{:<64}{expected:>18} {tolerance:<10}{got:>12}{count:>8}  {verdict}{}",
                row.what, row.source
            ));
        }
    }
    if is_whole {
        lines.push("\nNot checked:".to_owned());
        lines.extend(NOT_CHECKED.map(|(item, why)| format!("{item:<5}{why}.")));
    }
    let failed = rows.iter().filter(|row| !row.passes()).count();
    lines.push(match failed {
        0 => format!("\nAll {} lines are as expected.", rows.len()),
        _ => format!("\n{failed} of {} lines are not as expected.", rows.len()),
    });
    lines.join("\n")
}

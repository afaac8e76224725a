//! `weir status`: tables of a running weir's listeners, groups, targets and sources.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::client::Admin;
use crate::output::say;

/// Prints the table, or the admin port's JSON.
pub(crate) fn status(admin: &Admin, json: bool) -> anyhow::Result<ExitCode> {
    let (status, body) = admin.get("/api/v1")?;
    anyhow::ensure!(status == 200, "the admin port answered {status}: {body}");
    if json {
        say(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let view: Value = serde_json::from_str(&body).context("the admin port's answer is not JSON")?;
    let mut rows =
        vec![["LISTENER", "TYPE", "REQUESTS", "ERRORS", "OPEN", "WAITING"].map(ToOwned::to_owned).to_vec()];
    for load_balancer in list(&view["load_balancers"]) {
        for listener in list(&load_balancer["listeners"]) {
            rows.push(vec![
                format!("{}://{}", text(&listener["protocol"]), text(&listener["bind"])),
                text(&load_balancer["type"]),
                text(&listener["requests"]),
                text(&listener["errors"]),
                text(&listener["connections"]),
                text(&listener["holding"]),
            ]);
        }
    }
    say(&table(&rows));
    let mut rows = vec![
        ["GROUP", "TARGET", "ADDRESS", "STATE", "IN FLIGHT", "PICKED", "FAILED", "CAUSE"]
            .map(ToOwned::to_owned)
            .to_vec(),
    ];
    for group in list(&view["target_groups"]) {
        for target in list(&group["targets"]) {
            rows.push(vec![
                text(&group["name"]),
                text(&target["id"]),
                text(&target["address"]),
                text(&target["state"]),
                text(&target["in_flight"]),
                text(&target["picked"]),
                text(&target["failed"]),
                text(&target["cause"]),
            ]);
        }
    }
    say(&table(&rows));
    say_comparisons(list(&view["comparisons"]));
    say_sources(list(&view["sources"]));
    Ok(ExitCode::SUCCESS)
}

/// Algorithms that groups compare, and what that has come to.
fn say_comparisons(comparisons: &[Value]) {
    if comparisons.is_empty() {
        return;
    }
    let heading = ["COMPARISON", "ARM", "ALGORITHM", "SHARE", "REQUESTS", "FAILED", "MEAN", "P99", "VERDICT"];
    let mut rows = vec![heading.map(ToOwned::to_owned).to_vec()];
    for comparison in comparisons {
        for arm in list(&comparison["arms"]) {
            let millis =
                |key: &str| arm[key].as_f64().map_or_else(String::new, |millis| format!("{millis:.3} ms"));
            let stopped = &comparison["stopped"];
            let verdict = if stopped["algorithm"] == arm["algorithm"] {
                format!("stopped: {}", text(&stopped["cause"]))
            } else {
                text(&comparison["verdict"])
            };
            rows.push(vec![
                text(&comparison["target_group"]),
                text(&arm["arm"]),
                text(&arm["algorithm"]),
                format!("{} %", text(&arm["percentage"])),
                text(&arm["requests"]),
                text(&arm["failures"]),
                millis("mean_ms"),
                millis("p99_ms"),
                verdict,
            ]);
        }
    }
    say(&table(&rows));
}

/// Where tasks are seen, and what is wrong there.
fn say_sources(sources: &[Value]) {
    if sources.is_empty() {
        return;
    }
    let mut rows = vec![["SOURCE", "STATE", "TASKS", "LEFT OUT", "PROBLEM"].map(ToOwned::to_owned).to_vec()];
    for source in sources {
        let problem = if source["problem"].is_null() { String::new() } else { text(&source["problem"]) };
        let left_out = list(&source["left_out"]).len().to_string();
        rows.push(vec![
            text(&source["name"]),
            text(&source["state"]),
            text(&source["tasks"]),
            left_out,
            problem,
        ]);
    }
    say(&table(&rows));
    let left_out = sources.iter().flat_map(|source| list(&source["left_out"]));
    let rows: Vec<Vec<String>> =
        left_out.map(|left_out| vec![text(&left_out["owner"]), text(&left_out["problem"])]).collect();
    if !rows.is_empty() {
        let heading = ["LEFT OUT", "BECAUSE"].map(ToOwned::to_owned).to_vec();
        say(&table(&[vec![heading], rows].concat()));
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut lines = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        lines.push_str(cells.join("  ").trim_end());
        lines.push('\n');
    }
    lines
}

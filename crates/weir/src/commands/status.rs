//! `weir status`: a table of a running weir's listeners, groups and targets.

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
    Ok(ExitCode::SUCCESS)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
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

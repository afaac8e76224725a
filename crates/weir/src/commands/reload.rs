//! `weir reload`: the same as SIGHUP, but waits and reports.

use std::process::ExitCode;

use anyhow::Context;

use super::client::Admin;
use crate::output::{complain, say};

#[derive(serde::Deserialize)]
struct Outcome {
    generation: Option<u64>,
    opened: Vec<String>,
    closed: Vec<String>,
    warnings: Vec<String>,
    refused: Option<String>,
}

/// Asks a running weir to reload; exit status 1 when it refuses.
pub(crate) fn reload(admin: &Admin) -> anyhow::Result<ExitCode> {
    let (status, body) = admin.post("/api/v1/reload")?;
    let outcome: Outcome =
        serde_json::from_str(&body).with_context(|| format!("the admin port answered {status}: {body}"))?;
    for warning in &outcome.warnings {
        complain(warning);
    }
    if let Some(problem) = outcome.refused {
        complain(&format!("refused, the last good configuration stays:\n{problem}"));
        return Ok(ExitCode::from(1));
    }
    let list = |what: &str, addrs: &[String]| {
        if !addrs.is_empty() {
            say(&format!("{what} {}", addrs.join(", ")));
        }
    };
    list("opened", &outcome.opened);
    list("closed", &outcome.closed);
    say(&format!("reloaded; generation {}", outcome.generation.unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

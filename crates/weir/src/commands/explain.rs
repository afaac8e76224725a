//! `weir explain`: why a request goes where it goes, asked of a running weir or of a configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::Value;
use weir_admin::{Explained, Question};
use weir_core::load_report::LoadReport;
use weir_core::reconcile::{Event, State, reconcile};
use weir_core::snapshot::Snapshot;
use weir_core::time::{Moment, Timestamp};
use weir_tls::{Files, Secrets, load_secrets};

use super::client::Admin;
use super::status::{list, table, text};
use crate::output::{complain, say};

/// What is asked, and of whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    admin: Admin,
    /// Ask this configuration rather than a running weir: its fixed targets are taken to be healthy, and those that
    /// discovery would find are not known.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The request's method, as sent.
    method: String,
    /// An absolute URL, or a path.
    #[arg(id = "asked", value_name = "URL")]
    url: String,
    /// A header field; as often as needed. A Host goes before the URL's host.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Where the request comes from.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The listener, where the URL's port does not say which: edge:8080, or its address.
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Prints why; exit status 1 when the question has no answer.
pub(crate) fn explain(options: &Options) -> anyhow::Result<ExitCode> {
    let Options { admin, config, method, url, headers, client, listener, json } = options;
    let question = Question {
        method: method.clone(),
        url: url.clone(),
        headers: headers.clone(),
        client: *client,
        listener: listener.clone(),
    };
    let answer = match config {
        Some(path) => {
            let answer = Explained::of(&question, &offline(path)?, moment()?, fastrand::u64(..));
            answer.map(|explained| serde_json::to_value(explained).expect("an explanation is plain values"))
        }
        None => live(admin, &question)?,
    };
    match answer {
        Ok(explained) if *json => say(&explained.to_string()),
        Ok(explained) => say(&readable(&explained)),
        Err(problem) => {
            complain(&format!("weir: {problem}"));
            return Ok(ExitCode::from(1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn live(admin: &Admin, question: &Question) -> anyhow::Result<Result<Value, String>> {
    let question = serde_json::to_value(question).expect("a question is plain values");
    match admin.post_json("/api/v1/explain", &question)? {
        (200, body) => Ok(Ok(serde_json::from_str(&body).context("the admin port's answer is not JSON")?)),
        (422, problem) => Ok(Err(problem)),
        (status, body) => anyhow::bail!("the admin port answered {status}: {body}"),
    }
}

/// What a weir with this configuration would serve, were every fixed target healthy.
fn offline(path: &Path) -> anyhow::Result<Snapshot> {
    let definitions = weir_config::load(path)?.config.definitions.clone();
    let (mut state, now) = (State::new(), Timestamp::default());
    if let Some(file) = &definitions.cookie_secrets {
        match load_secrets(Some(file), &[], &Secrets::random(), &mut Files::default()) {
            Ok(secrets) => drop(reconcile(&mut state, Event::CookieKeys(secrets.cookies), now)),
            Err(error) => complain(&format!("warning: {error}; no cookie can be opened")),
        }
    }
    let defined = reconcile(&mut state, Event::Definitions(Arc::new(definitions)), now);
    let snapshot = defined.snapshot.context("the configuration defines nothing")?;
    let passed = snapshot.members().map(|(_, member)| (member.target.serial, Ok(()))).collect();
    Ok(reconcile(&mut state, Event::Verdicts(passed), now).snapshot.unwrap_or(snapshot))
}

#[allow(clippy::disallowed_methods, reason = "cookies end by wall time")]
fn moment() -> anyhow::Result<Moment> {
    let wall_seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Moment { now: Timestamp::default(), wall_seconds })
}

/// The answer for people: rules from the first to the one that matches, then what that led to.
fn readable(explained: &Value) -> String {
    let mut lines = vec![format!(
        "{}\nlistener {} of {}",
        text(&explained["request"]),
        text(&explained["listener"]),
        text(&explained["load_balancer"])
    )];
    if let Some(path) = explained["normal_path"].as_str() {
        lines.push(format!("rules see the path {path}"));
    }
    lines.push(String::new());
    let mut rows = Vec::new();
    for rule in list(&explained["rules"]) {
        let matches = rule["matches"] == true;
        for (at, condition) in list(&rule["conditions"]).iter().enumerate() {
            let first = |text: String| if at == 0 { text } else { String::new() };
            rows.push(vec![
                first(format!("rule {}", text(&rule["priority"]))),
                first(if matches { "matches".to_owned() } else { "no".to_owned() }),
                if condition[1] == true { "yes".to_owned() } else { "no".to_owned() },
                text(&condition[0]),
            ]);
        }
    }
    let default = explained["rule"] == "default";
    if default {
        rows.push(["default", "matches", "", "what no rule has matched"].map(ToOwned::to_owned).to_vec());
    }
    lines.push(table(&rows).trim_end().to_owned());
    match explained["untried_rules"].as_u64() {
        None | Some(0) => {}
        Some(1) => lines.push("1 rule behind it is not looked at".to_owned()),
        Some(untried) => lines.push(format!("{untried} rules behind it are not looked at")),
    }
    lines.push(String::new());
    if let Some(authentication) = explained["authentication"].as_str() {
        lines.push(format!("{authentication} comes first; for a request that passes:"));
    }
    lines.push(format!("action {}", text(&explained["action"])));
    if let Some(transforms) = explained["transforms"].as_str() {
        lines.push(format!("rewrite {transforms}"));
    }
    for group in list(&explained["target_groups"]) {
        let drawn = if group["is_drawn"] == true { "  <- drawn" } else { "" };
        let share = group["share"].as_f64().unwrap_or(0.0) * 100.0;
        lines.push(format!(
            "group {}  weight {}, {share:.1} %{drawn}",
            text(&group["name"]),
            text(&group["weight"])
        ));
    }
    if let Some(stickiness) = explained["stickiness"].as_str() {
        lines.push(format!("stickiness: {stickiness}"));
    }
    let targets = list(&explained["targets"]);
    if !targets.is_empty() {
        let hash = explained["hash"].as_str().map(|hash| format!(" of its {hash}")).unwrap_or_default();
        lines.push(format!("\nby {}{hash}:", text(&explained["algorithm"])));
        lines.push(candidates(targets, &explained["picked"]).trim_end().to_owned());
        if explained["algorithm"] == "prequal" {
            lines.push("of half of them at most, and of 16, a worker knows these figures at a time; it picks among those".to_owned());
        }
    }
    lines.push(format!("\n=> {}", text(&explained["outcome"])));
    lines.join("\n")
}

fn candidates(targets: &[Value], picked: &Value) -> String {
    let heading = ["TARGET", "ADDRESS", "STATE", "MAY BE PICKED", "WEIGHT", "IN FLIGHT", "SCORE", ""];
    let mut rows = vec![heading.map(ToOwned::to_owned).to_vec()];
    for target in targets {
        let state = match target["reason"].as_str() {
            Some(reason) => format!("{} ({reason})", text(&target["state"])),
            None => text(&target["state"]),
        };
        let is = |what: &str| target[what] == true;
        let may = match (is("is_eligible"), is("has_room"), is("is_within_bounds")) {
            (false, _, _) => "no",
            (true, false, _) => "full",
            (true, true, false) => "above its bound",
            (true, true, true) => "yes",
        };
        rows.push(vec![
            text(&target["id"]),
            text(&target["address"]),
            state,
            may.to_owned(),
            text(&target["weight"]),
            text(&target["in_flight"]),
            score(target),
            if target["id"] == *picked { "<- picked".to_owned() } else { String::new() },
        ]);
    }
    table(&rows)
}

/// What the algorithm goes by, of a target.
fn score(target: &Value) -> String {
    let number = |what: &str| target[what].as_f64();
    let millis = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    if let Some(load) = number("load") {
        return format!("load {load:.2}");
    }
    if let Some(report) = target["load_report"].as_object() {
        let Some(in_flight) = report["in_flight"].as_u64() else {
            return match text(&report["unanswered"]).as_str() {
                "0" => "has not been asked yet".to_owned(),
                unanswered => format!("does not say: {unanswered} probes unanswered"),
            };
        };
        let would_take = report["latency_seconds"].as_f64().map(|seconds| format!(", {}", millis(seconds)));
        let said = format!("{in_flight} under way{}", would_take.unwrap_or_default());
        return match report["age_seconds"].as_f64().unwrap_or_default() {
            age if age <= LoadReport::WORTH.as_secs_f64() => format!("says {said}, {} ago", millis(age)),
            age => format!("said {said}, {age:.0} s ago; {} probes unanswered", text(&report["unanswered"])),
        };
    }
    if let Some(estimate) = number("estimate_seconds") {
        return format!("would take {}", millis(estimate));
    }
    if let Some(share) = number("share_of_turns") {
        return format!("starts slowly: {:.0} % of its turns", share * 100.0);
    }
    match number("share") {
        Some(share) if share < 1.0 => {
            format!("{:.0} % of its weight: fails more than its peers", share * 100.0)
        }
        _ => "-".to_owned(),
    }
}

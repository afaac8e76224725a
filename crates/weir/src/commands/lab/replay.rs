//! `weir lab replay` and `weir lab trace`: what is done with an access log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use weir_lab::access_log::{Entry, LineError};
use weir_lab::replay::{Changed, Replay, World};

use crate::output::{complain, say};

/// Broken lines that are told of.
const BROKEN_TOLD: usize = 5;

/// Longest line, in bytes: fields of a request and the client's name are limited where they are logged.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// What is replayed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// An access log of weir, an Application or a Classic Load Balancer; `-` is standard input.
    #[arg(value_name = "LOG")]
    access_log: PathBuf,
    /// The configuration that is asked what it would do.
    #[arg(short, long)]
    config: PathBuf,
    /// The configuration to compare with, in place of what the log says was done.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is traced.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceOptions {
    /// An access log of weir, an Application or a Classic Load Balancer; `-` is standard input.
    #[arg(value_name = "LOG")]
    access_log: PathBuf,
    /// How long targets took, in place of when requests came.
    #[arg(long)]
    work: bool,
}

/// Says what would become of logged requests; exit status 1 when something changes.
pub(crate) fn replay(options: &Options) -> anyhow::Result<ExitCode> {
    let world = |path: &Path| -> anyhow::Result<World> {
        let loaded = weir_config::load(path).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(World::new(loaded.config.definitions))
    };
    let new = world(&options.config)?;
    let old = options.against.as_deref().map(world).transpose()?;
    let mut replay = Replay::default();
    each_entry(&options.access_log, |entry| replay.add(&entry, &new, old.as_ref()))?;
    say(&if options.json { in_json(&replay) } else { table(&replay) });
    Ok(if replay.changed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Prints when requests came, or how long they took, for a scenario: seconds, one a line.
pub(crate) fn trace(options: &TraceOptions) -> anyhow::Result<ExitCode> {
    let mut entries: Vec<(Duration, Option<Duration>)> = Vec::new();
    each_entry(&options.access_log, |entry| entries.push((entry.came, entry.target_took)))?;
    // A log is in the order of ends.
    entries.sort_unstable_by_key(|(came, _)| *came);
    let first = entries.first().map_or(Duration::ZERO, |(came, _)| *came);
    let seconds = entries
        .iter()
        .filter_map(|(came, took)| if options.work { *took } else { Some(came.saturating_sub(first)) });
    let lines: Vec<String> = seconds.map(|seconds| format!("{:.6}", seconds.as_secs_f64())).collect();
    anyhow::ensure!(
        !lines.is_empty(),
        "{}: no line says how long a target took",
        options.access_log.display()
    );
    say(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Reads every line that can be read, and tells of those that cannot.
fn each_entry(path: &Path, mut take: impl FnMut(Entry)) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", path.display());
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        Box::new(File::open(path).with_context(unreadable)?)
    };
    let mut input = BufReader::new(input);
    let (mut number, mut read, mut broken) = (0, 0_u64, Vec::<(u64, LineError)>::new());
    let mut line = Vec::new();
    loop {
        line.clear();
        let count =
            input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).with_context(unreadable)?;
        if count == 0 {
            break;
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        match Entry::parse(&text) {
            Ok(entry) => {
                read += 1;
                take(entry);
            }
            Err(error) => broken.push((number, error)),
        }
    }
    for (line, error) in broken.iter().take(BROKEN_TOLD) {
        complain(&format!("{}, line {line}: {error}; left out", path.display()));
    }
    if broken.len() > BROKEN_TOLD {
        complain(&format!("{}: {} lines in all were left out", path.display(), broken.len()));
    }
    anyhow::ensure!(read > 0, "{}: no line of it is of an access log", path.display());
    Ok(())
}

fn table(replay: &Replay) -> String {
    let percent = |count: u64| count as f64 * 100.0 / replay.requests.max(1) as f64;
    let mut lines = vec![format!(
        "{} requests, {} of which would be treated otherwise ({:.1} %)",
        replay.requests,
        replay.changed(),
        percent(replay.changed())
    )];
    let mut tell = |heading: String, changed: &Changed| {
        lines.push(format!("\n{:>8}  {:>5.1} %  {heading}", changed.count, percent(changed.count)));
        lines.extend(changed.examples.iter().map(|example| format!("{:19}{example}", "")));
    };
    for ((was, is), changed) in by_count(&replay.treatments) {
        tell(format!("{}, {}  →  {}, {}", was.rule, was.action, is.rule, is.action), changed);
    }
    for ((was, is), changed) in by_count(&replay.targets) {
        tell(format!("target {was}  →  {is}"), changed);
    }
    lines.join("\n")
}

/// The most frequent first.
fn by_count<K>(changes: &std::collections::BTreeMap<K, Changed>) -> Vec<(&K, &Changed)> {
    let mut all: Vec<_> = changes.iter().collect();
    all.sort_by_key(|(_, changed)| std::cmp::Reverse(changed.count));
    all
}

fn in_json(replay: &Replay) -> String {
    let treatments = replay.treatments.iter().map(|((was, is), changed)| {
        json!({
            "rule": { "was": was.rule, "is": is.rule }, "action": { "was": was.action, "is": is.action },
            "count": changed.count, "examples": changed.examples,
        })
    });
    let targets = replay.targets.iter().map(|((was, is), changed)| {
        json!({ "target": { "was": was, "is": is }, "count": changed.count, "examples": changed.examples })
    });
    let changes: Vec<_> = treatments.chain(targets).collect();
    json!({ "requests": replay.requests, "changed": replay.changed(), "changes": changes }).to_string()
}

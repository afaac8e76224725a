//! What changes cost requests: the CPU time of weir's worker per request, quiet and while targets change all the time.
//!
//! A thousand groups of ten targets come from a file that is rewritten again and again, each time with another target of
//! another group replaced. The requests go to one more group. Quiet and busy runs take turns, and are paired.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;

use crate::peers::{Bench, More};
use crate::proxy::Proxy;
use crate::report::median;
use crate::scenario::Scenario;
use crate::schedule::Generator;
use crate::{Comparison, in_folder, progress, say};

/// Groups that change, and targets in each.
const GROUPS: usize = 1_000;
const TARGETS: usize = 10;

/// Time between two changes, in each of two comparisons.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(10)];

/// Compares quiet and busy runs.
pub(crate) fn compare(comparison: &Comparison) -> anyhow::Result<()> {
    in_folder("under-load", |folder| run(comparison, folder))
}

fn run(comparison: &Comparison, folder: &Path) -> anyhow::Result<()> {
    let mut generator = Generator::start(Scenario::Http128)?;
    let backends = generator.backends.clone();
    let bench = Bench { scenario: Scenario::Http128, backends: &backends, folder, weir: &comparison.weir };
    let targets = Targets { folder };
    targets.write(0)?;
    let weir = bench.weir_with(&configuration())?;
    PAUSES.iter().try_for_each(|pause| alternate(comparison, &mut generator, &weir, &targets, *pause))
}

fn alternate(
    comparison: &Comparison,
    generator: &mut Generator,
    weir: &Proxy,
    targets: &Targets<'_>,
    pause: Duration,
) -> anyhow::Result<()> {
    let changes = AtomicU64::new(0);
    let mut ratios = Vec::new();
    let mut busy_times = Vec::new();
    for round in 0..comparison.rounds {
        progress(&format!("round {} of {}", round + 1, comparison.rounds));
        let before = generator.worker_micros(weir, comparison.seconds)?;
        let busy =
            while_changing(targets, pause, &changes, || generator.worker_micros(weir, comparison.seconds))?;
        let after = generator.worker_micros(weir, comparison.seconds)?;
        ratios.push(busy / f64::midpoint(before, after));
        busy_times.push(busy);
    }
    let seconds = comparison.seconds * comparison.rounds as f64;
    say(&format!(
        "{GROUPS} groups of {TARGETS}, {:.0} changes a second: {:.2} µs of the worker per request, {:.3} times that of quiet",
        changes.load(Relaxed) as f64 / seconds,
        median(busy_times.into_iter()),
        median(ratios.into_iter()),
    ));
    Ok(())
}

/// Does something while targets change.
fn while_changing<T>(
    targets: &Targets<'_>,
    pause: Duration,
    changes: &AtomicU64,
    does: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                targets.write(changes.fetch_add(1, Relaxed) as usize + 1)?;
                std::thread::sleep(pause);
            }
            anyhow::Ok(())
        });
        let done = does();
        is_over.store(true, Relaxed);
        writer.join().ok().context("the writer ends in order")??;
        done
    })
}

/// The file that weir follows.
struct Targets<'a> {
    folder: &'a Path,
}

impl Targets<'_> {
    /// Writes all targets, `change` of which have been replaced one after another.
    fn write(&self, change: usize) -> anyhow::Result<()> {
        let mut text = String::from("[");
        for at in 0..GROUPS * TARGETS {
            // A prime step visits groups in no particular order.
            let rounds = GROUPS * TARGETS;
            let turn = (at * 7_919) % rounds;
            let replaced = (change + rounds - 1 - turn) / rounds;
            let (group, comma) = (at / TARGETS, if at == 0 { "" } else { "," });
            write!(
                text,
                "{comma}{{\"targets\":[\"127.1.{}.{}:9\"],\"labels\":{{\"service\":\"s{group}\",\"id\":\"{at}-{replaced}\"}}}}",
                at / 250,
                at % 250 + 1
            )?;
        }
        text.push(']');
        let new = self.folder.join("targets.new");
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, self.folder.join("targets.json"))?)
    }
}

/// The groups that change, to be added to the one that serves. Nobody sends to them, so they are not probed.
fn configuration() -> More {
    let mut groups = String::new();
    groups.extend((0..GROUPS).map(|group| {
        format!("  - {{ name: g{group}, deregistration_delay: 0s, targets: [{{ file: {{ service: s{group} }} }}] }}\n")
    }));
    let top = "discovery: { confirm_removals: 0s, file: { path: targets.json } }\n".to_owned();
    More { top, groups, ..More::default() }
}

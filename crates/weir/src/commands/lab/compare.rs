//! `weir lab simulate` and `weir lab compare`: algorithms over a scenario, simulated, and live through a weir of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use weir_lab::arrivals;
use weir_lab::compare::{Case, Results, Series, rankings, simulate_all};
use weir_lab::live::{self, LiveError};
use weir_lab::report;
use weir_lab::run::Run;
use weir_lab::scenario::{self, Demand, Experiment, Policy};

use super::containers::Containers;
use super::interrupt::Interrupt;
use super::live::{Kind, OwnWeir};
use super::progress::Progress;
use super::table;
use crate::commands::run::raise_descriptor_limit;
use crate::output::{complain, say};

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The scenario file; there are some in `config/lab`, each of which says what it shows.
    scenario: PathBuf,
    /// Who is compared, in place of those that the file names.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    algorithms: Vec<String>,
    /// Parts of the servers' capacity that are asked for, in place of what the file says.
    #[arg(long, value_name = "LOADS", value_delimiter = ',')]
    loads: Vec<f64>,
    /// How many seeds, in place of what the file says.
    #[arg(long)]
    seeds: Option<u32>,
    /// The first seed, in place of what the file says.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the variants with this in their name.
    #[arg(long, value_name = "TEXT")]
    variant: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is compared, and where that is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Comparison {
    #[command(flatten)]
    options: Options,
    /// Run it live as well: through a weir of this process, in real time.
    #[arg(long)]
    live: bool,
    /// Where the servers of live runs live.
    #[arg(long, value_enum, value_name = "WHERE", default_value = "threads", requires = "live")]
    targets: Kind,
    /// The folder that the report is written to: an HTML file, with the figures as JSON and CSV beside it.
    #[arg(long, value_name = "FOLDER", default_value = "lab-report")]
    out: PathBuf,
}

/// Simulates a scenario, and prints what came of it.
pub(crate) fn simulate(options: &Options) -> anyhow::Result<ExitCode> {
    let mut results = prepare(options)?;
    run_simulated(&mut results);
    say(&table::of(&results, options.json));
    Ok(ExitCode::SUCCESS)
}

/// Compares algorithms, and writes a report. Exit status 1 when a live run may not be believed.
pub(crate) fn compare(comparison: &Comparison) -> anyhow::Result<ExitCode> {
    let mut results = prepare(&comparison.options)?;
    if comparison.live {
        raise_descriptor_limit();
        for case in &results.cases {
            live::check(&case.scenario).with_context(|| case.scenario.name.clone())?;
        }
        if comparison.targets == Kind::Containers {
            Containers::check(&results.cases)?;
        }
    }
    // Before anything runs for minutes.
    let unwritable = || format!("--out: cannot write to {}", comparison.out.display());
    std::fs::create_dir_all(&comparison.out).with_context(unwritable)?;
    run_simulated(&mut results);
    let ended = if comparison.live { run_live(&mut results, comparison)? } else { Ended::ByItself };
    say(&table::of(&results, comparison.options.json));
    let written =
        report::write(&results, &super::header::here(), &comparison.out).with_context(unwritable)?;
    complain(&format!("the report: {}", written.html.display()));
    let runs = results.cases.iter().flat_map(|case| &case.live).flat_map(|series| &series.runs);
    let is_valid = runs.into_iter().all(Run::is_valid);
    if !is_valid {
        complain(
            "a live run is invalid: figures say more of this machine, which was busy, than of the algorithms",
        );
    }
    match ended {
        Ended::ByItself => Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(1) }),
        Ended::Failed(error) => Err(error),
        Ended::Interrupted(exit) => Ok(exit),
    }
}

/// How live runs ended. The report has what was over before.
enum Ended {
    ByItself,
    /// One could not be run.
    Failed(anyhow::Error),
    /// By a signal: what to exit with then.
    Interrupted(ExitCode),
}

/// Reads the scenario, as the options would have it.
fn prepare(options: &Options) -> anyhow::Result<Results> {
    let experiment = read(&options.scenario)?;
    let policies =
        options.algorithms.iter().map(|name| policy(name)).collect::<anyhow::Result<Vec<Policy>>>()?;
    let is_twice = |at: usize| policies[..at].contains(&policies[at]);
    anyhow::ensure!(!(0..policies.len()).any(is_twice), "--algorithms: one is named twice");
    let mut variants = experiment.variants;
    if let Some(text) = &options.variant {
        let names: Vec<String> = variants.iter().map(|variant| variant.name.clone()).collect();
        variants.retain(|variant| variant.name.contains(text.as_str()));
        anyhow::ensure!(!variants.is_empty(), "--variant: {text:?} is in none of {}", names.join(", "));
    }
    for scenario in &mut variants {
        if !policies.is_empty() {
            scenario.policies.clone_from(&policies);
        }
        let keyed = scenario.policies.iter().find(|policy| policy.needs_keys() && scenario.keys.is_none());
        if let Some(policy) = keyed {
            anyhow::bail!(
                "--algorithms: {} picks by the key of a request, and those of {} have none; leave it out, or write \
                 `keys: {{ count: 100000, exponent: 1 }}` in the scenario",
                policy.name(),
                scenario.name
            );
        }
        if !options.loads.is_empty() {
            let is_load = |load: &f64| load.is_finite() && *load > 0.0 && *load <= 10.0;
            anyhow::ensure!(
                options.loads.iter().all(is_load),
                "--loads: a load is a part of the capacity, like 0.7, above 0 and at most 10"
            );
            anyhow::ensure!(
                scenario.capacity().is_finite(),
                "--loads: servers of {} are never busy, and have no capacity to be a part of",
                scenario.name
            );
            let is_rated = matches!(&scenario.demand, Demand::Open { process, .. } if !matches!(process, arrivals::Process::Trace(_)));
            anyhow::ensure!(
                is_rated,
                "--loads: requests of {} come when its users or its trace say",
                scenario.name
            );
            scenario.loads.clone_from(&options.loads);
        }
        if let Some(seeds) = options.seeds {
            anyhow::ensure!((1..=1_000).contains(&seeds), "--seeds: 1 to 1000");
            scenario.seeds = seeds;
        }
        scenario.seed = options.seed.unwrap_or(scenario.seed);
    }
    Ok(Results { name: experiment.name, about: experiment.about, cases: Case::all(&variants) })
}

pub(super) fn read(path: &Path) -> anyhow::Result<Experiment> {
    let experiment = scenario::load(path).map_err(|error| anyhow::anyhow!("{error}"))?;
    for warning in &experiment.warnings {
        complain(&warning.to_string());
    }
    Ok(experiment)
}

/// The algorithm of that name.
pub(super) fn policy(name: &str) -> anyhow::Result<Policy> {
    let found = Policy::ALL.iter().copied().find(|policy| policy.name() == name);
    let names = || Policy::ALL.iter().map(|policy| policy.name()).collect::<Vec<_>>().join(", ");
    found.with_context(|| format!("--algorithms: {name:?} is none of {}", names()))
}

fn run_simulated(results: &mut Results) {
    let runs: f64 =
        results.cases.iter().map(|case| f64::from(case.scenario.seeds) * case.simulated.len() as f64).sum();
    let progress = Progress::of(runs);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    simulate_all(&mut results.cases, threads, &|all| progress.add(1.0, &format!("of {all} simulated runs")));
}

/// Runs every case live, seed by seed, until all are run, one cannot be, or a signal comes.
fn run_live(results: &mut Results, comparison: &Comparison) -> anyhow::Result<Ended> {
    let interrupt = Interrupt::hear()?;
    let containers = match comparison.targets {
        Kind::Threads => None,
        Kind::Containers => Some(Containers::prepare(&comparison.options.scenario)?),
    };
    let front = OwnWeir { containers, stop: interrupt.stop().clone() };
    let all: u32 = results.cases.iter().map(|case| case.scenario.seeds).sum();
    let of_case = |case: &Case| u64::from(case.scenario.seeds) * case.scenario.duration;
    let seconds = Duration::from_nanos(results.cases.iter().map(of_case).sum()).as_secs();
    let long = humantime::format_duration(Duration::from_secs(seconds.max(1)));
    let runs = if all == 1 { "1 run takes".to_owned() } else { format!("{all} runs take") };
    complain(&format!("live: {runs} {long} and a little more"));
    let (progress, mut done, mut failed) = (Progress::of(f64::from(all)), 0, None);
    for case in &mut results.cases {
        let nothing = |policy: &Policy| Series { policy: *policy, runs: Vec::new() };
        let mut live: Vec<Series> = case.scenario.policies.iter().map(nothing).collect();
        for seed in case.seeds() {
            match live::run(&case.scenario, seed, &front, interrupt.stop()) {
                Ok(runs) => live.iter_mut().zip(runs).for_each(|(series, run)| series.runs.push(run)),
                Err(LiveError::Interrupted) => break,
                Err(error) => {
                    let run = format!("{}, seed {seed}", case.scenario.name);
                    failed = Some(anyhow::Error::new(error).context(run));
                    break;
                }
            }
            done += 1;
            let seconds = Duration::from_nanos(case.scenario.duration).as_secs();
            progress.add(1.0, &format!("of {all} live runs of {seconds} s, {}", case.scenario.name));
        }
        // Where nothing was run to its end, nothing was live.
        live.retain(|series| !series.runs.is_empty());
        case.live = live;
        if failed.is_some() {
            break;
        }
    }
    drop(progress);
    let were_over = format!("{done} of {all} live runs were over, and are what the report has");
    match (failed, interrupt.exit().filter(|_| done < all)) {
        (Some(error), _) if done == 0 => Err(error),
        (Some(error), _) => Ok(Ended::Failed(error.context(were_over))),
        (None, Some(exit)) => {
            complain(&format!("interrupted: {were_over}"));
            Ok(Ended::Interrupted(exit))
        }
        (None, None) => Ok(Ended::ByItself),
    }
}

/// Pairs that are apart in the simulation, and how many of them rank the same live.
pub(super) fn agreement(case: &Case) -> Option<(usize, usize)> {
    let pairs = (!case.live.is_empty()).then(|| rankings(case, |run| run.quantile(0.99)))?;
    Some((pairs.iter().filter(|(_, _, agrees)| *agrees).count(), pairs.len()))
}

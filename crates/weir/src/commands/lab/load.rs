//! `weir lab load`: an open loop against a server.

mod options;
mod report;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::Duration;

use anyhow::Context;
use weir_lab::arrivals::{Arrivals, Rate};
use weir_lab::load::{self, LoadError, Onlookers, Outcome, Plan, Planned, Protocol, Record, Watch};

pub(crate) use options::Options;
use options::Schedule;

use super::interrupt::Interrupt;
use crate::commands::run::raise_descriptor_limit;
use crate::output::say;

/// Blocks of records that wait to be written at a time; arbitrary.
const RECORD_BLOCKS: usize = 64;

/// How often progress is shown, and how long a load has to be for it.
const PROGRESS: Duration = Duration::from_millis(500);
const PROGRESS_FROM: Duration = Duration::from_secs(2);

/// Longest wait for a first connection, which only finds out whether anybody is there.
const KNOCK: Duration = Duration::from_secs(1);

/// Loads it; exit status 1 when the figures may not be believed.
pub(crate) fn load(options: &Options) -> anyhow::Result<ExitCode> {
    let (plan, schedule) = (options.plan()?, options.schedule()?);
    raise_descriptor_limit();
    let (sender, writer) = match &options.record {
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("--record: cannot write {}", path.display()))?;
            let (sender, receiver) = sync_channel(RECORD_BLOCKS);
            (Some(sender), Some(std::thread::spawn(move || write_records(file, &receiver))))
        }
        None => (None, None),
    };
    let watch = Arc::new(Watch::default());
    let interrupt = Interrupt::hear()?;
    let onlookers =
        Onlookers { watch: Some(Arc::clone(&watch)), recorder: sender, stop: Some(interrupt.stop().clone()) };
    let (stop, stopped) = channel();
    let is_shown = std::io::stderr().is_terminal() && schedule.duration() >= PROGRESS_FROM;
    let duration = schedule.duration();
    let progress = is_shown.then(|| std::thread::spawn(move || show_progress(&watch, duration, &stopped)));
    let outcome = run(&plan, &schedule, options.seed, &onlookers);
    drop((stop, onlookers));
    if let Some(progress) = progress {
        let _ = progress.join();
    }
    if let Some(writer) = writer {
        let written = writer.join().ok().context("--record: the writer failed")?;
        written.context("--record: cannot write all")?;
    }
    let outcome = outcome?;
    let text = if options.json {
        report::json(options, &plan, &schedule, &outcome)
    } else {
        report::table(options, &plan, &schedule, &outcome)
    };
    say(&text);
    let verdict = if outcome.is_valid() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    Ok(interrupt.exit().filter(|_| outcome.is_interrupted).unwrap_or(verdict))
}

fn run(plan: &Plan, schedule: &Schedule, seed: u64, onlookers: &Onlookers) -> anyhow::Result<Outcome> {
    match schedule {
        Schedule::Closed(duration) => {
            knock(plan)?;
            Ok(load::saturate(plan, *duration, onlookers)?)
        }
        Schedule::Open { process, rate, duration } => {
            knock(plan)?;
            let end = duration.as_nanos() as u64;
            let arrivals = Arrivals::new(process.clone(), Rate::constant(*rate), seed);
            let requests = arrivals.map(|at| Planned { at, ..Planned::default() });
            Ok(load::run(plan, &requests.take_while(move |planned| planned.at < end), onlookers)?)
        }
    }
}

/// Finds out whether anybody is there, before a whole load is refused.
fn knock(plan: &Plan) -> anyhow::Result<()> {
    let addr = plan.target.addr;
    load::check(plan).map_err(named)?;
    if plan.target.protocol != Protocol::Udp {
        let knocked = TcpStream::connect_timeout(&addr, KNOCK);
        knocked.with_context(|| {
            format!("nobody takes a connection at {addr}, where a server should be running")
        })?;
    }
    Ok(())
}

/// A complaint about a plan, with the option that it is about.
fn named(error: LoadError) -> anyhow::Error {
    let option = match error {
        LoadError::Connections => "--connections",
        LoadError::Header(_) => "--header",
        LoadError::NotAllowed(_) | LoadError::RequestBytes => "URL",
        LoadError::Spin => "--spin",
        LoadError::Streams => "--streams",
        LoadError::Threads => "--threads",
        LoadError::Time => "--timeout",
        LoadError::Io(_) => return error.into(),
    };
    anyhow::Error::new(error).context(option)
}

/// Writes requests as they end, for whoever wants to rebuild figures.
fn write_records(file: File, blocks: &Receiver<Vec<Record>>) -> std::io::Result<()> {
    let mut file = BufWriter::new(file);
    writeln!(file, "intended_ns,sent_ns,done_ns,ending,target")?;
    for record in blocks.iter().flatten() {
        let sent = record.sent.map(|sent| sent.to_string()).unwrap_or_default();
        let target = record.target.as_deref().unwrap_or_default();
        let (intended, done, ending) = (record.intended, record.done, record.ending.text());
        writeln!(file, "{intended},{sent},{done},{ending},{}", quoted(target))?;
    }
    file.flush()
}

/// A field of CSV. Source: RFC 4180.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// One line that is written anew until the load is over.
fn show_progress(watch: &Watch, duration: Duration, stopped: &Receiver<()>) {
    let mut shown = Duration::ZERO;
    let mut error = std::io::stderr().lock();
    while stopped.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
        shown += PROGRESS;
        let (answered, failed, waiting) =
            (watch.answered.load(Relaxed), watch.failed.load(Relaxed), watch.waiting());
        let (at, all) = (shown.as_secs_f64(), duration.as_secs_f64());
        let line = format!("{at:.1} of {all:.1} s: {answered} answered, {failed} failed, {waiting} waiting");
        let _ = write!(error, "\r{line:<78}");
        let _ = error.flush();
    }
    let _ = write!(error, "\r{:<78}\r", "");
    let _ = error.flush();
}

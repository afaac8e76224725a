//! What `weir lab load` is told.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use weir_lab::arrivals::{Mmpp, Process};
use weir_lab::load::{Endpoint, Plan, Protocol};

/// Highest rate, in requests per second: arbitrary, beyond any one machine.
const RATE_MAX: f64 = 10_000_000.0;

/// Longest load; a longer one is a service and wants another tool.
const DURATION_MAX: Duration = Duration::from_secs(60 * 60);

/// Most moments of a trace.
const TRACE_MAX: usize = 10_000_000;

/// What to load, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The server: http:// (HTTP/1.1), h2c:// (HTTP/2), tcp:// (connects, sends, waits for the echo, closes) or udp:// (a
    /// datagram and its echo).
    pub(super) url: String,
    /// Requests per second, like `2000/s`.
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
    /// How requests follow one another: constant, poisson, mmpp:RATIO,HIGH,LOW (a Poisson process that is RATIO times as
    /// fast for HIGH seconds in the mean as for the LOW seconds after), or trace:FILE (a moment in each line, in seconds).
    #[arg(long, value_name = "PROCESS", default_value = "poisson")]
    pub(super) arrivals: String,
    /// How long requests are sent, like `30s`. A trace ends by itself too.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s")]
    pub(super) duration: Duration,
    /// Connections that are open from the start on.
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub(super) connections: usize,
    /// Connections that may be open at a time when all others are taken; 1024 unless --connections is more.
    #[arg(long, value_name = "COUNT")]
    pub(super) connections_max: Option<usize>,
    /// Requests at a time on each connection of HTTP/2.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(super) streams: usize,
    /// How long an answer is waited for.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s")]
    pub(super) timeout: Duration,
    /// Threads of the generator.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(super) threads: usize,
    /// How long before a request is due the generator stays awake for it, like `100us`: it sends more punctually, and takes more
    /// processor time.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "0s")]
    pub(super) spin: Duration,
    /// What random arrivals follow from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) seed: u64,
    /// Send as fast as answers come over --connections, on no schedule: for comparison with closed-loop generators.
    #[arg(long, conflicts_with = "rate")]
    pub(super) saturate: bool,
    /// Speak HTTP/2 to an http:// URL.
    #[arg(long)]
    pub(super) http2: bool,
    /// A header field that every request has, like `X-Env: blue`.
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(super) headers: Vec<String>,
    /// An address beside loopback's that may be loaded, since it is yours to load.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow: Vec<IpAddr>,
    /// Write every request here, as CSV: when it was due, sent and done in nanoseconds from the start, how it ended, and the
    /// target that `x-lab-target` named.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Print JSON, with whole histograms.
    #[arg(long)]
    pub(super) json: bool,
}

/// When requests come.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    /// Each when the one before is answered.
    Closed(Duration),
    /// At moments that are known beforehand.
    Open {
        process: Process,
        /// Per second; of a trace, its mean.
        rate: f64,
        duration: Duration,
    },
}

impl Schedule {
    /// How long requests are sent.
    pub(super) fn duration(&self) -> Duration {
        match self {
            Self::Closed(duration) | Self::Open { duration, .. } => *duration,
        }
    }
}

impl Options {
    /// What is loaded, and with what.
    pub(super) fn plan(&self) -> anyhow::Result<Plan> {
        let mut target = Endpoint::parse(&self.url).with_context(|| format!("URL {:?}", self.url))?;
        if self.http2 {
            let is_http = matches!(target.protocol, Protocol::Http1 | Protocol::Http2);
            ensure!(is_http, "--http2 goes with http:// only; leave it out");
            target.protocol = Protocol::Http2;
        }
        let connections_max = self.connections_max.unwrap_or(1024.max(self.connections));
        ensure!(
            self.connections_max.is_none_or(|most| most >= self.connections),
            "--connections-max {connections_max} is less than --connections {}; raise it, or lower the other",
            self.connections
        );
        ensure!(!self.timeout.is_zero(), "--timeout 0s gives no answer a chance; give it a time like 10s");
        let headers = self.headers.iter().map(|field| header(field)).collect::<anyhow::Result<_>>()?;
        Ok(Plan {
            connections: self.connections,
            connections_max,
            streams: self.streams,
            timeout: self.timeout,
            threads: self.threads,
            spin: self.spin,
            headers,
            allowed: self.allow.clone(),
            ..Plan::new(target)
        })
    }

    /// When requests come.
    pub(super) fn schedule(&self) -> anyhow::Result<Schedule> {
        ensure!(
            !self.duration.is_zero() && self.duration <= DURATION_MAX,
            "--duration has to be longer than nothing and at most {}; give it a time like 30s",
            humantime::format_duration(DURATION_MAX)
        );
        if self.saturate {
            return Ok(Schedule::Closed(self.duration));
        }
        let process = process(&self.arrivals)?;
        if let Process::Trace(moments) = &process {
            ensure!(
                self.rate.is_none(),
                "--rate does not go with --arrivals trace:…, which has a rate of its own; leave it out"
            );
            let last = moments.last().copied().unwrap_or_default();
            // A nanosecond more, so that the last one is sent too.
            let duration = Duration::from_nanos(last + 1).min(self.duration);
            let end = duration.as_nanos() as u64;
            let count = moments.partition_point(|at| *at < end);
            ensure!(
                count > 0,
                "--arrivals: the first moment of the trace is later than --duration {}; raise that",
                humantime::format_duration(self.duration)
            );
            let rate = count as f64 / duration.as_secs_f64();
            return Ok(Schedule::Open { process, rate, duration });
        }
        let rate = self.rate.as_deref().context(
            "--rate is missing; say how many requests shall come, like --rate 2000/s, or --saturate to send as fast as \
             answers come",
        )?;
        Ok(Schedule::Open { process, rate: parse_rate(rate)?, duration: self.duration })
    }
}

/// A length of time. Source: as in configurations, a number alone is none.
fn time(text: &str) -> anyhow::Result<Duration> {
    let example = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() { text } else { "5" };
    let remedy = || {
        format!(
            "it is no length of time; write a number and its unit, like {example}s, {example}ms or {example}m"
        )
    };
    humantime::parse_duration(text).ok().with_context(remedy)
}

fn header(field: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = field
        .split_once(':')
        .with_context(|| format!("--header {field:?} has no colon; write it like \"X-Env: blue\""))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Requests per second.
fn parse_rate(text: &str) -> anyhow::Result<f64> {
    let (number, seconds) = match text.split_once('/') {
        None | Some((_, "s")) => (text.split('/').next().unwrap_or_default(), 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some((_, unit)) => bail!("--rate {text:?} is per {unit:?}; write it like 2000/s, 90/m or 10/h"),
    };
    let rate: f64 = number
        .parse()
        .ok()
        .with_context(|| format!("--rate {text:?} is no number of requests; write it like 2000/s"))?;
    ensure!(
        rate.is_finite() && rate > 0.0 && rate / seconds <= RATE_MAX,
        "--rate {text:?} has to be more than 0/s and at most {RATE_MAX}/s"
    );
    Ok(rate / seconds)
}

fn process(text: &str) -> anyhow::Result<Process> {
    match text.split_once(':') {
        None if text == "constant" => Ok(Process::Constant),
        None if text == "poisson" => Ok(Process::Poisson),
        Some(("mmpp", numbers)) => mmpp(numbers),
        Some(("trace", path)) => trace(Path::new(path)),
        _ => bail!("--arrivals {text:?} is none of constant, poisson, mmpp:RATIO,HIGH,LOW and trace:FILE"),
    }
}

fn mmpp(numbers: &str) -> anyhow::Result<Process> {
    let parsed: Result<Vec<f64>, _> = numbers.split(',').map(|number| number.trim().parse()).collect();
    let Ok([ratio, high, low]) = parsed.as_deref() else {
        bail!("--arrivals mmpp:{numbers} has to be three numbers, like mmpp:10,0.1,0.4");
    };
    let is_time = |seconds: f64| (0.001..=3600.0).contains(&seconds);
    ensure!(
        ratio.is_finite() && *ratio > 1.0 && *ratio <= 1e6,
        "--arrivals mmpp: the ratio has to be more than 1 and at most 1000000, not {ratio}"
    );
    ensure!(
        is_time(*high) && is_time(*low),
        "--arrivals mmpp: both times have to be 0.001 to 3600 seconds, not {high} and {low}"
    );
    Ok(Process::Mmpp(Mmpp { ratio: *ratio, high: *high, low: *low }))
}

/// Moments of a file, a line each in seconds from the start; empty lines and what follows a `#` are left out.
fn trace(path: &Path) -> anyhow::Result<Process> {
    let name = || format!("--arrivals trace:{}", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read it", name()))?;
    let mut moments: Vec<u64> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let seconds: f64 = text.parse().ok().with_context(|| {
            format!("{}: line {line} is {text:?}, not a moment in seconds like 0.25", name())
        })?;
        ensure!(
            (0.0..=DURATION_MAX.as_secs_f64()).contains(&seconds),
            "{}: line {line} is {text}, and has to be 0 to {} seconds",
            name(),
            DURATION_MAX.as_secs()
        );
        let at = (seconds * 1e9).round() as u64;
        ensure!(
            moments.last().is_none_or(|last| *last <= at),
            "{}: line {line} is earlier than the one before; sort it, as with `sort -g`",
            name()
        );
        ensure!(moments.len() < TRACE_MAX, "{}: more than {TRACE_MAX} moments; split it", name());
        moments.push(at);
    }
    ensure!(
        !moments.is_empty(),
        "{}: no moment is in it; write one in each line, in seconds from the start",
        name()
    );
    Ok(Process::Trace(Arc::from(moments)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_arrivals_that_are_none_say_what_to_write() {
        for (text, rate) in [("2000/s", 2000.0), ("0.5", 0.5), ("90/m", 1.5), ("36/h", 0.01)] {
            assert_eq!(parse_rate(text).unwrap().to_bits(), f64::to_bits(rate), "{text}");
        }
        for text in ["0", "0/s", "-1/s", "NaN", "inf/s", "", "many/s", "5/day", "1e9/s", "/s"] {
            let said = parse_rate(text).unwrap_err().to_string();
            assert!(said.starts_with("--rate") && said.contains("/s"), "{text}: {said}");
        }
        for text in [
            "",
            "uniform",
            "mmpp:",
            "mmpp:1,2,3",
            "mmpp:10,0,1",
            "mmpp:NaN,1,1",
            "mmpp:2,1",
            "trace:/nowhere",
        ] {
            let said = process(text).unwrap_err().to_string();
            assert!(said.starts_with("--arrivals"), "{text}: {said}");
        }
        let mmpp = Process::Mmpp(Mmpp { ratio: 10.0, high: 0.1, low: 0.4 });
        assert_eq!(process("mmpp:10,0.1,0.4").unwrap(), mmpp);
    }
}

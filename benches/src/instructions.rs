//! What weir spends on a request, in figures that repeat, for continuous integration to hold: user instructions counted by
//! valgrind, and system calls counted by strace.
//!
//! weir runs twice under each, with a few requests and with many; the difference is what the requests cost, without what
//! weir does once. The kernel's share is not in the instructions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use anyhow::Context;

use crate::client::Client;
use crate::peers::{Bench, More};
use crate::proxy::Traced;
use crate::scenario::Scenario;
use crate::{Comparison, in_folder, progress, rules, say};

/// Most user instructions that a request may cost, by scenario, with weir's default features.
///
/// Source: nginx 1.22 takes 19,070 and HAProxy 2.6 29,456, and for HTTP/2 HAProxy takes 33,500. Somewhat more than was measured: 14,570,
/// 14,990 and 32,830. What weir does by the clock is in it, and varies by some 50.
const INSTRUCTIONS_MAX: [(Scenario, f64); 3] =
    [(Scenario::Http128, 14_800.0), (Scenario::Http4k, 15_200.0), (Scenario::H2, 33_800.0)];

/// Most system calls that a request may cost, by scenario. Two reads and two writes cannot be avoided in HTTP/1.1.
const SYSTEM_CALLS_MAX: [(Scenario, f64); 1] = [(Scenario::Http128, 4.2)];

/// Most user instructions that a request of [`Scenario::Http128`] may cost more at a listener with the larger of these
/// numbers of rules than with the smaller one, where all but one are for paths that begin otherwise.
///
/// Source: what ours is to stay below, about 1 µs; 990 more locations cost nginx 1.22 95 µs, HAProxy 2.6 147 µs.
const RULES: [usize; 2] = [10, 1_000];
const RULES_INSTRUCTIONS_MAX: f64 = 4_000.0;

/// Rounds of requests of the shorter and of the longer run; in each, every connection asks as often as it may at a time.
const ROUNDS: [usize; 2] = [20, 140];

/// How often a request is counted at most while it seems to cost more than it may. What weir does by the clock (looks, ticks,
/// flushes) is in a count, and more of it on a busy machine, where the longer run takes longer: the least count is the nearest.
const COUNTED_MAX: usize = 3;

/// What is counted.
struct Count {
    what: &'static str,
    tracer: &'static [&'static str],
    /// The total, in what the tracer says.
    total: fn(&str) -> Option<u64>,
    decimals: usize,
}

const INSTRUCTIONS: Count = Count {
    what: "user instructions",
    tracer: &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
    total: collected,
    decimals: 0,
};

const SYSTEM_CALLS: Count = Count {
    what: "system calls",
    tracer: &["strace", "--follow-forks", "--summary-only", "--summary-columns=calls,name"],
    total: called,
    decimals: 2,
};

/// Counts every scenario that has a bound, and fails when one is exceeded.
pub(crate) fn hold(comparison: &Comparison) -> anyhow::Result<()> {
    let bounds = INSTRUCTIONS_MAX.iter().map(|bound| (&INSTRUCTIONS, bound));
    let bounds = bounds.chain(SYSTEM_CALLS_MAX.iter().map(|bound| (&SYSTEM_CALLS, bound)));
    let mut exceeded = Vec::new();
    for (count, (scenario, bound)) in bounds {
        let mut counted = f64::INFINITY;
        for _ in 0..COUNTED_MAX {
            counted = counted.min(per_request(comparison, count, *scenario, &More::default())?);
            if counted <= *bound {
                break;
            }
        }
        exceeded.extend(judged(scenario.name(), count, counted, *bound));
    }
    let of_rules =
        |rules| per_request(comparison, &INSTRUCTIONS, Scenario::Http128, &More { rules, ..More::default() });
    let [few, many] = RULES.map(|count| of_rules(rules::written(count)));
    exceeded.extend(judged("990 rules", &INSTRUCTIONS, many? - few?, RULES_INSTRUCTIONS_MAX));
    anyhow::ensure!(
        exceeded.is_empty(),
        "more than benches/src/instructions.rs allows: {}. Find what was added, or say there why it is worth it",
        exceeded.join(", ")
    );
    Ok(())
}

/// Says what was counted; gives its name if it is above its bound.
fn judged(name: &str, count: &Count, counted: f64, bound: f64) -> Option<String> {
    let (is_held, decimals) = (counted <= bound, count.decimals);
    say(&format!(
        "{name:<10} {counted:>9.decimals$} {} a request, at most {bound:.decimals$}{}",
        count.what,
        if is_held { "" } else { ": EXCEEDED" },
    ));
    (!is_held).then(|| format!("{} of {name}", count.what))
}

fn per_request(
    comparison: &Comparison,
    count: &Count,
    scenario: Scenario,
    more: &More,
) -> anyhow::Result<f64> {
    in_folder("instructions", |folder| counted(comparison, count, scenario, more, folder))
}

fn counted(
    comparison: &Comparison,
    count: &Count,
    scenario: Scenario,
    more: &More,
    folder: &Path,
) -> anyhow::Result<f64> {
    let backends = [backend(scenario)?, backend(scenario)?];
    let bench = Bench { scenario, backends: &backends, folder, weir: &comparison.weir };
    let each_round = scenario.connections() * scenario.streams();
    let mut totals = [0; 2];
    for (rounds, total) in ROUNDS.into_iter().zip(&mut totals) {
        progress(&format!("{}: {} of {} requests", scenario.name(), count.what, rounds * each_round));
        let (addr, command) = bench.weir_command(more)?;
        let weir = Traced::start(count.tracer, addr, &command)?;
        ask(addr, scenario, rounds)?;
        let said = weir.finish()?;
        *total = (count.total)(&said).with_context(|| format!("no {} in: {said}", count.what))?;
    }
    Ok((totals[1] - totals[0]) as f64 / ((ROUNDS[1] - ROUNDS[0]) * each_round) as f64)
}

/// A backend, on threads of its own that end with their connections.
fn backend(scenario: Scenario) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, scenario));
        }
    });
    Ok(addr)
}

fn answer(mut stream: TcpStream, scenario: Scenario) {
    let response = scenario.response();
    let mut bytes = vec![0; 16 * 1024];
    let mut come = 0;
    while let Ok(count @ 1..) = stream.read(&mut bytes[come..]) {
        come += count;
        if scenario.is_request(&bytes[..come]) {
            come = 0;
            if stream.write_all(&response).is_err() {
                return;
            }
        }
    }
}

/// Has every connection ask as often as it may at a time, and waits for all answers, so many times.
fn ask(addr: SocketAddr, scenario: Scenario, rounds: usize) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..scenario.connections() {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        clients.push((stream, Client::new(scenario)));
    }
    let (mut bytes, mut out, mut outcomes) = (vec![0; 64 * 1024], Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (stream, client) in &mut clients {
            (0..scenario.streams()).for_each(|_| client.ask(&mut out));
            stream.write_all(&out)?;
            out.clear();
        }
        for (stream, client) in &mut clients {
            while outcomes.len() < scenario.streams() {
                let count = stream.read(&mut bytes)?;
                anyhow::ensure!(count > 0, "weir closed a connection");
                client.hear(&bytes[..count], &mut out, &mut outcomes);
                stream.write_all(&out)?;
                out.clear();
            }
            anyhow::ensure!(outcomes.drain(..).all(|outcome| outcome.is_ok()), "weir did not answer 200");
        }
    }
    Ok(())
}

/// The number after `Collected :` in what callgrind says at its end.
fn collected(report: &str) -> Option<u64> {
    report.split("Collected :").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// The number of the line `total` in what strace says at its end.
fn called(report: &str) -> Option<u64> {
    let total = report.lines().rev().find(|line| line.split_whitespace().last() == Some("total"))?;
    total.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_callgrind_collected_is_the_number_after_the_colon() {
        let report = "==12== Events    : Ir\n==12== Collected : 1234567\n==12==\n";
        assert_eq!(super::collected(report), Some(1_234_567));
        assert_eq!(super::collected("==12== Events    : Ir\n"), None);
    }

    #[test]
    fn what_strace_counted_is_in_the_last_line() {
        let report = "    calls syscall\n--------- ----------------\n      101 recvfrom\n        2 total\n--------- --\n      103 total\n";
        assert_eq!(super::called(report), Some(103));
        assert_eq!(super::called("strace: cannot attach\n"), None);
    }
}

//! User instructions that weir spends on a request, counted by valgrind: a figure that repeats, for continuous
//! integration to hold.
//!
//! weir runs twice under callgrind, with a few requests and with many; the difference is what the requests cost. The
//! kernel's share is not in it, nor is what weir does once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use anyhow::Context;

use crate::load::{http_outcome, http_request, http_response};
use crate::peers::{Bench, Valgrind};
use crate::{Comparison, Scenario, progress, say};

/// Most user instructions that a request may cost, by scenario.
///
/// Source: what was measured when the codec was written, and a tenth more; nginx 1.22 takes 19,070, HAProxy 2.6 29,456.
const BOUNDS: [(Scenario, u64); 2] = [(Scenario::Http128, 11_000), (Scenario::Http4k, 11_500)];

/// Connections, each with one request under way, so that events come in batches as under load.
const CONNECTIONS: usize = 16;

/// Rounds of requests, one on each connection, of the shorter and of the longer run.
const ROUNDS: [usize; 2] = [50, 550];

/// Counts every scenario that has a bound, and fails when one is exceeded.
pub(crate) fn hold(comparison: &Comparison) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("weir-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = BOUNDS.iter().try_for_each(|(scenario, bound)| {
        let counted = count(comparison, *scenario, &folder)?;
        say(&format!("{:<10} {counted:>7} user instructions a request, at most {bound}", scenario.name()));
        anyhow::ensure!(counted <= *bound, "{} takes more than its bound", scenario.name());
        Ok(())
    });
    // What is left in a temporary folder is the system's to tidy.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn count(comparison: &Comparison, scenario: Scenario, folder: &Path) -> anyhow::Result<u64> {
    let (request, response) = (http_request(), http_response(scenario));
    let backends = [backend(request.len(), response.clone())?, backend(request.len(), response.clone())?];
    let bench = Bench { scenario, backends: &backends, folder, weir: &comparison.weir };
    let mut totals = [0; 2];
    for (rounds, total) in ROUNDS.into_iter().zip(&mut totals) {
        progress(&format!("{}: {} requests under valgrind", scenario.name(), rounds * CONNECTIONS));
        let weir = Valgrind::start(&bench)?;
        ask(weir.addr(), rounds, &request, response.len())?;
        *total = weir.finish()?;
    }
    let requests = ((ROUNDS[1] - ROUNDS[0]) * CONNECTIONS) as u64;
    Ok((totals[1] - totals[0]) / requests)
}

/// A backend that answers whatever it is sent, on threads of its own that end with their connections.
fn backend(request_bytes_min: usize, response: Vec<u8>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let response = response.clone();
            thread::spawn(move || answer(stream, request_bytes_min, &response));
        }
    });
    Ok(addr)
}

fn answer(mut stream: TcpStream, request_bytes_min: usize, response: &[u8]) {
    let mut bytes = vec![0; 16 * 1024];
    let mut come = 0;
    while let Ok(count @ 1..) = stream.read(&mut bytes[come..]) {
        come += count;
        // What weir adds makes a request longer, never shorter.
        if come >= request_bytes_min && bytes[..come].ends_with(b"\r\n\r\n") {
            come = 0;
            if stream.write_all(response).is_err() {
                return;
            }
        }
    }
}

/// Sends `rounds` requests on every connection, and waits for all answers of a round before the next.
fn ask(addr: SocketAddr, rounds: usize, request: &[u8], response_bytes: usize) -> anyhow::Result<()> {
    let streams = (0..CONNECTIONS).map(|_| TcpStream::connect(addr)).collect::<Result<Vec<_>, _>>()?;
    for stream in &streams {
        stream.set_nodelay(true)?;
    }
    let mut bytes = vec![0; 16 * 1024];
    for _ in 0..rounds {
        for mut stream in &streams {
            stream.write_all(request)?;
        }
        for mut stream in &streams {
            let mut come = 0;
            let is_right = loop {
                let count = stream.read(&mut bytes[come..])?;
                anyhow::ensure!(count > 0, "weir closed a connection");
                come += count;
                if let Some(is_right) = http_outcome(&bytes[..come], response_bytes) {
                    break is_right;
                }
            };
            anyhow::ensure!(is_right, "weir did not answer 200");
        }
    }
    Ok(())
}

/// The number after `Collected :` in what callgrind says at its end.
pub(crate) fn collected(report: &str) -> anyhow::Result<u64> {
    let after = report.split("Collected :").nth(1).context("callgrind said nothing")?;
    after.split_whitespace().next().context("callgrind counted nothing")?.parse().context("no number")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_callgrind_collected_is_the_number_after_the_colon() {
        let report = "==12== Events    : Ir\n==12== Collected : 1234567\n==12==\n";
        assert_eq!(super::collected(report).unwrap(), 1_234_567);
    }
}

//! Flows of datagrams: a client asks, its backend sends the same back, and as many are under way all the time.
//!
//! Questions stand in lanes. A lane has one datagram under way, which is lost when it has not come back after a while; a
//! lane of busy flows asks in the same flow again, a lane of sparse ones in the next of its flows.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::load::{BACKENDS, Run, WARM_UP, now, quantile};
use crate::say;
use crate::scenario::Scenario;
use crate::sockets::{Epoll, bind_datagrams};

/// Ports that are tried until one is free for both transports.
const ATTEMPTS: usize = 100;

/// After so long a datagram is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);

/// How often lost ones are looked for.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(50);

/// Most datagrams that a backend answers at a time.
const BATCH: usize = 64;

/// Clients and backends on one epoll.
pub(crate) struct Datagrams {
    epoll: Epoll,
    backends: Vec<UdpSocket>,
    /// The same ports over TCP, for whoever checks their health: nothing comes of it.
    healthy: Vec<TcpListener>,
    /// One for each flow. They stay, so that a proxy that is loaded again has the same flows again.
    clients: Vec<UdpSocket>,
    lanes: Vec<Lane>,
    datagram: Vec<u8>,
}

/// One datagram under way at a time.
struct Lane {
    /// The flow that asks.
    flow: usize,
    /// Which of its questions is under way.
    sequence: u32,
    asked: Instant,
}

impl Datagrams {
    pub(crate) fn new(scenario: Scenario) -> anyhow::Result<Self> {
        let epoll = Epoll::new()?;
        let (mut backends, mut healthy) = (Vec::new(), Vec::new());
        for token in 0..BACKENDS {
            let (udp, tcp) = (0..ATTEMPTS).find_map(|_| bind_both()).context("no port is free")?;
            epoll.watch(&udp, token)?;
            backends.push(udp);
            healthy.push(tcp);
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let clients: Vec<UdpSocket> =
            (0..scenario.connections()).map(|_| bind_datagrams(any)).collect::<Result<_, _>>()?;
        for (token, client) in (BACKENDS..).zip(&clients) {
            epoll.watch(client, token)?;
        }
        let lanes = (0..scenario.datagrams_under_way())
            .map(|lane| Lane { flow: lane % clients.len(), sequence: 0, asked: now() })
            .collect();
        Ok(Self { epoll, backends, healthy, clients, lanes, datagram: scenario.request() })
    }

    /// Where the backends are.
    pub(crate) fn backends(&self) -> anyhow::Result<Vec<SocketAddr>> {
        Ok(self.healthy.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
    }

    /// Loads `proxy`; requests are datagrams that it has forwarded, two for each that has come back.
    pub(crate) fn run(&mut self, proxy: SocketAddr, measured: Duration) -> anyhow::Result<Run> {
        self.clients.iter().try_for_each(|client| client.connect(proxy))?;
        (0..self.lanes.len()).for_each(|lane| self.ask(lane));
        let begin = now() + WARM_UP;
        let mut run = Run::default();
        let mut latencies: Vec<u32> = Vec::new();
        let (mut is_measured, mut looked) = (false, now());
        loop {
            let at = now();
            if !is_measured && at >= begin {
                is_measured = true;
                (run, latencies) = (Run::default(), Vec::new());
                say("go");
            }
            if at >= begin + measured {
                break;
            }
            for token in self.epoll.wait(10)? {
                match token.checked_sub(BACKENDS) {
                    None => self.answer(token as usize),
                    Some(flow) => latencies.extend(self.hear(flow as usize)),
                }
            }
            if at > looked + LOOKED_FOR_EVERY {
                looked = at;
                run.errors += self.ask_for_lost(at);
            }
        }
        latencies.sort_unstable();
        Ok(Run {
            requests: 2 * latencies.len() as u64,
            seconds: measured.as_secs_f64(),
            p50_micros: quantile(&latencies, 0.5),
            p99_micros: quantile(&latencies, 0.99),
            ..run
        })
    }

    /// Sends the next question of a lane.
    fn ask(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        lane.sequence = lane.sequence.wrapping_add(1);
        lane.asked = now();
        self.datagram[..4].copy_from_slice(&(number as u32).to_be_bytes());
        self.datagram[4..8].copy_from_slice(&lane.sequence.to_be_bytes());
        // One that cannot be sent is lost like any other.
        let _ = self.clients[lane.flow].send(&self.datagram);
    }

    /// Sends back what has come to a backend.
    fn answer(&mut self, backend: usize) {
        let backend = &self.backends[backend];
        let mut buffer = [0; 2048];
        for _ in 0..BATCH {
            let Ok((count, from)) = backend.recv_from(&mut buffer) else { return };
            let _ = backend.send_to(&buffer[..count], from);
        }
    }

    /// Hears what has come to a client, and has its lane ask again: microseconds that it took, unless it is an old one.
    fn hear(&mut self, flow: usize) -> Option<u32> {
        let mut buffer = [0; 2048];
        let count = self.clients[flow].recv(&mut buffer).ok()?;
        let (number, rest) = buffer[..count].split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<4>()?;
        let number = u32::from_be_bytes(*number) as usize;
        let (lanes, flows) = (self.lanes.len(), self.clients.len());
        let lane = self.lanes.get_mut(number)?;
        if lane.sequence != u32::from_be_bytes(*sequence) || count != self.datagram.len() {
            return None;
        }
        let took = now() - lane.asked;
        lane.flow = next(lane.flow, lanes, flows);
        self.ask(number);
        Some(u32::try_from(took.as_micros()).unwrap_or(u32::MAX))
    }

    /// Asks again in lanes that have waited for too long: how many.
    fn ask_for_lost(&mut self, at: Instant) -> u64 {
        let lost: Vec<usize> =
            (0..self.lanes.len()).filter(|lane| self.lanes[*lane].asked + LOST_AFTER < at).collect();
        for lane in &lost {
            self.ask(*lane);
        }
        lost.len() as u64
    }
}

/// The flow in which a lane asks after `flow`: every lane passes through all those that are its own.
fn next(flow: usize, lanes: usize, flows: usize) -> usize {
    if flow + lanes < flows { flow + lanes } else { flow % lanes % flows }
}

/// A port of both transports.
fn bind_both() -> Option<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
    let udp = bind_datagrams(tcp.local_addr().ok()?).ok()?;
    Some((udp, tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_of_sparse_flows_passes_through_all_of_its_own() {
        let asked: Vec<usize> =
            std::iter::successors(Some(1), |flow| Some(next(*flow, 3, 8))).take(5).collect();
        assert_eq!(asked, [1, 4, 7, 1, 4]);
    }

    #[test]
    fn a_lane_of_busy_flows_stays() {
        for flow in 0..4 {
            assert_eq!(next(flow, 8, 4), flow);
        }
    }
}

//! What the promises stand on: a weir in this process, targets and clients that speak bytes.
//!
//! Everything is on loopback with ports that the kernel chose. Nothing sleeps to let something happen: [`wait_until`]
//! asks until it has, and fails with a sentence when it has not.

#![allow(clippy::panic, reason = "a harness fails the test that it serves")]

pub mod binary;
pub mod canaille;
pub mod capture;
pub mod clean;
pub mod client;
pub mod compose;
pub mod docker;
pub mod example;
pub mod folder;
pub mod frame_target;
pub mod frames;
pub mod grpc;
pub mod http2;
pub mod http2_target;
pub mod https;
pub mod iperf;
pub mod issuer;
pub mod lineage;
pub mod many_targets;
pub mod moto;
pub mod namespaces;
pub mod open_loop;
pub mod own_engine;
pub mod own_swarm;
pub mod postgres;
pub mod program;
pub mod server;
pub mod target;
pub mod tls;
pub mod tunnel;
pub mod two_weirs;
pub mod udp_target;
pub mod weir;
pub mod yaml;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Runtime;

pub use binary::Binary;
pub use canaille::Canaille;
pub use capture::Capture;
pub use client::{Client, Reply, get};
pub use compose::Compose;
pub use docker::Engine;
pub use folder::Folder;
pub use frames::Frames;
pub use http2::Http2Client;
pub use http2_target::Http2Target;
pub use https::Browser;
pub use iperf::Iperf;
pub use issuer::Issuer;
pub use lineage::Lineage;
pub use many_targets::ManyTargets;
pub use moto::Moto;
pub use namespaces::Namespaces;
pub use own_engine::OwnEngine;
pub use own_swarm::OwnSwarm;
pub use postgres::Postgres;
pub use program::program;
pub use target::{FakeTarget, Received};
pub use tunnel::Tunnel;
pub use two_weirs::TwoWeirs;
pub use weir::Weir;

/// Longest time that anything in a test may take. Generous: a busy machine must not fail a promise.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Asks until `holds`, and fails with `what` when it does not in time.
///
/// # Panics
/// After [`DEADLINE`].
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_at_most(DEADLINE, what, holds);
}

/// Asks until `holds`, and fails with `what` when it does not within `longest`.
///
/// # Panics
/// After `longest`.
pub fn wait_at_most(longest: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = tokio::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < longest, "not within {longest:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A loopback port that nobody listens on now.
///
/// # Panics
/// When the kernel has no port left.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A loopback port that nobody has now, of either transport, and that the kernel gives to no client by itself: under a load
/// of many connections, one from [`free_port`] is soon some client's.
///
/// # Panics
/// When there is none left.
pub fn quiet_port() -> u16 {
    /// Below those that Linux gives to clients.
    const FIRST: usize = 12_000;
    const COUNT: usize = 20_000;
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    // Several programs of tests that run at a time begin at other places.
    let place = || std::process::id() as usize * 97 + TRIED.fetch_add(1, Relaxed);
    let mut ports = (0..COUNT).map(|_| (FIRST + place() % COUNT) as u16);
    let is_free =
        |port: &u16| TcpListener::bind(loopback(*port)).is_ok() && UdpSocket::bind(loopback(*port)).is_ok();
    ports.find(is_free).expect("loopback has a free port")
}

/// `127.0.0.1` and a port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Runs what must wait for several things at once.
///
/// # Panics
/// After [`DEADLINE`].
pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        let within = tokio::time::timeout(DEADLINE, future).await;
        within.unwrap_or_else(|_| panic!("not within {DEADLINE:?}"))
    })
}

/// What clients and targets of the harness run on that wait for several things at once.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime can be made")
    })
}

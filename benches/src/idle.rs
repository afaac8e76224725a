//! What a connection costs that waits: resident memory before and after a thousand and three thousand clients that asked
//! once (of plain TCP four thousand and eight thousand), and after all have asked again at the same time.
//!
//! Clients come 64 at a time, so that few connections to targets are opened; all at once open many, and what is left of
//! that is the memory of those, and whatever the allocator does not give back.

use std::time::Duration;

use serde_json::json;

use crate::load::Generator;
use crate::peers::Bench;
use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::sockets::allow_files;
use crate::{Comparison, in_folder, progress, say};

/// Clients at the first reading and at the second.
type Clients = [usize; 2];

const HTTP_CLIENTS: Clients = [1_000, 3_000];
const TCP_CLIENTS: Clients = [4_000, 8_000];

/// Time that a proxy has to put away what it does not need.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads the memory of every proxy, one after the other, with HTTP/1.1 and with plain TCP.
pub(crate) fn compare(comparison: &Comparison) -> anyhow::Result<()> {
    allow_files()?;
    compare_in(comparison, Scenario::Http128, HTTP_CLIENTS)?;
    compare_in(comparison, Scenario::TcpShort, TCP_CLIENTS)
}

fn compare_in(comparison: &Comparison, scenario: Scenario, clients: Clients) -> anyhow::Result<()> {
    in_folder("idle-memory", |folder| {
        let mut generator = Generator::new(scenario)?;
        let backends = generator.backends()?;
        let bench = Bench { scenario, backends: &backends, folder, weir: &comparison.weir };
        let (proxies, missing) = bench.start();
        for problem in &missing {
            say(&format!("left out: {problem}"));
        }
        let mut rows = Vec::new();
        for proxy in proxies {
            progress(&format!("idle-memory: {}", proxy.name));
            rows.push(Row::read(&mut generator, &proxy, clients)?);
        }
        report(scenario, clients, &rows, comparison.json);
        Ok(())
    })
}

/// What one proxy needs, in KiB of resident memory.
struct Row {
    name: String,
    clients: Clients,
    start: u64,
    /// With each number of clients.
    idle: [u64; 2],
    /// Connections to targets then.
    target_side: usize,
    /// After all have asked at the same time.
    after_all: u64,
    target_side_after_all: usize,
}

impl Row {
    fn read(generator: &mut Generator, proxy: &Proxy, clients: Clients) -> anyhow::Result<Self> {
        let before = generator.target_side()?;
        let start = settled(proxy);
        let mut idle = [0; 2];
        let mut gathered = 0;
        for (count, resident) in clients.into_iter().zip(&mut idle) {
            generator.gather(proxy.addr, count - gathered)?;
            gathered = count;
            *resident = settled(proxy);
        }
        let target_side = generator.target_side()? - before;
        generator.ask_all()?;
        let after_all = settled(proxy);
        let target_side_after_all = generator.target_side()? - before;
        generator.leave();
        let name = proxy.name.clone();
        Ok(Self { name, clients, start, idle, target_side, after_all, target_side_after_all })
    }

    /// KiB for each client between the two readings, so that what is allocated once does not count.
    fn per_connection(&self) -> f64 {
        (self.idle[1] as f64 - self.idle[0] as f64) / (self.clients[1] - self.clients[0]) as f64
    }

    fn per_connection_after_all(&self) -> f64 {
        (self.after_all as f64 - self.start as f64) / self.clients[1] as f64
    }
}

fn settled(proxy: &Proxy) -> u64 {
    std::thread::sleep(PAUSE);
    proxy.resident_kib()
}

fn report(scenario: Scenario, clients: Clients, rows: &[Row], as_json: bool) {
    if as_json {
        let rows: Vec<_> = rows.iter().map(row_json).collect();
        say(&json!({ "scenario": "idle-memory", "load": scenario.name(), "rows": rows }).to_string());
        return;
    }
    let protocol = if scenario == Scenario::TcpShort { "TCP" } else { "HTTP/1.1" };
    say(&format!(
        "\nidle-memory: KiB resident, {protocol} clients that have asked once and wait; (n) connections to targets",
    ));
    say(&format!(
        "{:<20} {:>7} {:>8} {:>14}  {:>14}  {:>20}  {:>15}",
        "",
        "start",
        format!("@{}", clients[0]),
        format!("@{}", clients[1]),
        "each from then",
        "after all at once",
        "each from start"
    ));
    for row in rows {
        say(&format!(
            "{:<20} {:>7} {:>8} {:>14}  {:>14.1}  {:>20}  {:>15.1}",
            row.name,
            row.start,
            row.idle[0],
            format!("{} ({})", row.idle[1], row.target_side),
            row.per_connection(),
            format!("{} ({})", row.after_all, row.target_side_after_all),
            row.per_connection_after_all()
        ));
    }
}

fn row_json(row: &Row) -> serde_json::Value {
    json!({
        "name": row.name,
        "start_kib": row.start,
        "idle_kib": row.idle,
        "target_side": row.target_side,
        "kib_per_connection": row.per_connection(),
        "after_all_kib": row.after_all,
        "target_side_after_all": row.target_side_after_all,
        "kib_per_connection_after_all": row.per_connection_after_all(),
    })
}

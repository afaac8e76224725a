//! iperf3, which sends as much as it may and counts what has come.

use std::path::Path;

use serde_json::Value;

use crate::program::Said;
use crate::server::Running;
use crate::{Folder, free_port, program};

/// Attempts to start a server on a free port that somebody else may take first.
const ATTEMPTS: usize = 5;

/// A server of one client at a time, killed when dropped.
#[derive(Debug)]
pub struct Iperf {
    port: u16,
    _running: Running,
    _folder: Folder,
}

impl Iperf {
    /// Starts one on loopback.
    ///
    /// # Panics
    /// When `iperf3` is not installed or does not start.
    pub fn start() -> Self {
        for _ in 0..ATTEMPTS {
            let (port, folder) = (free_port(), Folder::new());
            let log = folder.path().join("log");
            let port_text = port.to_string();
            let arguments =
                ["-s", "-B", "127.0.0.1", "-p", &port_text, "--forceflush"].map(ToOwned::to_owned);
            let mut running =
                Running::start(Path::new("iperf3"), "on Debian: apt-get install iperf3", &arguments, &log);
            // It is not asked by a connection: the first one is that of a client.
            let is_ready = running.is_ready("iperf3 listens", || {
                std::fs::read_to_string(&log).is_ok_and(|said| said.contains("listening on"))
            });
            if is_ready {
                return Self { port, _running: running, _folder: folder };
            }
        }
        panic!("iperf3 does not start on any of {ATTEMPTS} free ports")
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: 127.0.0.1, port: {} }}", self.port)
    }

    /// Runs a client of a port of loopback for a second, and says what it counted at its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn client(port: u16, options: &[&str]) -> Value {
        let port = port.to_string();
        let fixed = ["-c", "127.0.0.1", "-p", &port, "-t", "1", "-J"];
        let Said { status, out, err } = program("iperf3", "iperf3", &[&fixed, options].concat());
        let mut report: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        assert_eq!((status, &report["error"]), (0, &Value::Null), "iperf3 {options:?}");
        report["end"].take()
    }
}

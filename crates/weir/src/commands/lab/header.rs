//! Where results come from: this program, this machine, now.

use std::time::SystemTime;

use weir_lab::report::Header;

/// What a report says of its origin.
pub(super) fn here() -> Header {
    Header {
        version: format!("weir {}", env!("CARGO_PKG_VERSION")),
        cpu: cpu(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        command: command(),
        when: humantime::format_rfc3339_seconds(now()).to_string(),
    }
}

/// The processor's name, as Linux tells it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("an unnamed processor").to_owned()
}

/// As it was written, but for where the program lies.
fn command() -> String {
    let words = std::env::args().skip(1);
    std::iter::once("weir".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

#[allow(clippy::disallowed_methods, reason = "a report bears its date")]
fn now() -> SystemTime {
    SystemTime::now()
}

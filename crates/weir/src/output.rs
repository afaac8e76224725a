//! What people read: standard output for answers, standard error for everything else.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes diagnostics to standard error: `level` and above, or as `WEIR_LOG` says.
pub(crate) fn start_log(format: LogFormat, level: &str) {
    // The crate h2 warns of what any peer may do at will.
    let filter =
        EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(format!("{level},h2=error")));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(has_colour()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Prints an answer. A reader that went away wants no more of them.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a complaint.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

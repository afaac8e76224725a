//! Programs of others that speak to a weir, run to their end.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::wait_at_most;

/// Longest time that a program may take: scanners take theirs on a busy machine.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(240);

/// What a program said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit status; -1 when a signal ended it.
    pub status: i32,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

/// Runs a program to its end.
///
/// # Panics
/// When it is missing, with the package of Debian that has it: a test that silently did nothing would be a lie. When it
/// does not end.
pub fn program(name: &str, package: &str, arguments: &[&str]) -> Said {
    // Debian keeps some where only root looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let spawned = Command::new(name)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child =
        spawned.unwrap_or_else(|error| panic!("{name}: {error}; on Debian: apt-get install {package}"));
    let running = std::thread::spawn(move || child.wait_with_output());
    wait_at_most(PROGRAM_DEADLINE, &format!("{name} {arguments:?} ends"), || running.is_finished());
    let output = running.join().expect("the thread only waits").expect("a child can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

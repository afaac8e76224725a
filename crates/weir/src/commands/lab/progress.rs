//! One line on standard error that is written anew while something takes long; nothing where nobody looks.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

/// Width of the line, in characters.
const WIDTH: usize = 78;

/// Characters of the bar.
const BAR: usize = 24;

/// So much of so much.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    all: f64,
    done: Mutex<f64>,
}

impl Progress {
    /// Nothing of `all` is done.
    pub(crate) fn of(all: f64) -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), all, done: Mutex::new(0.0) }
    }

    /// More is done.
    pub(crate) fn add(&self, part: f64, what: &str) {
        let mut done = self.done.lock().expect("nobody panics while it adds a number");
        *done += part;
        if self.is_shown {
            let share = (*done / self.all).min(1.0);
            let full = (share * BAR as f64) as usize;
            let line =
                format!("{:█<full$}{:░<rest$} {:3.0} % {what}", "", "", share * 100.0, rest = BAR - full);
            let _ = write!(std::io::stderr().lock(), "\r{line:<WIDTH$}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr().lock(), "\r{:<WIDTH$}\r", "");
        }
    }
}

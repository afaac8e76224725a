//! One step: a command that is shown, run, and must succeed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// A step that failed, in words.
pub(crate) struct Failed(pub(crate) String);

/// Runs cargo.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failed> {
    cargo_with(arguments, &[])
}

/// Runs cargo with settings of its environment.
pub(crate) fn cargo_with(arguments: &[&str], settings: &[(&str, &str)]) -> Result<(), Failed> {
    run(&cargo_itself(), arguments, settings)
}

/// Runs cargo and reads along: each line of its standard output is shown as it comes, and told.
pub(crate) fn cargo_read(arguments: &[&str], tell: impl FnMut(&str)) -> Result<(), Failed> {
    let (mut command, shown) = announced(&cargo_itself(), arguments);
    let outcome = command.stdout(Stdio::piped()).spawn().and_then(|mut child| {
        let output = child.stdout.take().expect("standard output is piped");
        copy_lines(BufReader::new(output), std::io::stdout(), tell)?;
        child.wait()
    });
    succeeded(&shown, outcome)
}

/// Shows a command, runs it in the repository's root, and fails with it.
pub(crate) fn run(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Result<(), Failed> {
    let (mut command, shown) = announced(program, arguments);
    succeeded(&shown, command.envs(settings.iter().copied()).status())
}

fn cargo_itself() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// A command of the repository's root that has been shown, and how.
fn announced(program: &Path, arguments: &[&str]) -> (Command, String) {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let shown = format!("{name} {}", arguments.join(" "));
    say(&format!("--- {shown}"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    (command, shown)
}

fn succeeded(shown: &str, outcome: std::io::Result<ExitStatus>) -> Result<(), Failed> {
    match outcome {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{shown} ({status})"))),
        Err(error) => Err(Failed(format!("{shown}: {error}"))),
    }
}

/// Copies lines as they come, and tells each.
fn copy_lines(mut from: impl BufRead, mut to: impl Write, mut tell: impl FnMut(&str)) -> std::io::Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        // Nobody may be looking any more, and the tests go on all the same.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        tell(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

/// Whether a command can be run and succeeds; what it prints is not shown.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// Something that cargo has built.
pub(crate) fn built(path: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(path)
}

/// Tells whoever runs this.
pub(crate) fn say(text: &str) {
    // Nobody may be reading any more, and that is fine.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::copy_lines;

    #[test]
    fn lines_are_shown_unchanged_and_told_one_by_one() {
        let (mut shown, mut told) = (Vec::new(), Vec::new());
        copy_lines(&b"one\n\xfftwo\nthree"[..], &mut shown, |line| told.push(line.to_owned())).unwrap();
        assert_eq!(shown, b"one\n\xfftwo\nthree");
        assert_eq!(told, ["one\n", "\u{fffd}two\n", "three"]);
    }
}

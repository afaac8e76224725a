//! One step: a command that is shown, run, and must succeed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A step that failed, in words.
pub(crate) struct Failed(pub(crate) String);

/// Runs cargo.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Failed> {
    cargo_with(arguments, &[])
}

/// Runs cargo with settings of its environment.
pub(crate) fn cargo_with(arguments: &[&str], settings: &[(&str, &str)]) -> Result<(), Failed> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(Path::new(&cargo), arguments, settings)
}

/// Shows a command, runs it in the repository's root, and fails with it.
pub(crate) fn run(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Result<(), Failed> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let shown = format!("{name} {}", arguments.join(" "));
    say(&format!("--- {shown}"));
    let status =
        Command::new(program).args(arguments).envs(settings.iter().copied()).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed(format!("{shown} ({status})"))),
        Err(error) => Err(Failed(format!("{shown}: {error}"))),
    }
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

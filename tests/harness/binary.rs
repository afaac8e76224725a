//! The `weir` program itself, as it was built beside the tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// A running `weir`, killed when dropped.
#[derive(Debug)]
pub struct Binary(Option<Child>);

impl Binary {
    /// Where it lies: beside the folder of this test's own program, or where `WEIR_BINARY` says.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn path() -> PathBuf {
        if let Some(path) = std::env::var_os("WEIR_BINARY") {
            return path.into();
        }
        let test = std::env::current_exe().expect("a program knows its own place");
        let folder = test.ancestors().nth(2).expect("tests lie in a folder below the programs");
        let path = folder.join("weir");
        assert!(path.exists(), "{} is missing; `cargo xtask test` builds it first", path.display());
        path
    }

    /// The program with these arguments, not yet started.
    pub fn command(arguments: &[&str]) -> Command {
        Self::named(&Self::path(), arguments)
    }

    /// The same by another name, which is a link to it.
    pub fn named(path: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null()).env_remove("WEIR_LOG").env_remove("WEIR_ADMIN");
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(arguments: &[&str]) -> Output {
        Self::command(arguments).output().expect("weir can be started")
    }

    /// Starts a command in the background, its outputs to be read at its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(child.expect("weir can be started")))
    }

    /// Starts a command in the background, with both its outputs into a file, which others may go on writing to.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_into(command: &mut Command, output: &File) -> Self {
        let output = || output.try_clone().expect("there is a descriptor left");
        let child = command.stdout(output()).stderr(output()).spawn();
        Self(Some(child.expect("weir can be started")))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("weir is running");
    }

    /// Its process.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn pid(&self) -> Pid {
        let child = self.0.as_ref().expect("weir has not been waited for");
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an id")
    }

    /// Most bytes of memory that it has had resident at a time.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn peak_bytes(&self) -> usize {
        let id = self.0.as_ref().expect("weir has not been waited for").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("weir is running");
        let peak = status
            .split("VmHWM:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
        peak.expect("the kernel counts pages") * 1024
    }

    /// Ends of pipes that it has open.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn pipe_ends(&self) -> usize {
        let id = self.0.as_ref().expect("weir has not been waited for").id();
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("weir is running");
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
    }

    /// Lets it open nothing more; what is open stays so.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn allow_no_more_files(&self) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        prlimit(Some(self.pid()), Resource::Nofile, none).expect("a limit can be lowered");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When the kernel lost it.
    pub fn wait(mut self) -> Output {
        let child = self.0.take().expect("weir has not been waited for");
        child.wait_with_output().expect("a child can be waited for")
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Gone already is as good.
            let _ = (child.kill(), child.wait());
        }
    }
}

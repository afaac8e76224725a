//! The demo's tasks as containers: an image made of weir's own binary and the libraries it needs, without a registry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// The container port that answers HTTP.
pub(super) const HTTP_PORT: u16 = 8080;

/// The container port that echoes flows.
pub(super) const TCP_PORT: u16 = 9090;

/// Seconds that a container has between its stop signal and its end.
const STOP_SECONDS: u32 = 5;

/// Containers of one demo, removed when it ends.
pub(super) struct Containers {
    /// Keeps two demos apart: part of every container's name and service.
    mark: String,
    image: String,
    running: Vec<String>,
}

impl Containers {
    /// Makes the image.
    pub(super) fn prepare(folder: &Path) -> anyhow::Result<Self> {
        let mark = format!("weir-demo-{}", std::process::id());
        let image = format!("{mark}:task");
        let archive = folder.join("task.tar");
        let root = folder.join("root");
        copy_binary(&root)?;
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
        docker(&["import", &archive.display().to_string(), &image])?;
        Ok(Self { mark, image, running: Vec::new() })
    }

    /// The name that a service has in the engine.
    pub(super) fn service(&self, service: &str) -> String {
        format!("{}-{service}", self.mark)
    }

    /// Starts a task as a container whose ports the engine chooses.
    pub(super) fn run(&mut self, service: &str, name: &str) -> anyhow::Result<()> {
        let (container, label) = (self.container(name), format!("weir.service={}", self.service(service)));
        let (http, tcp) = (format!("127.0.0.1::{HTTP_PORT}"), format!("127.0.0.1::{TCP_PORT}"));
        let (http_addr, tcp_addr) = (format!("0.0.0.0:{HTTP_PORT}"), format!("0.0.0.0:{TCP_PORT}"));
        docker(&[
            "run",
            "-d",
            "--name",
            &container,
            "--label",
            &label,
            "-p",
            &http,
            "-p",
            &tcp,
            &self.image,
            "/weir",
            "task",
            "--service",
            service,
            "--name",
            name,
            "--http",
            &http_addr,
            "--tcp",
            &tcp_addr,
        ])?;
        self.running.push(container);
        Ok(())
    }

    /// Stops a task and removes it. Its stop signal is what tells weir.
    pub(super) fn stop(&self, name: &str) -> anyhow::Result<()> {
        let container = self.container(name);
        docker(&["stop", "-t", &STOP_SECONDS.to_string(), &container])?;
        docker(&["rm", &container])
    }

    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.mark)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for container in &self.running {
            // Most are gone already; those that are not must not outlive the demo.
            let _ = docker(&["rm", "-f", container]);
        }
        let _ = docker(&["rmi", &self.image]);
    }
}

fn docker(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("docker").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{name}`: is it installed? Without it, leave out --docker"))?;
    anyhow::ensure!(output.status.success(), "`{name}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Copies this binary and the libraries that it is linked with into a file system of their own.
fn copy_binary(root: &Path) -> anyhow::Result<()> {
    let binary = std::env::current_exe()?;
    std::fs::create_dir_all(root.join("tmp"))?;
    std::fs::copy(&binary, root.join("weir"))?;
    let listed = Command::new("ldd").arg(&binary).output().context("cannot run `ldd`")?;
    for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
        let place = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(&library, &place).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(())
}

/// The files in the output of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn libraries(listed: &str) -> BTreeSet<PathBuf> {
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_binary_are_read_from_ldd() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux.so.2"].map(PathBuf::from);
        assert_eq!(libraries(listed), BTreeSet::from(expected));
    }
}

//! The demo's tasks as containers.

use std::path::Path;

use anyhow::Context;
use weir::image::{self, docker};

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
        image::import(&std::env::current_exe()?, folder, &image)
            .context("without containers, leave out --docker")?;
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
        docker(&["rm", &container]).map(drop)
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

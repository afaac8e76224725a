//! A real Docker engine, and containers of weir's own binary in it.

use std::net::SocketAddr;
use std::process::Command;

use weir::image::{self, docker};

use crate::{Binary, Folder, wait_until};

/// The container port that answers HTTP.
pub const HTTP_PORT: u16 = 8080;

/// The container port that echoes flows.
pub const TCP_PORT: u16 = 9090;

/// The container port that echoes datagrams, where a task is told to.
pub const UDP_PORT: u16 = 5353;

/// Containers of one test; removed with their image when dropped.
#[derive(Debug)]
pub struct Engine {
    /// Part of every name, so that tests keep out of each other's way.
    mark: String,
    folder: Folder,
}

/// The label of everything that a test has made.
pub(crate) const MARK_LABEL: &str = "weir-test";

/// The file in a container that its health check looks at.
const HEALTH_FILE: &str = "/tmp/health.yaml";

impl Engine {
    /// An engine with an image of weir's own binary; `None` when no engine answers and that is allowed.
    ///
    /// # Panics
    /// When no engine answers and `CI` is set: a test that silently did nothing would be a lie there.
    pub fn find(mark: &str) -> Option<Self> {
        let answers = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
        if !answers.as_ref().is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI is set and no Docker engine answers: {answers:?}");
            return None;
        }
        let mark = format!("weir-test-{mark}-{}", std::process::id());
        let folder = Folder::new();
        image::import(&Binary::path(), folder.path(), &format!("{mark}:task"))
            .expect("an image can be imported");
        Some(Self { mark, folder })
    }

    /// The service of all containers, as weir sees it.
    pub fn service(&self) -> &str {
        &self.mark
    }

    /// A container's name in the engine.
    pub fn name(&self, container: &str) -> String {
        format!("{}-{container}", self.mark)
    }

    /// Runs a task as a container on ports that the engine chooses. It answers `<service> <container> …`.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run(&self, container: &str, options: &[&str], task_options: &[&str]) {
        let label = format!("weir.service={}", self.mark);
        let mut all = vec!["--label", &label, "-p", "127.0.0.1::8080", "-p", "127.0.0.1::9090"];
        all.extend(options);
        self.run_bare(&self.image(), container, &all, task_options);
    }

    /// Runs a task of any image of this engine's as a container, with no label that weir reads and no published port.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run_bare(&self, image: &str, container: &str, options: &[&str], task_options: &[&str]) {
        let name = self.name(container);
        let mark = format!("{MARK_LABEL}={}", self.mark);
        let (http, tcp) = (format!("0.0.0.0:{HTTP_PORT}"), format!("0.0.0.0:{TCP_PORT}"));
        let mut arguments = vec!["run", "-d", "--name", &name, "--label", &mark];
        arguments.extend(options);
        arguments.extend([image, "/weir", "task", "--service", &self.mark, "--name", container]);
        if !task_options.contains(&"--http") {
            arguments.extend(["--http", &http, "--tcp", &tcp]);
        }
        arguments.extend(task_options);
        docker(&arguments).expect("a container can be run");
    }

    /// The image of the task.
    pub fn image(&self) -> String {
        format!("{}:task", self.mark)
    }

    /// A file of this test's own; where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        self.folder.write(name, text)
    }

    /// An image of the task whose health check passes while [`Engine::set_health`] says so, and fails at first.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn image_with_health_check(&self) -> String {
        let image = format!("{}:checked", self.mark);
        let change = format!(
            "HEALTHCHECK --interval=100ms --retries=1 CMD [\"/weir\", \"check\", \"-c\", \"{HEALTH_FILE}\"]"
        );
        let archive = self.folder.path().join("image.tar").display().to_string();
        docker(&["import", "--change", &change, &archive, &image]).expect("an image can be imported");
        image
    }

    /// Makes a network; its name.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn network(&self, network: &str) -> String {
        let name = self.name(network);
        let label = format!("{MARK_LABEL}={}", self.mark);
        docker(&["network", "create", "--label", &label, &name]).expect("a network can be made");
        name
    }

    /// Makes a container's health check pass or fail.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn set_health(&self, container: &str, passes: bool) {
        let text = if passes { "target_groups: []\n" } else { "nonsense\n" };
        let file = self.folder.write("health.yaml", text).display().to_string();
        let place = format!("{}:{HEALTH_FILE}", self.name(container));
        docker(&["cp", &file, &place]).expect("a file can be copied into a container");
    }

    /// Does something with containers: `stop`, `kill`, `restart`, `pause`, `rename`.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn tell(&self, what: &[&str], containers: &[&str]) {
        let names: Vec<String> = containers.iter().map(|container| self.name(container)).collect();
        let mut arguments = what.to_vec();
        arguments.extend(names.iter().map(String::as_str));
        docker(&arguments).unwrap_or_else(|error| panic!("docker {}: {error}", what.join(" ")));
    }

    /// Where a container's port is published for TCP.
    ///
    /// # Panics
    /// When it is not.
    pub fn addr(&self, container: &str, port: u16) -> SocketAddr {
        self.published(container, &format!("{port}/tcp"))
    }

    /// Where a container's port is published that is named like `53/udp`.
    ///
    /// # Panics
    /// When it is not.
    pub fn published(&self, container: &str, port: &str) -> SocketAddr {
        let name = self.name(container);
        let mut addr = None;
        wait_until("the port is published", || {
            addr = docker(&["port", &name, port]).ok().and_then(|text| text.lines().next()?.parse().ok());
            addr.is_some()
        });
        addr.expect("the wait is over")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let filter = format!("label={MARK_LABEL}={}", self.mark);
        if let Ok(ids) = docker(&["ps", "-aq", "--filter", &filter]) {
            for id in ids.split_whitespace() {
                // Gone already is as good.
                let _ = docker(&["rm", "-f", id]);
            }
        }
        if let Ok(ids) = docker(&["network", "ls", "-q", "--filter", &filter]) {
            for id in ids.split_whitespace() {
                let _ = docker(&["network", "rm", id]);
            }
        }
        if let Ok(images) = docker(&["images", "-q", &self.mark]) {
            for image in images.split_whitespace() {
                let _ = docker(&["rmi", image]);
            }
        }
    }
}

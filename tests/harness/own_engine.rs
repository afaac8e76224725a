//! A Docker engine of a test's own, which may be restarted: in namespaces that end with the test.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use weir::image::{self, docker};

use crate::docker::{HTTP_PORT, TCP_PORT};
use crate::{Binary, Folder, Namespaces, loopback, wait_until};

/// The service of all containers.
pub const SERVICE: &str = "own";

/// The image of weir's own binary.
const IMAGE: &str = "task:own";

/// An engine with networks, mounts and processes of its own.
#[derive(Debug)]
pub struct OwnEngine {
    folder: Folder,
    pub(crate) namespaces: Namespaces,
    /// `nsenter`, which ends with the engine.
    engine: Option<Child>,
}

impl OwnEngine {
    /// Runs a test with an engine, not yet started, on a thread that is in the engine's network. Does nothing where no
    /// engine can be run and that is allowed.
    ///
    /// # Panics
    /// When the test does, or when no engine can be run and `CI` is set.
    pub fn with(test: impl FnOnce(&mut Self) + Send) {
        let Some(mut engine) = Self::find("own") else { return };
        let network = engine.namespaces.network();
        Namespaces::run(&network, || test(&mut engine));
    }

    /// An engine on a host of that name, not yet started; `None` where none can be run and that is allowed.
    pub(crate) fn find(host: &str) -> Option<Self> {
        let answers = Command::new("dockerd").arg("--version").stdin(Stdio::null()).output();
        let may = rustix::process::geteuid().is_root() && answers.is_ok_and(|output| output.status.success());
        if !may {
            assert!(std::env::var_os("CI").is_none(), "CI is set, and root with a dockerd is needed");
            return None;
        }
        let folder = Folder::new();
        folder.write("daemon.json", "{}");
        image::archive(&Binary::path(), folder.path()).expect("an image can be made");
        Some(Self { folder, namespaces: Namespaces::new(host), engine: None })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Where it answers, as Docker writes it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Starts it, or starts it again, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&mut self, options: &[&str]) {
        let log = File::create(self.path("dockerd.log")).expect("temporary files can be written");
        let engine = self
            .namespaces
            .inside("dockerd")
            .args(["--config-file", &self.path("daemon.json"), "--pidfile", &self.path("pid")])
            .args([
                "--data-root",
                &self.path("data"),
                "--exec-root",
                &self.path("exec"),
                "-H",
                &self.endpoint(),
            ])
            .arg("--storage-driver=vfs")
            .args(options)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.engine = Some(engine.expect("nsenter can be started"));
        wait_until("the engine answers", || self.docker(&["version"]).is_ok());
    }

    /// Ends it in order, and waits.
    ///
    /// # Panics
    /// When it cannot be told to.
    pub fn stop(&mut self) {
        let pid =
            std::fs::read_to_string(self.path("pid")).expect("a running engine writes its process's id");
        let told = self.namespaces.inside("kill").arg(pid.trim()).status();
        assert!(told.is_ok_and(|status| status.success()), "the engine can be told to end");
        let mut engine = self.engine.take().expect("the engine runs");
        engine.wait().expect("a child can be waited for");
    }

    /// Runs `docker` with it; what it printed.
    ///
    /// # Errors
    /// What it complained of.
    pub fn docker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let endpoint = self.endpoint();
        let mut all = vec!["-H", &endpoint];
        all.extend(arguments);
        docker(&all)
    }

    fn import(&self) {
        if self.docker(&["image", "inspect", IMAGE]).is_err() {
            self.docker(&["import", &self.path("image.tar"), IMAGE]).expect("an image can be imported");
        }
    }

    /// Runs a task as a container on ports that the engine chooses, and starts again whenever it has ended.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run_published(&self, service: &str, container: &str, task_options: &[&str]) {
        self.import();
        let label = format!("weir.service={service}");
        let mut arguments = vec!["run", "-d", "--name", container, "--label", &label, "--restart", "always"];
        let publish = [HTTP_PORT, TCP_PORT].map(|port| format!("127.0.0.1::{port}"));
        arguments.extend(publish.iter().flat_map(|publish| ["-p", publish]));
        let (http, tcp) = (format!("0.0.0.0:{HTTP_PORT}"), format!("0.0.0.0:{TCP_PORT}"));
        arguments.extend([IMAGE, "/weir", "task", "--service", service, "--name", container]);
        arguments.extend(["--http", &http, "--tcp", &tcp]);
        arguments.extend(task_options);
        self.docker(&arguments).expect("a container can be run");
    }

    /// Runs a task as a container in the engine's network, and starts it again whenever it has ended; where it answers.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn run(&self, container: &str, port: u16) -> SocketAddr {
        self.import();
        let (addr, exposed) = (loopback(port), port.to_string());
        let (http, label) = (addr.to_string(), format!("weir.service={SERVICE}"));
        let mut arguments = vec!["run", "-d", "--name", container, "--label", &label, "--restart", "always"];
        arguments.extend(["--network", "host", "--expose", &exposed, IMAGE]);
        arguments.extend(["/weir", "task", "--service", SERVICE, "--name", container]);
        arguments.extend(["--http", &http, "--tcp", "127.0.0.1:0"]);
        self.docker(&arguments).expect("a container can be run");
        addr
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            // An engine that removes its containers leaves nothing of them in the kernel, either.
            if let Ok(ids) = self.docker(&["ps", "-aq"]) {
                for id in ids.split_whitespace() {
                    let _ = self.docker(&["rm", "-f", id]);
                }
            }
            self.namespaces.end();
            let _ = engine.wait();
        }
    }
}

//! A project of docker-compose's, with one service of weir's own binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Engine;
use crate::docker::{HTTP_PORT, MARK_LABEL};

/// The service of every project.
pub const SERVICE: &str = "web";

/// A project; what it made is removed with its engine.
#[derive(Debug)]
pub struct Compose {
    engine: Engine,
    file: PathBuf,
}

impl Compose {
    /// A project with a service on ports that the engine chooses; `None` when no engine or no docker-compose answers
    /// and that is allowed.
    ///
    /// # Panics
    /// When one is missing and `CI` is set.
    pub fn find(mark: &str) -> Option<Self> {
        let engine = Engine::find(mark)?;
        let answers = Command::new("docker-compose").arg("version").stdin(Stdio::null()).output();
        if !answers.as_ref().is_ok_and(|output| output.status.success()) {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI is set and docker-compose does not answer: {answers:?}"
            );
            return None;
        }
        let (image, mark) = (engine.image(), engine.service());
        let file = engine.write(
            "docker-compose.yml",
            &format!(
                "version: \"2.4\"\n\
                 services:\n  {SERVICE}:\n    image: {image}\n    \
                 command: [/weir, task, --service, {SERVICE}, --name, {SERVICE}, --http, \"0.0.0.0:{HTTP_PORT}\", --tcp, \"0.0.0.0:0\"]\n    \
                 ports: [\"127.0.0.1::{HTTP_PORT}\"]\n    \
                 labels: {{ {MARK_LABEL}: {mark} }}\n\
                 networks:\n  default:\n    labels: {{ {MARK_LABEL}: {mark} }}\n"
            ),
        );
        Some(Self { engine, file })
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        self.engine.service()
    }

    /// Does something with the project: `up -d`, `stop`.
    ///
    /// # Panics
    /// When docker-compose refuses.
    pub fn tell(&self, what: &[&str]) {
        let mut command = Command::new("docker-compose");
        command.args(["-p", self.project(), "-f"]).arg(&self.file).args(what).stdin(Stdio::null());
        let output = command.output().expect("docker-compose can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker-compose {}: {said}", what.join(" "));
    }
}

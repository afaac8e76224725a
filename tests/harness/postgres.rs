//! A Postgres of a test's own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::program::Said;
use crate::server::Running;
use crate::tls::Pair;
use crate::{Folder, free_port, program};

/// Where Debian has it: a folder for each version, with the clients of that version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who it runs as when the tests are root's, because it refuses to be root's.
const USER: &str = "postgres";

/// Attempts to start a server on a free port that somebody else may take first.
const ATTEMPTS: usize = 5;

/// Who clients log in as.
const ROLE: &str = "weir";

/// A server on loopback with an empty database, ended when dropped.
#[derive(Debug)]
pub struct Postgres {
    running: Option<Running>,
    port: u16,
    folder: Folder,
}

impl Postgres {
    /// Starts one; with a certificate it speaks TLS, and only that.
    ///
    /// # Panics
    /// When Postgres is not installed or does not start.
    pub fn start(certificate: Option<&Pair>) -> Self {
        let mut postgres = Self { running: None, port: 0, folder: Folder::new() };
        postgres.make_database();
        let settings = certificate.map(|pair| postgres.keep(pair)).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            postgres.port = free_port();
            if postgres.try_start(&settings) {
                return postgres;
            }
        }
        panic!("PostgreSQL does not start on any of {ATTEMPTS} free ports: {}", postgres.said())
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: 127.0.0.1, port: {} }}", self.port)
    }

    /// Runs one of its clients, `psql` or `pgbench`, connected to a port of loopback; `settings` are further ones of the
    /// connection.
    ///
    /// # Panics
    /// When it fails.
    pub fn client(name: &str, port: u16, settings: &str, arguments: &[&str]) -> String {
        // Whoever waits for a server in vain should be told before the test is.
        let place =
            format!("host=127.0.0.1 port={port} user={ROLE} dbname=postgres connect_timeout=60 {settings}");
        let name = programs().join(name).display().to_string();
        let Said { status, out, err } = program(&name, "postgresql", &[arguments, &[&place]].concat());
        assert_eq!(status, 0, "{name} {arguments:?}: {out}{err}");
        out
    }

    /// Runs commands of `psql`, each as a transaction, and says what they print: values alone.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn ask(port: u16, settings: &str, commands: &[&str]) -> String {
        let mut arguments = vec!["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
        arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
        Self::client("psql", port, settings, &arguments).trim_end().to_owned()
    }

    /// Has psycopg, whose libpq is newer than 17, connect to a port of loopback and run a command: the first value that comes back, or
    /// why there is none.
    ///
    /// # Errors
    /// When it fails.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn ask_by_psycopg(port: u16, settings: &str, command: &str) -> Result<String, String> {
        const SCRIPT: &str = "import psycopg, sys
assert psycopg.pq.version() >= 170000
with psycopg.connect(sys.argv[1]) as connection:
    print(connection.execute(sys.argv[2]).fetchone()[0])";
        let test = std::env::current_exe().expect("a program knows its own place");
        let target = test.ancestors().nth(3).expect("tests lie in a folder below the target folder");
        let python = target.join("psycopg/bin/python").display().to_string();
        let place =
            format!("host=127.0.0.1 port={port} user={ROLE} dbname=postgres connect_timeout=60 {settings}");
        let Said { status, out, err } = program(
            &python,
            "python3-venv; `cargo xtask test` installs it",
            &["-c", SCRIPT, &place, command],
        );
        if status == 0 { Ok(out.trim_end().to_owned()) } else { Err(err) }
    }

    /// Makes the folder of the database, which must belong to who runs the server.
    fn make_database(&self) {
        let data = self.data();
        std::fs::create_dir(&data).expect("temporary files can be written");
        give(&data);
        let data = data.display().to_string();
        let made = as_user(&programs().join("initdb"))
            .args(["-D", &data, "-U", ROLE, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"])
            .output()
            .expect("initdb can be started");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    }

    /// Puts a certificate where the server reads it; its settings.
    fn keep(&self, pair: &Pair) -> Vec<String> {
        pair.write(&self.folder, "server");
        let [certificate, key] = ["server.pem", "server.key"].map(|name| self.folder.path().join(name));
        // It takes no key that others may read.
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("a file's owner may");
        give(&key);
        std::fs::write(self.data().join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n")
            .expect("temporary files can be written");
        let files = [("ssl_cert_file", certificate), ("ssl_key_file", key)];
        let files = files.map(|(name, path)| format!("{name}={}", path.display()));
        [&["ssl=on".to_owned()], &files[..]].concat()
    }

    fn try_start(&mut self, settings: &[String]) -> bool {
        let server = as_user(&programs().join("postgres"));
        let mut arguments: Vec<String> =
            server.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        arguments.extend(["-D".to_owned(), self.data().display().to_string()]);
        let port = format!("port={}", self.port);
        let place = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", &port];
        let all = place.into_iter().map(ToOwned::to_owned).chain(settings.iter().cloned());
        arguments.extend(all.flat_map(|setting| ["-c".to_owned(), setting]));
        let log = self.folder.path().join("log");
        let mut running = Running::start(Path::new(server.get_program()), INSTALLED_BY, &arguments, &log);
        let port = self.port.to_string();
        let is_ready = running.is_ready("PostgreSQL answers", || {
            let mut asking = Command::new(programs().join("pg_isready"));
            asking.args(["-q", "-h", "127.0.0.1", "-p", &port]).status().is_ok_and(|status| status.success())
        });
        self.running = is_ready.then_some(running);
        is_ready
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but not by a kill: that would leave its shared memory behind.
        if let Some(running) = &mut self.running {
            running.end_by(Signal::QUIT);
        }
    }
}

const INSTALLED_BY: &str = "on Debian: apt-get install postgresql";

/// The folder of its programs, of the newest version that has a server.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    newest.unwrap_or_else(|| panic!("no PostgreSQL in {VERSIONS}; {INSTALLED_BY}"))
}

/// A program run as whoever may run a server.
fn as_user(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command
}

/// Gives a file of root's to who runs the server.
fn give(path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the system has users");
    let user = users.lines().find(|line| line.starts_with(&format!("{USER}:")));
    let ids =
        user.map(|line| line.split(':').skip(2).take(2).map(str::parse).collect::<Result<Vec<u32>, _>>());
    let Some(Ok(ids)) = ids else { panic!("there is no user {USER}; {INSTALLED_BY}") };
    chown(path, Some(ids[0]), Some(ids[1])).expect("root may");
}

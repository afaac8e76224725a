//! What the other commands need besides Rust and a C compiler: installed where that is allowed, named otherwise.

use std::path::Path;

use crate::step::{Failed, built, cargo_with, run, say, succeeds};

/// The version that the configuration in `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// What pip installs for the tests of Amazon ECS: the version that they are written for.
const MOTO: &str = "moto[server]==5.2.5";

/// What pip installs for the tests of logins: the version that they are written for.
const CANAILLE: &str = "canaille[front,oidc]==0.3.6";

/// What pip installs for the tests of newer clients of Postgres: a libpq that begins with TLS.
const PSYCOPG: &str = "psycopg[binary]==3.3.9";

/// A Docker engine and docker-compose, for the tests with real containers. Without one those are left out, except in continuous
/// integration, where that would hide what they promise.
pub(crate) fn engine() -> Result<(), Failed> {
    // `ip` is for the engine that a test restarts, which has a network of its own.
    let programs = [("docker", "docker.io"), ("docker-compose", "docker-compose"), ("ip", "iproute2")];
    let missing: Vec<_> = programs.into_iter().filter(|(program, _)| !has(program)).collect();
    if !missing.is_empty() {
        install(&missing, "the tests with real containers")?;
    }
    if succeeds("docker", &["version"]) {
        return Ok(());
    }
    let cause =
        "no Docker engine answers (`docker version` says why), so the tests with real containers cannot run";
    if std::env::var_os("CI").is_some() {
        return Err(Failed(format!("CI is set, and {cause}")));
    }
    say(&format!("note: {cause}; they pass without having looked"));
    Ok(())
}

/// etcd and dnsmasq, for the tests of discovery. Without one those tests fail, and say what to install.
pub(crate) fn sources() -> Result<(), Failed> {
    let servers = [("etcd", "etcd-server"), ("dnsmasq", "dnsmasq-base")];
    let missing: Vec<_> = servers.into_iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, "the tests with real sources") }
}

/// Postgres and iperf3, for the tests of network listeners. Without one those tests fail, and say what to install.
pub(crate) fn servers() -> Result<(), Failed> {
    // The server itself lies in a folder of its version; this program comes with it, and not with its client.
    let servers = [("pg_ctlcluster", "postgresql"), ("iperf3", "iperf3")];
    let missing: Vec<_> = servers.into_iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, "the tests with real servers") }
}

/// Moto, a server that speaks AWS's APIs, in a Python environment in the target folder. Without it the tests of Amazon ECS
/// fail, and say what to do.
pub(crate) fn moto() -> Result<(), Failed> {
    python("moto", "import moto.server, flask", MOTO, "the tests of Amazon ECS")
}

/// Canaille, an identity provider, likewise. Without it the tests of logins fail, and say what to do.
pub(crate) fn canaille() -> Result<(), Failed> {
    python("canaille", "import canaille.oidc, joserfc", CANAILLE, "the tests of logins")
}

/// Psycopg, a client of Postgres with a libpq of its own, likewise. Without it the tests of such clients fail, and say what to do.
pub(crate) fn psycopg() -> Result<(), Failed> {
    python("psycopg", "import psycopg", PSYCOPG, "the tests of newer clients of PostgreSQL")
}

/// A Python environment of that name in the target folder, in which `check` succeeds once pip has installed `package`.
fn python(name: &str, check: &str, package: &str, purpose: &str) -> Result<(), Failed> {
    let folder = built(name);
    if succeeds(&folder.join("bin/python").display().to_string(), &["-c", check]) {
        return Ok(());
    }
    if !succeeds("python3", &["-c", "import ensurepip, venv"]) {
        install(&[("python3 -m venv", "python3-venv")], purpose)?;
    }
    let folder_text = folder.display().to_string();
    let made = run(Path::new("python3"), &["-m", "venv", &folder_text], &[]);
    let pip = folder.join("bin/pip");
    let installed = made.and_then(|()| run(&pip, &["install", "--quiet", package], &[]));
    if installed.is_err() && std::env::var_os("CI").is_none() {
        say(&format!(
            "note: {purpose} need {name}; python3 -m venv {folder_text} && {} install '{package}'",
            pip.display()
        ));
        return Ok(());
    }
    installed
}

/// Programs that the tests use as clients. Without one those tests fail, and say what to install.
pub(crate) fn clients() -> Result<(), Failed> {
    let clients = [
        ("curl", "curl"),
        ("h2load", "nghttp2-client"),
        ("testssl", "testssl.sh"),
        ("slowhttptest", "slowhttptest"),
    ];
    let missing: Vec<_> = clients.into_iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, "the tests with real clients") }
}

/// nginx with its TCP module, and HAProxy, for the bench.
pub(crate) fn peers() -> Result<(), Failed> {
    const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let peers = [("nginx", "nginx-light"), (STREAM, "libnginx-mod-stream"), ("haproxy", "haproxy")];
    let missing: Vec<_> = peers.into_iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, "the bench") }
}

/// valgrind and strace, for the count of what a request costs.
pub(crate) fn counters() -> Result<(), Failed> {
    let counters = [("valgrind", "valgrind"), ("strace", "strace")];
    let missing: Vec<_> = counters.into_iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing, "the count of what a request costs") }
}

/// cargo-deny, of the version that `deny.toml` is written for.
pub(crate) fn cargo_deny() -> Result<(), Failed> {
    if succeeds("cargo", &["deny", "--version"]) {
        return Ok(());
    }
    // Unoptimized: it looks at one lockfile, and is built far more often than it runs.
    cargo_with(&["install", "--locked", "--debug", "cargo-deny", "--version", CARGO_DENY], &[])
}

/// Whether a program is there; a path stands for itself.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root looks.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.into_iter().any(|folder| folder.join(program).exists())
}

/// Installs Debian packages as root on Debian; names them anywhere else.
fn install(missing: &[(&str, &str)], purpose: &str) -> Result<(), Failed> {
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let is_root = succeeds("sh", &["-c", "test \"$(id -u)\" = 0"]);
    if !is_root || !Path::new("/etc/debian_version").exists() {
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        let advice = format!(
            "{purpose} need{} {}; on Debian: apt-get install {}",
            if purpose.starts_with("the tests") { "" } else { "s" },
            programs.join(" and "),
            packages.join(" ")
        );
        if purpose.starts_with("the tests") && std::env::var_os("CI").is_none() {
            say(&format!("note: {advice}"));
            return Ok(());
        }
        return Err(Failed(advice));
    }
    let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
    let apt = Path::new("apt-get");
    run(apt, &["update", "-qq"], &quiet)?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    run(apt, &arguments, &quiet)
}

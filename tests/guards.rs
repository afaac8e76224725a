//! What keeps the house in shape: arrows, boundaries, lints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What each crate may import from the workspace: the table of ARCHITECTURE.md.
const ARROWS: [(&str, &[&str]); 17] = [
    ("weir-core", &[]),
    ("weir-config", &["core"]),
    ("weir-lab", &["config", "core"]),
    ("weir-telemetry", &["core"]),
    ("weir-net", &["core"]),
    ("weir-tls", &["core", "net"]),
    ("weir-http", &["core", "net", "telemetry", "tls"]),
    ("weir-application", &["auth", "core", "net", "http", "telemetry", "tls"]),
    ("weir-network", &["core", "net", "telemetry", "tls"]),
    ("weir-classic", &["core", "net", "http", "telemetry", "tls"]),
    ("weir-fetch", &["core"]),
    ("weir-auth", &["core", "fetch", "tls"]),
    ("weir-discovery", &["core", "fetch"]),
    ("weir-control", &["core", "config", "net", "discovery", "telemetry", "tls"]),
    ("weir-admin", &["core", "telemetry", "control"]),
    (
        "weir",
        &[
            "admin",
            "application",
            "auth",
            "classic",
            "config",
            "control",
            "core",
            "discovery",
            "http",
            "lab",
            "net",
            "network",
            "telemetry",
            "tls",
        ],
    ),
    ("xtask", &[]),
];

/// Outside crates that only some of ours may import.
const BOUNDARIES: [(&str, &[&str]); 16] = [
    ("hyper", &["weir-fetch"]),
    ("hyper-util", &["weir-fetch"]),
    // weir-http forwards with it; weir-control asks targets how they are, and must not import weir-http; clients and
    // targets of tests speak it.
    ("h2", &["weir-http", "weir-control", "weir-tests"]),
    ("hickory-resolver", &["weir-discovery"]),
    ("quinn-udp", &["weir-net"]),
    ("http-body-util", &["weir-fetch"]),
    // weir-core seals cookies with it; weir-discovery signs requests.
    ("aws-lc-rs", &["weir-auth", "weir-core", "weir-discovery", "weir-tests", "weir-tls"]),
    // The bench loads proxies over TLS, none of ours alone.
    ("rustls", &["weir-benches", "weir-fetch", "weir-tests", "weir-tls"]),
    ("rustls-webpki", &["weir-tls"]),
    ("tokio-rustls", &["weir-fetch", "weir-tls"]),
    ("jsonwebtoken", &["weir-auth"]),
    ("arc-swap", &["weir-core"]),
    ("prometheus", &["weir-telemetry"]),
    ("bollard", &["weir-discovery"]),
    ("plotters", &["weir-lab"]),
    ("saphyr-parser", &["weir-config"]),
];

/// What every crate of the workspace declares that its shipped code depends on.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = |package: &Value| {
        let list = package["dependencies"].as_array().unwrap();
        let shipped = list.iter().filter(|dependency| dependency["kind"] != "dev");
        let names = shipped.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn arrows_between_crates_go_one_way() {
    let dependencies = dependencies();
    for (name, allowed) in ARROWS {
        let allowed: BTreeSet<String> = allowed.iter().map(|short| format!("weir-{short}")).collect();
        let ours: BTreeSet<String> =
            dependencies[name].iter().filter(|d| dependencies.contains_key(*d)).cloned().collect();
        let forbidden: Vec<&String> = ours.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{name} must not import {forbidden:?}");
    }
    let known: BTreeSet<&str> =
        ARROWS.iter().map(|(name, _)| *name).chain(["weir-benches", "weir-tests"]).collect();
    let strangers: Vec<&String> = dependencies.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(strangers.is_empty(), "{strangers:?} have no place in the table of arrows");
}

#[test]
fn libraries_stay_behind_their_boundaries() {
    for (library, allowed) in BOUNDARIES {
        for (name, dependencies) in dependencies() {
            assert!(
                !dependencies.contains(library) || allowed.contains(&name.as_str()),
                "{name} must not import {library}; only {allowed:?} may"
            );
        }
    }
}

#[test]
fn the_core_decides_without_clock_socket_or_runtime() {
    let core = &dependencies()["weir-core"];
    for library in ["tokio", "tracing", "socket2", "rustix", "rand"] {
        assert!(!core.contains(library), "weir-core must not import {library}");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let folders = ["crates", "benches", "tests", "xtask"];
    let paths = folders.iter().flat_map(|folder| sources(&root().join(folder)));
    paths.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn libraries_that_are_to_be_replaceable_are_named_in_one_place() {
    for (library, within, place) in [
        ("hyper", "crates/weir-fetch/src", "client.rs"),
        ("hyper_util", "crates/weir-fetch/src", "client.rs"),
        ("rustls", "crates/weir-fetch/src", "tls.rs"),
        ("hickory_resolver", "crates/weir-discovery/src", "dns/resolver.rs"),
        ("quinn_udp", "crates/weir-net/src", "datagrams.rs"),
    ] {
        let within = root().join(within);
        for path in sources(&within).into_iter().filter(|path| !path.starts_with(within.join(place))) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains(&format!("{library}::")), "{} names {library}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_fits_into_a_head() {
    /// Longest file. The best code of this field keeps most below it.
    const LINES_MAX: usize = 400;
    for (path, text) in all_sources() {
        let shown = path.display();
        assert!(text.starts_with("//! "), "{shown} does not begin by saying what it is");
        assert!(text.lines().count() <= LINES_MAX, "{shown} has more than {LINES_MAX} lines");
        assert!(path.file_name().is_some_and(|name| name != "mod.rs"), "{shown}: modules name themselves");
    }
}

#[test]
fn every_member_takes_the_workspace_s_lints() {
    let manifests = ["crates", ""].iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let manifests =
        manifests.map(|entry| entry.unwrap().path().join("Cargo.toml")).filter(|path| path.exists());
    let mut count = 0;
    for path in manifests {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{} has no lints", path.display());
        count += 1;
    }
    assert!(count >= 15, "{count} manifests");
}

#[test]
fn every_metric_is_in_the_reference_as_it_says_of_itself() {
    let reference = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    for (name, help) in weir_telemetry::names::ALL {
        assert!(reference.contains(&format!("| `{name}` | {help} |")), "{name} is missing or differs");
    }
}

//! `cargo xtask`: the only automation entry. No dependencies, so that a fresh clone gets to work at once.

mod conformance;
mod needs;
mod step;

use std::path::Path;
use std::process::ExitCode;

use step::{Failed, cargo};

const HELP: &str = "\
cargo xtask test          everything that weir promises: unit, property and end-to-end tests, real containers among them
cargo xtask check         formatting, clippy, documentation, dependencies, and whether docs/conformance is fresh
cargo xtask conformance   writes docs/conformance: what an Application Load Balancer does, and which tests prove it
cargo xtask instructions  what a request costs, in instructions and system calls, and whether that is within its bounds
cargo xtask validate      the laboratory against queueing theory, at loads up to 0.8; `weir lab validate` does the rest
cargo xtask soak          72 simulated hours of everything that can happen to targets; WEIR_SOAK_SEED=n for other ones
cargo xtask fuzz          ten million requests that nobody sent, read by weir's codec, by hyper and by Amazon's classifier;
                          a number takes so many million, and WEIR_FUZZ_SEED=n other ones
cargo xtask rolling       containers come and go under load: what fails, waits, is repeated; letters choose phases,
                          and `haproxy` and `nginx` show what happens with those in weir's place
cargo xtask bench         weir beside nginx and HAProxy, interleaved and paired; what follows goes to the bench
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, [])) if command == "test" => test(),
        Some((command, [])) if command == "check" => check(),
        Some((command, [])) if command == "conformance" => conformance::write(),
        Some((command, [])) if command == "instructions" => instructions(),
        Some((command, [])) if command == "validate" => validate(),
        Some((command, rest)) if command == "rolling" => rolling(rest),
        Some((command, [])) if command == "soak" => soak(),
        Some((command, [])) if command == "fuzz" => fuzz("10"),
        Some((command, [millions])) if command == "fuzz" => fuzz(millions),
        Some((command, rest)) if command == "bench" => bench(rest),
        _ => {
            step::say(HELP);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(what)) => {
            step::say(&format!("failed: {what}"));
            ExitCode::from(1)
        }
    }
}

/// Builds the program that end-to-end tests run, then runs all tests; those that prove conformance must be among them.
fn test() -> Result<(), Failed> {
    let mut promises = conformance::Promises::read()?;
    needs::engine()?;
    needs::sources()?;
    needs::servers()?;
    needs::clients()?;
    needs::moto()?;
    needs::canaille()?;
    needs::psycopg()?;
    cargo(&["build", "--locked", "--package", "weir", "--bins"])?;
    step::cargo_read(&["test", "--locked", "--workspace"], |line| promises.note(line))?;
    promises.are_kept()
}

/// Everything that a reviewer should not have to look for.
fn check() -> Result<(), Failed> {
    cargo(&["fmt", "--all", "--check"])?;
    conformance::is_fresh()?;
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    step::cargo_with(
        &["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    needs::cargo_deny()?;
    // Advisories come from a database that is not in this repository; `cargo deny check advisories` asks it.
    cargo(&["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
}

/// What users are promised, with a row for each thing that can happen to containers.
fn rolling(phases: &[String]) -> Result<(), Failed> {
    needs::engine()?;
    if phases.iter().any(|word| word == "haproxy" || word == "nginx") {
        needs::peers()?;
    }
    cargo(&["build", "--locked", "--release", "--package", "weir", "--package", "weir-tests", "--bins"])?;
    let weir = step::built("release/weir").display().to_string();
    let phases: Vec<&str> = phases.iter().map(String::as_str).collect();
    step::run(&step::built("release/rolling"), &phases, &[("WEIR_BINARY", &weir)])
}

/// The promises of reconciliation, at length.
fn soak() -> Result<(), Failed> {
    step::cargo_with(
        &["test", "--locked", "--release", "--package", "weir-core", "soak"],
        &[("WEIR_SOAK_MINUTES", "4320")],
    )
}

/// The codec beside hyper and beside Amazon's classifier, at length.
fn fuzz(millions: &str) -> Result<(), Failed> {
    step::cargo_with(
        &["test", "--locked", "--release", "--package", "weir-http", "differ"],
        &[("WEIR_FUZZ_MILLIONS", millions)],
    )
}

/// What a request may cost: counted and not timed, so that a busy machine does not matter.
fn instructions() -> Result<(), Failed> {
    needs::counters()?;
    let weir = built_for_users()?;
    step::run(&step::built("release/compare"), &["--weir", &weir, "instructions"], &[])
}

/// Whether the simulator says what theory says. As users get it: without optimisation it takes too long.
fn validate() -> Result<(), Failed> {
    cargo(&["build", "--locked", "--release"])?;
    step::run(&step::built("release/weir"), &["lab", "validate", "--quick"], &[])
}

/// How fast, beside whom: in a network of its own, where that is allowed. A Docker engine has the kernel track every connection of its
/// own network, for two minutes and up to so many, and drops what comes beyond.
fn bench(arguments: &[String]) -> Result<(), Failed> {
    needs::peers()?;
    let (weir, compare) = (built_for_users()?, step::built("release/compare"));
    let own = [&["--weir", &weir][..], &arguments.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    if !step::succeeds("unshare", &["--net", "ip", "link", "set", "lo", "up"]) {
        step::say(
            "note: no network of its own (that takes root, unshare and ip): connection tracking slows short connections",
        );
        return step::run(&compare, &own, &[]);
    }
    let within =
        ["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", &compare.display().to_string()];
    step::run(Path::new("unshare"), &[&within[..], &own].concat(), &[])
}

/// Builds weir and the bench as users get them: where weir is.
fn built_for_users() -> Result<String, Failed> {
    cargo(&["build", "--locked", "--release"])?;
    cargo(&["build", "--locked", "--release", "--package", "weir-benches"])?;
    Ok(step::built("release/weir").display().to_string())
}

//! `weir check`: everything that is wrong with a configuration.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tokio::sync::mpsc;
use weir_config::{Loaded, SharedSource};
use weir_discovery::{Report, Shared, etcd};

use crate::output::{complain, say};

/// Prints every problem; exit status 1 when there is one. What several weirs share is read from `shared`, or from where
/// the configuration says.
pub(crate) fn check(path: &Path, shared: Option<&Path>) -> anyhow::Result<ExitCode> {
    let own = match weir_config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(refused(&error)),
    };
    let Some(source) = &own.config.shared else {
        anyhow::ensure!(
            shared.is_none(),
            "{} shares nothing: it has no `shared`, so --shared has no meaning",
            path.display()
        );
        return Ok(good(&path.display().to_string(), &own));
    };
    own.warnings.iter().for_each(|warning| complain(&warning.to_string()));
    let (name, text) = match shared {
        Some(file) => (file.display().to_string(), weir_config::text_of(file)?),
        None => (source.to_string(), read(source).with_context(|| format!("cannot read {source}"))?),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(match weir_config::parse_shared(&text, &name, folder, &own.config) {
        Ok(loaded) => good(&format!("{} with {name}", path.display()), &loaded),
        Err(problems) => refused(&problems),
    })
}

/// Says that a configuration is good, unless files that it names are not.
fn good(name: &str, loaded: &Loaded) -> ExitCode {
    for warning in &loaded.warnings {
        complain(&warning.to_string());
    }
    let definitions = &loaded.config.definitions;
    let unusable = weir_control::unusable_files(definitions);
    if !unusable.is_empty() {
        for problem in unusable {
            complain(&format!("error: {problem}"));
        }
        return ExitCode::from(1);
    }
    say(&format!(
        "{name}: good, {}, {}, {}",
        counted(definitions.load_balancers.len(), "load balancer"),
        counted(definitions.target_groups.len(), "target group"),
        counted(loaded.warnings.len(), "warning")
    ));
    ExitCode::SUCCESS
}

/// A number of things, in words: `1 warning`, `2 warnings`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn refused(error: &dyn std::error::Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(1)
}

/// What the key says now.
fn read(source: &SharedSource) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (sender, mut reports) = mpsc::channel(1);
        let watching = etcd::watch_configuration(source.endpoints.clone(), source.key.clone(), sender);
        let report = tokio::select! {
            report = reports.recv() => report,
            () = watching => None,
        };
        match report {
            Some(Report::Shared(Shared::Written { text, .. })) => Ok(text),
            Some(Report::Shared(Shared::Failed(problem))) => anyhow::bail!("{problem}"),
            _ => {
                anyhow::bail!("there is no such key; `--shared FILE` checks what you are going to put there")
            }
        }
    })
}

//! `weir check`: everything that is wrong with a configuration.

use std::path::Path;
use std::process::ExitCode;

use crate::output::{complain, say};

/// Prints every problem; exit status 1 when there is one.
pub(crate) fn check(path: &Path) -> ExitCode {
    match weir_config::load(path) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format!("{warning}"));
            }
            let definitions = &loaded.config.definitions;
            say(&format!(
                "{}: good, {} load balancers, {} target groups, {} warnings",
                path.display(),
                definitions.load_balancers.len(),
                definitions.target_groups.len(),
                loaded.warnings.len()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("{error}"));
            ExitCode::from(1)
        }
    }
}

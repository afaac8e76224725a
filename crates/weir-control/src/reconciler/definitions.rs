//! Definitions: read at start, and again when somebody asks for it or the shared configuration is written.

use std::path::Path;

use weir_config::{Config, Loaded};
use weir_core::address::ListenAddr;
use weir_core::definition::Definitions;
use weir_core::reconcile::Event;
use weir_discovery::Shared;
use weir_net::transparent;
use weir_telemetry::names;

use super::{Origin, Reconciler, StartError};
use crate::handle::Reloaded;

/// Whether this process may speak from addresses of clients, where a group would have it so.
fn check_client_addresses(definitions: &Definitions) -> Result<(), StartError> {
    let mut groups = definitions.target_groups.iter();
    let Some(group) = groups.find(|group| group.flows.preserves_client_ip) else { return Ok(()) };
    transparent::check().map_err(|source| StartError::Transparent { group: group.name.clone(), source })
}

impl Reconciler {
    /// Reads the configuration again: all of it takes effect, or none.
    pub(super) fn reload(&mut self) -> Result<Reloaded, String> {
        let outcome = self.try_reload();
        let result = if outcome.is_ok() { "accepted" } else { "rejected" };
        self.handle.telemetry.count(names::CONFIG_RELOADS, &[("result", result)]);
        match &outcome {
            Ok(reloaded) => {
                tracing::info!(generation = reloaded.generation, "configuration reloaded");
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                self.note("configuration", "reloaded", &format!("generation {}", reloaded.generation));
            }
            Err(problem) => {
                tracing::error!("configuration refused, the last good one stays: {problem}");
                self.note("configuration", "refused", problem);
            }
        }
        outcome
    }

    fn try_reload(&mut self) -> Result<Reloaded, String> {
        let Origin::Configuration { path: Some(path), config: before } = &self.origin else {
            return Err("weir runs without a configuration file, so there is none to read again".to_owned());
        };
        let mut loaded = weir_config::load(path).map_err(|error| error.to_string())?;
        if before.shared.is_some() != loaded.config.shared.is_some() {
            return Err(format!("{}: `shared` comes and goes with the next start of weir", path.display()));
        }
        if let Some(source) = &before.shared {
            let nobody = || format!("{source}: has not been read yet, and all load balancers are there");
            let text = self.shared_refused.as_ref().or(self.shared_text.as_ref()).ok_or_else(nobody)?;
            loaded = self.read_shared(text, &loaded.config)?;
        }
        self.check_not_emptied(&loaded.config.definitions, &path.display().to_string())?;
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(fixed_at_start(before, &loaded.config));
        let (opened, closed) = self.define(loaded.config.definitions).map_err(|error| error.to_string())?;
        if let Some(text) = self.shared_refused.take() {
            self.keep_shared(text);
        }
        let texts = |addrs: Vec<ListenAddr>| addrs.iter().map(ToString::to_string).collect();
        Ok(Reloaded {
            generation: self.handle.snapshot().generation,
            opened: texts(opened),
            closed: texts(closed),
            warnings,
        })
    }

    /// Binds what is new, publishes, then hands the sockets over: no connection is accepted that the snapshot does
    /// not know.
    pub(super) fn define(
        &mut self,
        mut definitions: Definitions,
    ) -> Result<(Vec<ListenAddr>, Vec<ListenAddr>), StartError> {
        check_client_addresses(&definitions)?;
        let prepared = self.listeners.prepare(&mut definitions, &mut self.state)?;
        let certificates = self.certificates.prepare(&definitions, &mut self.state)?;
        if let Origin::Automatic(bind) = &mut self.origin
            && let Some(listener) = definitions.load_balancers.first().and_then(|lb| lb.listeners.first())
        {
            *bind = listener.bind;
        }
        self.certificates.commit(certificates);
        self.reconcile(Event::CookieKeys(self.certificates.cookie_keys()));
        let wanted = definitions.lookups();
        self.labels.write(definitions);
        self.follow_labels();
        self.lookups.send_if_modified(|lookups| {
            *lookups != wanted && {
                *lookups = wanted;
                true
            }
        });
        Ok(self.listeners.commit(prepared))
    }

    /// Serves with the files of listeners, and of secrets, as they are now.
    pub(super) fn renew_certificates(&mut self) {
        let problems = self.certificates.renew();
        self.reconcile(Event::CookieKeys(self.certificates.cookie_keys()));
        let result = if problems.is_empty() { "accepted" } else { "rejected" };
        self.handle.telemetry.count(names::CERTIFICATE_RENEWALS, &[("result", result)]);
        for problem in &problems {
            tracing::warn!("{problem}; what was there before stays");
            self.note("certificates", "refused", &problem.to_string());
        }
        if problems.is_empty() {
            tracing::info!("certificates renewed: their files have changed");
            self.note("certificates", "renewed", "their files have changed");
        }
    }

    /// Whether load balancers and target groups are read from where several weirs share them.
    pub(super) fn is_shared(&self) -> bool {
        matches!(&self.origin, Origin::Configuration { config, .. } if config.shared.is_some())
    }

    /// Takes in the shared configuration as it was before weir started: it is served until another one is written.
    pub(super) fn remember_shared(&mut self) {
        let Some(memory) = self.memory.as_ref().filter(|_| self.is_shared()) else { return };
        match memory.recall_configuration() {
            Ok(None) => {}
            Ok(Some(text)) => self.take_in_written(text, "remembered from before"),
            Err(problem) => {
                tracing::warn!("{problem}; the shared configuration is not remembered");
                self.note("shared configuration", "forgotten", &problem);
            }
        }
    }

    /// Takes in what is known of the shared configuration.
    pub(super) fn take_in_shared(&mut self, shared: Shared) {
        const SUBJECT: &str = "shared configuration";
        match shared {
            Shared::Written { text, .. } if self.shared_text.as_ref() == Some(&text) => {
                self.shared_refused = None;
            }
            Shared::Written { text, revision } => {
                self.take_in_written(text, &format!("written at revision {revision}"));
            }
            Shared::Missing => {
                self.shared_refused = None;
                let stays =
                    if self.shared_text.is_some() { "the last good one stays" } else { "nothing is served" };
                tracing::warn!("{}: there is no such key, so {stays}", self.shared_name());
                self.note(SUBJECT, "missing", stays);
            }
            Shared::Failed(problem) => {
                tracing::warn!("{}: {problem}; what it said last stays", self.shared_name());
                self.note(SUBJECT, "failed", &problem);
            }
            Shared::Recovered => {
                tracing::info!("{}: answers again", self.shared_name());
                self.note(SUBJECT, "recovered", "");
            }
        }
    }

    fn shared_name(&self) -> String {
        match &self.origin {
            Origin::Configuration { config, .. } => {
                config.shared.as_ref().map_or_else(String::new, ToString::to_string)
            }
            Origin::Automatic(_) => String::new(),
        }
    }

    /// Takes in a shared configuration: all of it takes effect, or none.
    fn take_in_written(&mut self, text: String, cause: &str) {
        let Origin::Configuration { config, .. } = &self.origin else { return };
        let config = config.clone();
        let outcome = self.read_shared(&text, &config).and_then(|loaded| {
            self.check_not_emptied(&loaded.config.definitions, &self.shared_name())?;
            self.define(loaded.config.definitions).map_err(|error| error.to_string())?;
            Ok(loaded.warnings)
        });
        let result = if outcome.is_ok() { "accepted" } else { "rejected" };
        self.handle.telemetry.count(names::CONFIG_RELOADS, &[("result", result)]);
        match outcome {
            Ok(warnings) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!("{}: taken in, {cause}", self.shared_name());
                self.note("shared configuration", "taken in", cause);
                self.keep_shared(text);
            }
            Err(problem) => {
                tracing::error!("shared configuration refused, the last good one stays: {problem}");
                self.note("shared configuration", "refused", &problem);
                self.shared_refused = Some(text);
            }
        }
    }

    /// A shared configuration has taken effect.
    fn keep_shared(&mut self, text: String) {
        if let Some(memory) = &self.memory {
            memory.keep_configuration(&text);
        }
        self.shared_text = Some(text);
        self.shared_refused = None;
        self.note_readiness();
    }

    /// The configuration that a shared one makes of this weir's own.
    fn read_shared(&self, text: &str, local: &Config) -> Result<Loaded, String> {
        let folder = match &self.origin {
            Origin::Configuration { path: Some(path), .. } => path.parent().unwrap_or(Path::new("")),
            Origin::Configuration { path: None, .. } | Origin::Automatic(_) => Path::new(""),
        };
        let name = local.shared.as_ref().map_or_else(String::new, ToString::to_string);
        weir_config::parse_shared(text, &name, folder, local).map_err(|error| error.to_string())
    }

    /// A document without any load balancer, where some are served, was caught half-way through being written.
    fn check_not_emptied(&self, definitions: &Definitions, name: &str) -> Result<(), String> {
        let served = self.state.definitions().load_balancers.len();
        if definitions.load_balancers.is_empty() && served > 0 {
            return Err(format!(
                "{name}: has no load balancer, and {served} are being served; stop weir to end them all"
            ));
        }
        Ok(())
    }
}

/// What differs between two configurations and only takes effect at the next start.
fn fixed_at_start(before: &Config, after: &Config) -> Vec<String> {
    let changed = [
        ("admin", before.admin != after.admin),
        ("discovery", before.discovery != after.discovery),
        ("limits", before.limits != after.limits),
        ("shared", before.shared != after.shared),
        ("remember", before.remember != after.remember),
        ("workers", before.workers != after.workers),
    ];
    changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("warning: `{key}` has changed, which takes effect at the next start"))
        .collect()
}

//! The sources: from what the configuration names to watchers that run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use weir_config::{Discovery, EtcdSource, SharedSource};
use weir_core::lookup::Lookup;
use weir_core::task::SourceKind;
use weir_discovery::docker::{Endpoint, EndpointError};
use weir_discovery::{Report, dns, docker, ecs, etcd, file, http, swarm};

use crate::process::{ProcessError, Setup};

/// Reports of discovery that may wait to be taken in.
pub(crate) const REPORTS_MAX: usize = 64;

/// The sources that are followed, with what some of them need to be asked.
#[derive(Debug)]
pub(crate) struct Sources {
    discovery: Discovery,
    shared: Option<SharedSource>,
    /// The engine of the Docker source.
    docker: Option<Endpoint>,
    /// The engine of the Swarm source.
    swarm: Option<Endpoint>,
    credentials: Option<ecs::Credentials>,
}

impl Sources {
    /// Finds what they need.
    ///
    /// # Errors
    /// No engine, or no credentials, for the source that needs them.
    pub(crate) fn find(setup: &Setup) -> Result<Self, ProcessError> {
        let Discovery { docker, swarm, .. } = &setup.discovery;
        Ok(Self {
            docker: endpoint(docker.as_ref().map(|source| &source.endpoint), "discovery.docker.endpoint")?,
            swarm: endpoint(swarm.as_ref().map(|source| &source.endpoint), "discovery.swarm.endpoint")?,
            credentials: aws_credentials(setup)?,
            discovery: setup.discovery.clone(),
            shared: setup.shared.clone(),
        })
    }

    /// Each with its settings: by these its memory is known to be its own.
    pub(crate) fn settings(&self) -> BTreeMap<SourceKind, String> {
        let written = |settings: Option<&dyn Debug>| settings.map(|settings| format!("{settings:?}"));
        let discovery = &self.discovery;
        let settings = |source| match source {
            SourceKind::Dns => written(discovery.dns.as_ref().map(|source| source as _)),
            SourceKind::Docker => written(discovery.docker.as_ref().map(|source| source as _)),
            SourceKind::Ecs => written(discovery.ecs.as_ref().map(|source| source as _)),
            SourceKind::Etcd => written(discovery.etcd.as_ref().map(|source| source as _)),
            SourceKind::File => written(discovery.file.as_ref().map(|source| source as _)),
            SourceKind::Http => written(discovery.http.as_ref().map(|source| source as _)),
            SourceKind::Swarm => written(discovery.swarm.as_ref().map(|source| source as _)),
        };
        SourceKind::ALL.into_iter().filter_map(|source| Some((source, settings(source)?))).collect()
    }

    /// The same of the shared configuration; empty where there is none.
    pub(crate) fn shared_settings(&self) -> String {
        self.shared.as_ref().map_or_else(String::new, |source| format!("{source:?}"))
    }

    /// Starts a watcher for each of them.
    pub(crate) fn follow(self, lookups: &watch::Sender<BTreeSet<Lookup>>, reports: &mpsc::Sender<Report>) {
        if let Some(SharedSource { endpoints, key }) = self.shared {
            spawn_local(etcd::watch_configuration(endpoints, key, reports.clone()));
        }
        let Discovery { confirm_removals: _, dns, docker: _, ecs, etcd, file, http, swarm } = self.discovery;
        let published = etcd.clone();
        let to = |source| match published.as_ref().filter(|etcd| etcd.publish.contains(&source)) {
            Some(EtcdSource { endpoints, prefix, .. }) => {
                let (sender, said) = mpsc::channel(REPORTS_MAX);
                spawn_local(etcd::publish(endpoints.clone(), prefix.clone(), source, said, reports.clone()));
                sender
            }
            None => reports.clone(),
        };
        if let Some(source) = dns {
            spawn_local(dns::watch(source.server, lookups.subscribe(), to(SourceKind::Dns)));
        }
        if let Some(engine) = self.docker {
            spawn_local(docker::watch(engine, to(SourceKind::Docker)));
        }
        if let Some(source) = ecs {
            spawn_local(ecs::watch(source, self.credentials, to(SourceKind::Ecs)));
        }
        if let Some(source) = etcd {
            spawn_local(etcd::watch(source.endpoints, source.prefix, source.publish, to(SourceKind::Etcd)));
        }
        if let Some(source) = file {
            spawn_local(file::watch(source.path, to(SourceKind::File)));
        }
        if let Some(source) = http {
            spawn_local(http::watch(source.url, source.interval, to(SourceKind::Http)));
        }
        if let (Some(source), Some(engine)) = (swarm, self.swarm) {
            spawn_local(swarm::watch(engine, source.addresses, source.interval, to(SourceKind::Swarm)));
        }
    }
}

/// The engine that a source asks; `named_by` is the setting that names it.
fn endpoint(
    written: Option<&Option<String>>,
    named_by: &'static str,
) -> Result<Option<Endpoint>, EndpointError> {
    written.map(|written| docker::endpoint(written.as_deref(), named_by)).transpose()
}

/// The credentials that a source needs, if one does.
fn aws_credentials(setup: &Setup) -> Result<Option<ecs::Credentials>, ecs::CredentialsError> {
    if !setup.discovery.ecs.as_ref().is_some_and(|source| source.from.needs_credentials()) {
        return Ok(None);
    }
    setup.aws_credentials.clone().map_or_else(ecs::Credentials::from_environment, Ok).map(Some)
}

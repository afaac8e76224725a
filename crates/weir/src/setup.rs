//! What to start a process with.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_config::{Config, Discovery, SharedSource};
use weir_control::Origin;
use weir_core::address::ListenAddr;
use weir_discovery::ecs;

/// Client connections of a process whose configuration sets no limit.
const CONNECTIONS_MAX: usize = 100_000;

/// How long a process whose configuration does not say so finishes what it has when another has taken its place.
const RESTART_DRAIN: Duration = Duration::from_secs(60 * 60);

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where definitions come from.
    pub origin: Origin,
    /// Where the admin port listens; `None` for none.
    pub admin: Option<SocketAddr>,
    /// Worker threads; `None` for one per core.
    pub workers: Option<NonZeroUsize>,
    /// Client connections at a time.
    pub connections_max: usize,
    /// How long it finishes what it has when another process has taken its place.
    pub restart_drain: Duration,
    /// Which tasks to follow.
    pub discovery: Discovery,
    /// Where definitions are read that several weirs share.
    pub shared: Option<SharedSource>,
    /// The folder that keeps what they were for the next start.
    pub remember: Option<PathBuf>,
    /// What requests to AWS are signed with; `None` takes what the environment says, where it is needed.
    pub aws_credentials: Option<ecs::Credentials>,
    /// The seed of the workers' random streams, for tests; `None` draws one.
    pub seed: Option<u64>,
}

impl Setup {
    /// What a configuration asks for.
    pub fn configured(config: Config, path: Option<PathBuf>) -> Self {
        Self {
            admin: Some(config.admin.bind),
            workers: config.workers,
            connections_max: config.limits.connections,
            restart_drain: config.limits.restart_drain,
            discovery: config.discovery.clone(),
            shared: config.shared.clone(),
            remember: config.remember.clone(),
            aws_credentials: None,
            seed: None,
            origin: Origin::Configuration { path, config: Arc::new(config) },
        }
    }

    /// Every service of the Docker engine, served at `listener`.
    pub fn automatic(listener: ListenAddr, admin: SocketAddr, discovery: Discovery) -> Self {
        Self {
            origin: Origin::Automatic(listener),
            admin: Some(admin),
            workers: None,
            connections_max: CONNECTIONS_MAX,
            restart_drain: RESTART_DRAIN,
            discovery,
            shared: None,
            remember: None,
            aws_credentials: None,
            seed: None,
        }
    }
}

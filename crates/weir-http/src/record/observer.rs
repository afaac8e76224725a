//! What one worker observes of one listener.

use std::sync::Arc;

use weir_core::logs::{Log, LogFormat};
use weir_core::snapshot::Listener;
use weir_net::clock::Clock;
use weir_telemetry::access_log::{LogBuffer, LogWriter};
use weir_telemetry::{ListenerShard, Telemetry};

use crate::RequestError;

/// What one worker observes of one listener: its counts, and its logs if it has any.
#[derive(Debug)]
pub struct Observer {
    pub(super) shard: Arc<ListenerShard>,
    pub(super) log: Option<(LogBuffer, LogFormat)>,
    pub(super) connections: Option<(LogBuffer, LogFormat)>,
    pub(super) load_balancer: String,
    pub(super) is_classic: bool,
    pub(super) clock: Clock,
}

impl Observer {
    /// An observer of `listener` for one worker.
    pub fn new(listener: &Listener, telemetry: &Telemetry, writer: &LogWriter, clock: Clock) -> Self {
        let open = |log: &Log| (writer.buffer(log.path.clone()), log.format);
        Self {
            shard: telemetry.listener_shard(listener),
            log: listener.logs.access.as_ref().map(open),
            connections: listener.logs.connection.as_ref().map(open),
            load_balancer: listener.load_balancer.to_string(),
            is_classic: listener.kind.load_balancer_type() == "classic",
            clock,
        }
    }

    /// The status that a client gets for an error.
    pub(super) fn status_of(&self, error: &RequestError) -> u16 {
        if self.is_classic { error.classic_status() } else { error.status() }
    }

    /// The counts.
    pub fn shard(&self) -> &ListenerShard {
        &self.shard
    }

    /// Hands over the lines that have gathered.
    pub fn flush(&self) {
        for (log, _) in self.log.iter().chain(&self.connections) {
            log.flush();
        }
    }
}

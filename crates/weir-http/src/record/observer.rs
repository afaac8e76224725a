//! What one worker observes of one listener.

use std::sync::Arc;

use weir_core::definition::AccessLogFormat;
use weir_core::snapshot::Listener;
use weir_net::clock::Clock;
use weir_telemetry::access_log::{LogBuffer, LogWriter};
use weir_telemetry::{ListenerShard, Telemetry};

/// What one worker observes of one listener: its counts, and its access log if it has one.
#[derive(Debug)]
pub struct Observer {
    pub(super) shard: Arc<ListenerShard>,
    pub(super) log: Option<(LogBuffer, AccessLogFormat)>,
    pub(super) load_balancer: String,
    pub(super) is_classic: bool,
    pub(super) clock: Clock,
}

impl Observer {
    /// An observer of `listener` for one worker.
    pub fn new(listener: &Listener, telemetry: &Telemetry, writer: &LogWriter, clock: Clock) -> Self {
        Self {
            shard: telemetry.listener_shard(listener),
            log: listener.access_log.as_ref().map(|log| (writer.buffer(log.path.clone()), log.format)),
            load_balancer: listener.load_balancer.to_string(),
            is_classic: listener.kind.load_balancer_type() == "classic",
            clock,
        }
    }

    /// The counts.
    pub fn shard(&self) -> &ListenerShard {
        &self.shard
    }

    /// Hands over the lines that have gathered.
    pub fn flush(&self) {
        if let Some((log, _)) = &self.log {
            log.flush();
        }
    }
}

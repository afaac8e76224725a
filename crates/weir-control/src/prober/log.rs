//! The lines of health checks in the health-check logs of the load balancers that use a group.
//!
//! Source: Application Load Balancer, "Health check log entries".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use weir_core::address::TargetAddr;
use weir_core::definition::ProtocolVersion;
use weir_core::health::{Probe, UnhealthyReason, Verdict};
use weir_core::logs::{Log, LogFormat};
use weir_core::snapshot::{GroupIndex, Snapshot};
use weir_telemetry::access_log::{LogBuffer, LogWriter};

/// Logs of health checks, with the buffers of their lines.
type Logs = Vec<(Log, LogBuffer)>;

/// The logs of each group, as the current snapshot has them.
#[derive(Clone, Debug)]
pub(super) struct CheckLogs {
    writer: LogWriter,
    of_groups: Rc<RefCell<BTreeMap<GroupIndex, Logs>>>,
}

/// One check and what came of it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) verdict: Verdict,
    /// The status that the target answered with, of HTTP or gRPC, if it did.
    pub(super) status: Option<u16>,
    /// From its begin to its verdict.
    pub(super) latency: Duration,
}

impl CheckLogs {
    pub(super) fn new(writer: LogWriter) -> Self {
        Self { writer, of_groups: Rc::default() }
    }

    /// Goes on with the logs that `snapshot` has.
    pub(super) fn follow(&self, snapshot: &Snapshot) {
        let mut logs: BTreeMap<GroupIndex, Logs> = BTreeMap::new();
        for listener in snapshot.listeners() {
            let Some(log) = &listener.logs.health_check else { continue };
            for group in listener.kind.groups() {
                let logs = logs.entry(*group).or_default();
                // Several listeners of a load balancer share its log.
                if logs.iter().all(|(known, _)| known != log) {
                    logs.push((log.clone(), self.writer.buffer(log.path.clone())));
                }
            }
        }
        self.of_groups.replace(logs);
    }

    /// Writes the line of a check.
    pub(super) fn write(
        &self,
        group: (GroupIndex, &str),
        addr: TargetAddr,
        probe: &Probe,
        checked: &Checked,
    ) {
        let of_groups = self.of_groups.borrow();
        for (log, buffer) in of_groups.get(&group.0).into_iter().flatten() {
            buffer.line(|line| match log.format {
                LogFormat::Elb => append(line, group.1, addr, probe, checked),
                LogFormat::Json => append_json(line, group.1, addr, probe, checked),
            });
            buffer.flush();
        }
    }
}

/// The eight fields of AWS's line.
///
/// differs: a target group has its name in place of an ARN.
fn append(line: &mut Vec<u8>, group: &str, addr: TargetAddr, probe: &Probe, checked: &Checked) {
    let mut text = format!("{} {}", kind(probe), humantime::format_rfc3339_micros(wall_time()));
    let result = if checked.verdict.is_ok() { "PASS" } else { "FAIL" };
    let status = checked.status.map_or("-".to_owned(), |status| status.to_string());
    let reason = reason(checked.verdict).unwrap_or("-");
    write!(text, " {:.6} {addr} {group} {result} {status} {reason}", checked.latency.as_secs_f64())
        .expect("writing to memory succeeds");
    line.write_all(text.as_bytes()).expect("writing to memory succeeds");
}

/// One JSON object with the same facts.
fn append_json(line: &mut Vec<u8>, group: &str, addr: TargetAddr, probe: &Probe, checked: &Checked) {
    let object = json!({
        "time": humantime::format_rfc3339_micros(wall_time()).to_string(),
        "type": kind(probe),
        "latency_seconds": checked.latency.as_secs_f64(),
        "target": addr.to_string(),
        "target_group": group,
        "passed": checked.verdict.is_ok(),
        "status": checked.status,
        "reason": reason(checked.verdict),
    });
    serde_json::to_writer(line, &object).expect("writing to memory succeeds");
}

fn kind(probe: &Probe) -> &'static str {
    match probe {
        Probe::Tcp => "tcp",
        Probe::Tls => "tls",
        Probe::Http { is_tls, version, .. } => match (version, is_tls) {
            (ProtocolVersion::Http1, false) => "http",
            (ProtocolVersion::Http1, true) => "https",
            (ProtocolVersion::Http2, false) => "h2c",
            (ProtocolVersion::Http2, true) => "h2",
            (ProtocolVersion::Grpc, false) => "grpc",
            (ProtocolVersion::Grpc, true) => "grpcs",
        },
    }
}

/// AWS's reason code; `None` of a check that has passed.
fn reason(verdict: Verdict) -> Option<&'static str> {
    Some(match verdict.err()? {
        UnhealthyReason::ConnectTimeout | UnhealthyReason::Timeout => "TimedOut",
        // AWS's code for whatever ends a connection before a valid answer has come.
        UnhealthyReason::ConnectionRefused | UnhealthyReason::FailedHealthChecks => "ConnectionReset",
        // Statuses of gRPC are below those of HTTP.
        UnhealthyReason::ResponseCodeMismatch(..=99) => "GRPCUnexpectedStatus",
        UnhealthyReason::ResponseCodeMismatch(500..=599) => "TargetError",
        UnhealthyReason::ResponseCodeMismatch(_) => "ResponseCodeMismatch",
        // No probe says these.
        UnhealthyReason::Chaos
        | UnhealthyReason::Ejected
        | UnhealthyReason::EngineHealthCheck
        | UnhealthyReason::Paused => "InternalError",
    })
}

#[allow(clippy::disallowed_methods, reason = "log lines carry wall time")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

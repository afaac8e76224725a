//! Health: AWS's states and reason codes, and the counting that moves a target between them.
//!
//! Source: Elastic Load Balancing, API reference `TargetHealth`; "Health checks for your target groups".

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::definition::ProtocolVersion;

/// The health of a target, with its reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Deregistering: it finishes what it has and gets nothing new.
    Draining,
    /// Passing its health checks.
    Healthy,
    /// Registered, and no health check has answered yet.
    Initial(InitialReason),
    /// Not used by any rule or listener, so not checked.
    Unused,
    /// Failing its health checks.
    Unhealthy(UnhealthyReason),
}

/// Why a target is `initial`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InitialReason {
    /// Its engine's own health check has not passed yet. Ours: AWS's targets have no health check of their own.
    EngineHealthChecking,
    /// Registered; its first health checks are under way.
    InitialHealthChecking,
    /// Being registered.
    RegistrationInProgress,
}

/// Why a target is `unhealthy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnhealthyReason {
    /// It is made to flap, on demand. Ours.
    Chaos,
    /// Not even a connection within the timeout: something between weir and the target swallows packets.
    ConnectTimeout,
    /// Its requests failed one after the other. Ours.
    Ejected,
    /// Its engine's own health check fails. Ours: Amazon ECS would replace the task.
    EngineHealthCheck,
    /// The connection failed, or the answer was malformed or cut short.
    FailedHealthChecks,
    /// The connection was refused: the host answers, and nothing listens at that port.
    ConnectionRefused,
    /// The task is paused by its engine. Ours: AWS has no paused targets, and would say `Target.Timeout` later.
    Paused,
    /// The status was outside the matcher: the status last seen.
    ResponseCodeMismatch(u16),
    /// No answer within the timeout.
    Timeout,
}

impl Health {
    /// The state's name in AWS's API: `healthy`, `unhealthy`, `initial`, `draining`, `unused`.
    pub fn state(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Healthy => "healthy",
            Self::Initial(_) => "initial",
            Self::Unused => "unused",
            Self::Unhealthy(_) => "unhealthy",
        }
    }

    /// AWS's reason code; `None` for a healthy target.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Healthy => None,
            Self::Draining => Some("Target.DeregistrationInProgress"),
            Self::Initial(InitialReason::EngineHealthChecking) => Some("Target.EngineHealthChecking"),
            Self::Initial(InitialReason::InitialHealthChecking) => Some("Elb.InitialHealthChecking"),
            Self::Initial(InitialReason::RegistrationInProgress) => Some("Elb.RegistrationInProgress"),
            Self::Unused => Some("Target.NotInUse"),
            Self::Unhealthy(UnhealthyReason::Chaos) => Some("Target.Chaos"),
            Self::Unhealthy(UnhealthyReason::Ejected) => Some("Target.Ejected"),
            Self::Unhealthy(UnhealthyReason::EngineHealthCheck) => Some("Target.FailedEngineHealthCheck"),
            Self::Unhealthy(UnhealthyReason::ConnectionRefused | UnhealthyReason::FailedHealthChecks) => {
                Some("Target.FailedHealthChecks")
            }
            Self::Unhealthy(UnhealthyReason::Paused) => Some("Target.Paused"),
            Self::Unhealthy(UnhealthyReason::ResponseCodeMismatch(_)) => Some("Target.ResponseCodeMismatch"),
            Self::Unhealthy(UnhealthyReason::ConnectTimeout | UnhealthyReason::Timeout) => {
                Some("Target.Timeout")
            }
        }
    }

    /// AWS's description of the reason, for people; more than AWS says where no connection was made.
    pub fn description(self) -> Option<String> {
        match self {
            Self::Healthy => None,
            Self::Draining => Some("Target deregistration is in progress".into()),
            Self::Initial(InitialReason::EngineHealthChecking) => {
                Some("The engine's health check has not passed yet".into())
            }
            Self::Initial(InitialReason::InitialHealthChecking) => {
                Some("Initial health checks in progress".into())
            }
            Self::Initial(InitialReason::RegistrationInProgress) => {
                Some("Target registration is in progress".into())
            }
            Self::Unused => {
                Some("Target group is not configured to receive traffic from the load balancer".into())
            }
            Self::Unhealthy(UnhealthyReason::Chaos) => Some("Made to flap by `weir chaos`".into()),
            Self::Unhealthy(UnhealthyReason::ConnectTimeout) => Some(
                "Connection timed out. Is it filtered? Let this host reach the target's port; dynamic ones are in the ephemeral range, 32768-65535"
                    .into(),
            ),
            Self::Unhealthy(UnhealthyReason::ConnectionRefused) => {
                Some("Connection refused: nothing listens at that port".into())
            }
            Self::Unhealthy(UnhealthyReason::Ejected) => Some("Its requests failed one after the other".into()),
            Self::Unhealthy(UnhealthyReason::EngineHealthCheck) => {
                Some("The engine's health check fails".into())
            }
            Self::Unhealthy(UnhealthyReason::FailedHealthChecks) => Some("Health checks failed".into()),
            Self::Unhealthy(UnhealthyReason::Paused) => Some("The task is paused".into()),
            Self::Unhealthy(UnhealthyReason::ResponseCodeMismatch(status)) => {
                Some(format!("Health checks failed with these codes: [{status}]"))
            }
            Self::Unhealthy(UnhealthyReason::Timeout) => Some("Request timed out".into()),
        }
    }

    /// Whether the target counts as healthy.
    pub fn is_healthy(self) -> bool {
        self == Self::Healthy
    }

    /// Whether the engine has said so: no probe changes it, only the engine's next word.
    pub fn is_said_by_engine(self) -> bool {
        matches!(
            self,
            Self::Initial(InitialReason::EngineHealthChecking)
                | Self::Unhealthy(UnhealthyReason::EngineHealthCheck | UnhealthyReason::Paused)
        )
    }

    /// Whether the target is registered and may be used when its group fails open.
    pub fn is_registered(self) -> bool {
        !matches!(self, Self::Draining)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{} ({reason})", self.state()),
            None => f.write_str(self.state()),
        }
    }
}

/// The result of one probe.
pub type Verdict = Result<(), UnhealthyReason>;

/// How often to probe and how many verdicts in a row move a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes in a row that make an unhealthy target healthy: 2 to 10.
    pub healthy: u8,
    /// Failures in a row that make a target unhealthy: 2 to 10.
    pub unhealthy: u8,
}

/// Counts verdicts in a row and says when they change a target's health.
///
/// A target that has never been healthy turns healthy after a single pass, as AWS documents; the healthy threshold
/// is for recovering. `passes_in_row == 0 || failures_in_row == 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCount {
    passes_in_row: u8,
    failures_in_row: u8,
    /// Whether a single pass is not enough for a target that has never been healthy: it has come and gone lately.
    is_doubtful: bool,
}

impl HealthCount {
    /// A count from the beginning, which doubts as this one does.
    #[must_use]
    pub fn anew(self) -> Self {
        Self { is_doubtful: self.is_doubtful, ..Self::default() }
    }

    /// Whether a single pass is not enough.
    pub fn is_doubtful(self) -> bool {
        self.is_doubtful
    }

    /// The count of a target that has come and gone lately: it is believed after as many passes as one that recovers.
    pub fn doubtful() -> Self {
        Self { is_doubtful: true, ..Self::default() }
    }

    /// Records one verdict about a target whose health is `health`; returns its new health when that changes.
    ///
    /// A draining or unused target is not moved by verdicts.
    pub fn record(&mut self, health: Health, verdict: Verdict, thresholds: Thresholds) -> Option<Health> {
        if verdict.is_ok() {
            self.failures_in_row = 0;
            self.passes_in_row = self.passes_in_row.saturating_add(1);
        } else {
            self.passes_in_row = 0;
            self.failures_in_row = self.failures_in_row.saturating_add(1);
        }
        let next = match (health, verdict) {
            (Health::Initial(_), Ok(())) if !self.is_doubtful || self.passes_in_row >= thresholds.healthy => {
                Health::Healthy
            }
            (Health::Unhealthy(_), Ok(())) if self.passes_in_row >= thresholds.healthy => Health::Healthy,
            (Health::Initial(_) | Health::Healthy, Err(reason))
                if self.failures_in_row >= thresholds.unhealthy =>
            {
                Health::Unhealthy(reason)
            }
            // A new reason for being unhealthy is worth showing.
            (Health::Unhealthy(_), Err(reason)) => Health::Unhealthy(reason),
            _ => health,
        };
        (next != health).then_some(next)
    }
}

/// Settings of a group's health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What a probe does.
    pub probe: Probe,
    /// The port to probe; `None` is AWS's `traffic-port`, each target's own.
    pub port: Option<u16>,
    /// Time between the starts of two probes of one target.
    pub interval: Duration,
    /// Longest time a probe may take; shorter than `interval`.
    pub timeout: Duration,
    /// Verdicts in a row that change a target's health.
    pub thresholds: Thresholds,
}

/// What one probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Sends `GET path`, or calls `path` by gRPC, and judges the status.
    Http {
        /// Whether it is asked over TLS. Nobody asks whose certificate it is.
        is_tls: bool,
        /// Which HTTP is spoken. By gRPC the status that is judged is the call's own.
        version: ProtocolVersion,
        /// The path and query, starting with `/`.
        path: String,
        /// The statuses that pass.
        matcher: StatusMatcher,
        /// The `User-Agent` sent: `ELB-HealthChecker/2.0`, and `/1.0` for Classic.
        user_agent: &'static str,
    },
    /// Connects. Passes when the connection is still open 50 ms later: a published container port is accepted by the
    /// engine's own proxy before the task listens, and closed at once.
    Tcp,
    /// Connects and shakes hands. Nobody asks whose certificate it is.
    Tls,
}

/// A set of HTTP statuses: `200`, `200,202`, `200-299`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusMatcher(Vec<(u16, u16)>);

impl StatusMatcher {
    /// Only 200, AWS's default for applications.
    pub fn ok() -> Self {
        Self(vec![(200, 200)])
    }

    /// All statuses from `low` to `high`.
    pub fn range(low: u16, high: u16) -> Self {
        Self(vec![(low, high)])
    }

    /// Only 12, unimplemented, AWS's default for gRPC: whoever says that is there.
    pub fn grpc_unimplemented() -> Self {
        Self(vec![(12, 12)])
    }

    /// Parses `200`, `200,202` or `200-299`; statuses are 200 to 599. `None` when the text has another form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_within(text, 200..=599)
    }

    /// Parses `12`, `0,12` or `0-99`; statuses of gRPC are 0 to 99. `None` when the text has another form.
    pub fn parse_grpc(text: &str) -> Option<Self> {
        Self::parse_within(text, 0..=99)
    }

    fn parse_within(text: &str, allowed: RangeInclusive<u16>) -> Option<Self> {
        let status = |part: &str| -> Option<u16> {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten().filter(|status| allowed.contains(status))
        };
        let ranges = text.split(',').map(|part| {
            let part = part.trim();
            match part.split_once('-') {
                Some((low, high)) => {
                    Some((status(low.trim())?, status(high.trim())?)).filter(|(l, h)| l <= h)
                }
                None => status(part).map(|s| (s, s)),
            }
        });
        ranges.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether `status` passes.
    pub fn matches(&self, status: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy: 3, unhealthy: 2 };
    const TIMEOUT: Verdict = Err(UnhealthyReason::Timeout);

    fn check(start: Health, verdicts: &[Verdict]) -> Health {
        let mut count = HealthCount::default();
        verdicts
            .iter()
            .fold(start, |health, &verdict| count.record(health, verdict, THRESHOLDS).unwrap_or(health))
    }

    // Conformance: A4.2.10, B7.9, C3.8
    #[test]
    fn a_new_target_is_healthy_after_a_single_pass() {
        assert_eq!(check(Health::Initial(InitialReason::InitialHealthChecking), &[Ok(())]), Health::Healthy);
    }

    // Conformance: A4.2.11
    #[test]
    fn an_unhealthy_target_needs_its_threshold_of_passes_in_a_row() {
        let sick = Health::Unhealthy(UnhealthyReason::Timeout);
        assert_eq!(check(sick, &[Ok(()), Ok(())]), sick);
        assert_eq!(check(sick, &[Ok(()), Ok(()), TIMEOUT, Ok(())]), sick);
        assert_eq!(check(sick, &[Ok(()), Ok(()), Ok(())]), Health::Healthy);
    }

    // Conformance: A4.2.12
    #[test]
    fn a_healthy_target_survives_one_failure_between_passes() {
        assert_eq!(check(Health::Healthy, &[TIMEOUT, Ok(()), TIMEOUT]), Health::Healthy);
        assert_eq!(check(Health::Healthy, &[TIMEOUT, TIMEOUT]), Health::Unhealthy(UnhealthyReason::Timeout));
    }

    #[test]
    fn a_draining_target_is_not_revived_by_a_pass() {
        assert_eq!(check(Health::Draining, &[Ok(()), Ok(()), Ok(())]), Health::Draining);
    }

    // Conformance: A4.1.8, A4.2.14
    #[test]
    fn a_matcher_reads_lists_and_ranges() {
        let matcher = StatusMatcher::parse("200,202, 300-399").unwrap();
        assert!(matcher.matches(200) && matcher.matches(202) && matcher.matches(307));
        assert!(!matcher.matches(201) && !matcher.matches(400));
        for wrong in ["", "abc", "20", "200-", "299-200", "99", "600", "2000"] {
            assert_eq!(StatusMatcher::parse(wrong), None, "{wrong:?}");
        }
    }
}

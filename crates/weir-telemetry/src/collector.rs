//! The collector: sums the shards of all workers into Prometheus's text format.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use weir_core::anomaly::{Opinion, Share};
use weir_core::balance::Disruption;
use weir_core::comparison::Arm;
use weir_core::snapshot::{Group, GroupIndex, Listener, Snapshot};

use crate::arms::{ArmShard, ArmTotals, Arms};
use crate::families::Families;
use crate::histogram::Summed;
use crate::names::{self, Named};
use crate::shard::{ListenerShard, read};

/// Label names with their values.
pub type Labels = Vec<(&'static str, String)>;

/// All counts of the process. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By load balancer and address: one shard per worker. Kept when a listener goes, so that counters never fall.
    listeners: Mutex<BTreeMap<ListenerKey, Vec<Arc<ListenerShard>>>>,
    /// Counts of the control thread, by metric and labels.
    control: Mutex<BTreeMap<(&'static str, Labels), u64>>,
    /// What the control thread has found out, by metric.
    found: Mutex<BTreeMap<&'static str, Vec<(Labels, u64)>>>,
    arms: Arms,
    access_log_lines_lost: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ListenerKey {
    load_balancer: String,
    bind: String,
}

/// What the workers have counted for one listener, summed.
#[derive(Clone, Debug, Default)]
pub struct ListenerTotals {
    /// Requests begun.
    pub requests: u64,
    /// Flows begun.
    pub flows: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Requests or flows that wait for a target now.
    pub holding: u64,
    /// Requests that weir answered with an error of its own.
    pub request_errors: u64,
    /// Time from request head to response end.
    pub request_duration: Summed,
}

impl Telemetry {
    /// A new shard for one worker's counts of one listener.
    pub fn listener_shard(&self, listener: &Listener) -> Arc<ListenerShard> {
        let shard = Arc::new(ListenerShard::default());
        self.listeners().entry(ListenerKey::of(listener)).or_default().push(shard.clone());
        shard
    }

    /// A new shard for one worker's counts of one arm of a comparison.
    pub fn arm_shard(&self, group: GroupIndex, arm: Arm) -> Arc<ArmShard> {
        self.0.arms.shard(group, arm)
    }

    /// What the workers have counted for an arm of a comparison so far.
    pub fn arm_totals(&self, group: GroupIndex, arm: Arm) -> ArmTotals {
        self.0.arms.totals(group, arm)
    }

    /// Counts an event of the control thread.
    pub fn count(&self, (name, _): Named, labels: &[(&'static str, &str)]) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        *self.control().entry((name, labels)).or_default() += 1;
    }

    /// Sets every series of a gauge of the control thread; those that are not among them are gone.
    pub fn set(&self, (name, _): Named, series: Vec<(Labels, u64)>) {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner).insert(name, series);
    }

    /// Counts access-log lines that were lost.
    pub fn count_lost_lines(&self, lines: u64) {
        self.0.access_log_lines_lost.fetch_add(lines, Relaxed);
    }

    /// What the workers have counted for `listener` so far.
    pub fn totals(&self, listener: &Listener) -> ListenerTotals {
        let mut totals = ListenerTotals::default();
        for shard in self.listeners().get(&ListenerKey::of(listener)).into_iter().flatten() {
            totals.requests += read(&shard.requests);
            totals.flows += read(&shard.flows);
            totals.holding += read(&shard.held).saturating_sub(read(&shard.held_ended));
            totals.connections_open +=
                read(&shard.connections).saturating_sub(read(&shard.connections_closed));
            totals.request_errors +=
                shard.lock_reasons().request_errors.iter().map(|(_, count)| count).sum::<u64>();
            totals.request_duration.add(&shard.request_duration);
        }
        totals
    }

    /// Everything in Prometheus's text format, with the targets of `snapshot`.
    pub fn render(&self, snapshot: &Snapshot) -> String {
        let mut families = Families::default();
        self.collect_listeners(&mut families);
        collect_targets(snapshot, &mut families);
        self.0.arms.collect(snapshot, &mut families);
        for ((name, labels), count) in self.control().iter() {
            if let Some(named) = names::ALL.iter().find(|(known, _)| known == name) {
                families.counter(*named, labels, *count);
            }
        }
        for (name, series) in self.0.found.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(named) = names::ALL.iter().find(|(known, _)| known == name) {
                for (labels, value) in series {
                    families.gauge(*named, labels, *value);
                }
            }
        }
        families.counter(names::ACCESS_LOG_LINES_LOST, &[], self.0.access_log_lines_lost.load(Relaxed));
        families.gauge(names::SNAPSHOT_GENERATION, &[], snapshot.generation);
        families.encode()
    }

    fn collect_listeners(&self, families: &mut Families) {
        for (key, shards) in self.listeners().iter() {
            let labels = vec![("load_balancer", key.load_balancer.clone()), ("listener", key.bind.clone())];
            let with = |name, value: &str| {
                let mut labels = labels.clone();
                labels.push((name, value.to_owned()));
                labels
            };
            let sum = |of: fn(&ListenerShard) -> u64| shards.iter().map(|shard| of(shard)).sum::<u64>();
            families.counter(names::CONNECTIONS, &labels, sum(|s| read(&s.connections)));
            let open = sum(|s| read(&s.connections)).saturating_sub(sum(|s| read(&s.connections_closed)));
            families.gauge(names::CONNECTIONS_OPEN, &labels, open);
            families.counter(names::REQUESTS, &labels, sum(|s| read(&s.requests)));
            families.counter(names::REQUESTS_GRPC, &labels, sum(|s| read(&s.requests_grpc)));
            families.counter(names::REQUESTS_IPV6, &labels, sum(|s| read(&s.requests_ipv6)));
            for (name, which, value, of) in SPLIT {
                families.counter(name, &with(which, value), sum(of));
            }
            families.counter(names::REQUESTS_NON_COMPLIANT, &labels, sum(|s| read(&s.requests_odd)));
            families.counter(names::REQUESTS_NON_STICKY, &labels, sum(|s| read(&s.requests_non_sticky)));
            families.counter(names::RETRIES, &labels, sum(|s| read(&s.retries)));
            families.counter(names::RETRIES_REFUSED, &labels, sum(|s| read(&s.retries_refused)));
            families.counter(names::HELD, &labels, sum(|s| read(&s.held)));
            let waiting = sum(|s| read(&s.held)).saturating_sub(sum(|s| read(&s.held_ended)));
            families.gauge(names::HOLDING, &labels, waiting);
            families.counter(names::FLOWS, &labels, sum(|s| read(&s.flows)));
            let open = sum(|s| read(&s.flows)).saturating_sub(sum(|s| read(&s.flows_closed)));
            families.gauge(names::FLOWS_OPEN, &labels, open);
            for (class, text) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
                for (source, count) in [
                    ("target", shards.iter().map(|s| read(&s.responses_of_targets[class])).sum()),
                    ("weir", shards.iter().map(|s| read(&s.responses_of_weir[class])).sum()),
                ] {
                    let mut labels = with("source", source);
                    labels.push(("class", text.to_owned()));
                    families.counter(names::RESPONSES, &labels, count);
                }
            }
            let (mut durations, mut response_times) = (Summed::default(), Summed::default());
            for shard in shards {
                durations.add(&shard.request_duration);
                response_times.add(&shard.target_response_time);
                let reasons = shard.lock_reasons();
                for (reason, count) in &reasons.request_errors {
                    families.add_to_counter(names::REQUEST_ERRORS, &with("reason", reason), *count);
                }
                for (action, count) in &reasons.actions {
                    families.add_to_counter(names::ACTIONS, &with("action", action), *count);
                }
                for (status, count) in &reasons.generated_statuses {
                    let labels = with("status", &status.to_string());
                    families.add_to_counter(names::GENERATED_RESPONSES, &labels, *count);
                }
                for (reason, count) in &reasons.datagrams_dropped {
                    families.add_to_counter(names::DATAGRAMS_DROPPED, &with("reason", reason), *count);
                }
                for (reason, count) in &reasons.flow_ends {
                    families.add_to_counter(names::FLOW_ENDS, &with("reason", reason), *count);
                }
                for (reason, count) in &reasons.proxy_header_errors {
                    families.add_to_counter(names::PROXY_HEADER_ERRORS, &with("reason", reason), *count);
                }
                for (reason, count) in &reasons.handshake_errors {
                    families.add_to_counter(names::HANDSHAKE_ERRORS, &with("reason", reason), *count);
                }
            }
            families.histogram(names::REQUEST_DURATION, &labels, &durations);
            families.histogram(names::TARGET_RESPONSE_TIME, &labels, &response_times);
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, BTreeMap<ListenerKey, Vec<Arc<ListenerShard>>>> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> std::sync::MutexGuard<'_, BTreeMap<(&'static str, Labels), u64>> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count of one shard.
type Count = fn(&ListenerShard) -> u64;

/// Counters of a listener that are split in two: name, label, its value, and the count.
const SPLIT: [(Named, &str, &str, Count); 9] = [
    (names::FLOW_BYTES, "side", "client", |s| read(&s.flow_bytes_of_client)),
    (names::FLOW_BYTES, "side", "target", |s| read(&s.flow_bytes_of_target)),
    (names::REQUEST_BYTES, "side", "client", |s| read(&s.request_bytes_of_client)),
    (names::REQUEST_BYTES, "side", "target", |s| read(&s.request_bytes_of_target)),
    (names::REQUESTS_INVALID_NAMES, "fields", "dropped", |s| read(&s.invalid_names_dropped)),
    (names::REQUESTS_INVALID_NAMES, "fields", "forwarded", |s| read(&s.invalid_names_forwarded)),
    (names::TARGET_CONNECTION_ERRORS, "step", "dial", |s| read(&s.target_dial_errors)),
    (names::TARGET_CONNECTION_ERRORS, "step", "port", |s| read(&s.target_port_errors)),
    (names::TARGET_CONNECTION_ERRORS, "step", "tls", |s| read(&s.target_tls_errors)),
];

impl ListenerKey {
    fn of(listener: &Listener) -> Self {
        Self { load_balancer: listener.load_balancer.to_string(), bind: listener.bind.to_string() }
    }
}

/// Series of targets come from the snapshot, so those of a departed target are gone with it.
fn collect_targets(snapshot: &Snapshot, families: &mut Families) {
    for group in snapshot.groups() {
        let name = group.settings.name.to_string();
        let mut by_health: BTreeMap<&str, u64> =
            ["draining", "healthy", "initial", "unhealthy", "unused"].map(|health| (health, 0)).into();
        for member in &group.members {
            *by_health.entry(member.health.state()).or_default() += 1;
            let target = &member.target;
            let labels = [("target_group", name.clone()), ("target", target.id.to_string())];
            families.counter(names::TARGET_PICKS, &labels, target.tally.picked());
            families.counter(names::TARGET_PICKS_UNHEALTHY, &labels, target.tally.picked_unhealthy());
            families.counter(names::TARGET_FAILURES, &labels, target.tally.failed());
            families.gauge(names::TARGET_IN_FLIGHT, &labels, u64::from(target.tally.in_flight()));
            if group.settings.load_probe.is_some() {
                let (answered, unanswered) = (target.reported.answered(), target.reported.unanswered());
                for (result, count) in [("answered", answered), ("unanswered", unanswered)] {
                    let [group, target] = labels.clone();
                    families.counter(
                        names::TARGET_LOAD_PROBES,
                        &[group, target, ("result", result.to_owned())],
                        count,
                    );
                }
            }
        }
        collect_group(group, &name, families);
        for (health, count) in by_health {
            families.gauge(
                names::TARGETS,
                &[("target_group", name.clone()), ("health", health.to_owned())],
                count,
            );
        }
    }
}

/// What concerns a group as a whole.
fn collect_group(group: &Group, name: &str, families: &mut Families) {
    let labels = [("target_group", name.to_owned())];
    let count = |is: fn(&Opinion) -> bool| group.members.iter().filter(|m| is(&m.opinion)).count() as u64;
    families.gauge(names::TARGETS_ANOMALOUS, &labels, count(|opinion| opinion.is_anomalous));
    let mitigated = if group.settings.mitigates_anomalies { count(|o| o.share < Share::FULL) } else { 0 };
    families.gauge(names::TARGETS_MITIGATED, &labels, mitigated);
    if let Some(Disruption { moved, needless }) = group.disruption() {
        families.ratio(names::FLOWS_MOVED, &labels, moved);
        families.ratio(names::FLOWS_MOVED_NEEDLESSLY, &labels, needless);
    }
    let thresholds = group.settings.thresholds;
    for (what, minimum) in [("dns", thresholds.dns), ("routing", thresholds.routing)] {
        let is_unhealthy = !minimum.is_met(group.counts.healthy, group.counts.registered);
        let labels = [("target_group", name.to_owned()), ("state", what.to_owned())];
        families.gauge(names::TARGET_GROUP_UNHEALTHY, &labels, u64::from(is_unhealthy));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::address::ListenAddr;
    use weir_core::definition::ListenerKind;
    use weir_core::name::LoadBalancerName;
    use weir_core::snapshot::ListenerIndex;

    use super::*;
    use crate::ResponseSource;

    fn listener() -> Listener {
        Listener {
            index: ListenerIndex(0),
            load_balancer: LoadBalancerName::parse("edge").unwrap(),
            idle_timeout: Duration::from_secs(60),
            logs: weir_core::logs::Logs::default(),
            http: weir_core::definition::HttpSettings::default(),
            bind: ListenAddr("127.0.0.1:8080".parse().unwrap()),
            proxies: None,
            kind: ListenerKind::Network(weir_core::definition::NetworkListener::new(
                weir_core::definition::NetworkProtocol::Tcp,
                weir_core::rule::Forward::to(GroupIndex(0)),
            )),
            rule_index: weir_core::rule::RuleIndex::default(),
            logins: Arc::default(),
        }
    }

    // Conformance: A11.12
    #[test]
    fn the_scraper_sums_what_the_workers_count() {
        let telemetry = Telemetry::default();
        let workers = [telemetry.listener_shard(&listener()), telemetry.listener_shard(&listener())];
        for worker in &workers {
            worker.request_began();
            worker.responded(ResponseSource::Weir, 503);
            worker.request_failed("no_target");
            worker.request_ended(Duration::from_millis(2), 3, 4);
        }
        let text = telemetry.render(&Snapshot::default());
        for line in [
            r#"weir_requests_total{load_balancer="edge",listener="127.0.0.1:8080"} 2"#,
            r#"weir_request_errors_total{load_balancer="edge",listener="127.0.0.1:8080",reason="no_target"} 2"#,
            r#"weir_responses_total{load_balancer="edge",listener="127.0.0.1:8080",source="weir",class="5xx"} 2"#,
            r#"weir_request_duration_seconds_count{load_balancer="edge",listener="127.0.0.1:8080"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert_eq!(telemetry.totals(&listener()).requests, 2);
    }

    #[test]
    fn a_gauge_that_is_set_again_forgets_series_that_are_gone() {
        let telemetry = Telemetry::default();
        let series = |file: &str| (vec![("certificate", file.to_owned())], 1_700_000_000);
        telemetry.set(names::CERTIFICATE_EXPIRY, vec![series("a.pem"), series("b.pem")]);
        telemetry.set(names::CERTIFICATE_EXPIRY, vec![series("b.pem")]);
        let text = telemetry.render(&Snapshot::default());
        assert!(
            text.contains(r#"weir_certificate_expiry_timestamp_seconds{certificate="b.pem"} 1700000000"#)
        );
        assert!(!text.contains("a.pem"), "{text}");
    }

    #[test]
    fn every_metric_has_weir_s_prefix_and_a_unit_or_count() {
        for (name, help) in names::ALL {
            assert!(name.starts_with("weir_") && help.ends_with('.'), "{name}");
        }
    }
}

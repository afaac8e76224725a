//! The prober: one task per target that asks it whether it is well.

mod ask;
mod http1;
mod http2;
mod log;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use weir_core::address::TargetAddr;
use weir_core::definition::ProxyVersion;
use weir_core::definition::TargetGroup;
use weir_core::health::{Health, HealthCheck, Probe, Verdict};
use weir_core::snapshot::{Group, Member, Snapshot};
use weir_core::target::TargetSerial;
use weir_net::reactor::Reactor;
use weir_telemetry::access_log::LogWriter;
use weir_tls::TargetSide;

use self::ask::ask;
use self::log::{CheckLogs, Checked};

/// The first pause between two probes of a target that has not passed yet. Ours: AWS waits a whole interval.
const EAGER_PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause.
const EAGER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// All probes under way.
#[derive(Debug)]
pub(crate) struct Prober {
    verdicts: UnboundedSender<(TargetSerial, Verdict)>,
    tls: TargetSide,
    reactor: Reactor,
    logs: CheckLogs,
    probes: BTreeMap<TargetSerial, Running>,
}

#[derive(Debug)]
struct Running {
    /// What its plan was made from.
    settings: Arc<TargetGroup>,
    own_path: Option<Arc<str>>,
    /// Whether nobody has found out yet how the target is.
    is_initial: Rc<Cell<bool>>,
    task: AbortHandle,
}

impl Running {
    /// Whether it does what is to be done for `member`.
    fn serves(&self, group: &Group, member: &Member) -> bool {
        let is_same_check = Arc::ptr_eq(&self.settings, &group.settings)
            || self.settings.health_check == group.settings.health_check;
        is_same_check && self.own_path == member.health_check_path
    }
}

/// What one target's probes do.
#[derive(Clone, Debug)]
struct Plan {
    addr: TargetAddr,
    check: HealthCheck,
    /// Whether a connection begins with a header of the PROXY protocol.
    begins_with_header: bool,
    tls: TargetSide,
    reactor: Reactor,
}

impl Prober {
    /// A prober that tells its verdicts to `verdicts`, and writes logs of its checks by `writer`.
    pub(crate) fn new(
        verdicts: UnboundedSender<(TargetSerial, Verdict)>,
        writer: LogWriter,
        reactor: Reactor,
    ) -> Self {
        let logs = CheckLogs::new(writer);
        Self { verdicts, tls: TargetSide::new(), reactor, logs, probes: BTreeMap::new() }
    }

    /// Goes on from `before` to `after`, and probes exactly its targets that are to be probed. Probes whose plan is
    /// unchanged go on.
    pub(crate) fn follow(&mut self, before: &Snapshot, after: &Snapshot) {
        if !before.listeners().eq(after.listeners()) {
            self.logs.follow(after);
        }
        for (before, after) in after.changed_groups(before) {
            let members = before.into_iter().flat_map(|group| &group.members);
            let mut ended: BTreeSet<TargetSerial> = members.map(|member| member.target.serial).collect();
            if let Some(group) = after {
                for member in group.members.iter().filter(|member| is_probed(group, member)) {
                    ended.remove(&member.target.serial);
                    self.probe(group, member);
                }
            }
            for running in ended.iter().filter_map(|serial| self.probes.remove(serial)) {
                running.task.abort();
            }
        }
    }

    fn probe(&mut self, group: &Group, member: &Member) {
        let serial = member.target.serial;
        let is_initial = matches!(member.health, Health::Initial(_));
        if let Some(running) = self.probes.get(&serial).filter(|running| running.serves(group, member)) {
            running.is_initial.set(is_initial);
            return;
        }
        let is_initial = Rc::new(Cell::new(is_initial));
        let (verdicts, logs) = (self.verdicts.clone(), self.logs.clone());
        let plan = self.plan(group, member);
        let tell = {
            let (addr, probe) = (plan.addr, plan.check.probe.clone());
            let (index, settings) = (group.index, group.settings.clone());
            move |checked: &Checked| {
                logs.write((index, settings.name.as_str()), addr, &probe, checked);
                verdicts.send((serial, checked.verdict)).is_ok()
            }
        };
        let (interval, has_passed) = (plan.check.interval, member.health.is_healthy());
        let asked = async move || ask(&plan).await;
        let task = watch(interval, asked, tell, has_passed, is_initial.clone());
        let new = Running {
            settings: group.settings.clone(),
            own_path: member.health_check_path.clone(),
            is_initial,
            task: tokio::task::spawn_local(task).abort_handle(),
        };
        if let Some(outdated) = self.probes.insert(serial, new) {
            outdated.task.abort();
        }
    }

    fn plan(&self, group: &Group, member: &Member) -> Plan {
        let mut check = group.settings.health_check.clone();
        if let (Probe::Http { path, .. }, Some(own)) = (&mut check.probe, &member.health_check_path) {
            *path = own.to_string();
        }
        let addr = match check.port {
            Some(port) => TargetAddr(SocketAddr::new(member.target.addr.ip(), port)),
            None => member.target.addr,
        };
        Plan {
            addr,
            check,
            begins_with_header: group.settings.flows.proxy_protocol == Some(ProxyVersion::V2),
            tls: self.tls.clone(),
            reactor: self.reactor.clone(),
        }
    }
}

/// Only targets of used groups are probed, and neither those that leave nor those that their engine has spoken about.
fn is_probed(group: &Group, member: &Member) -> bool {
    let is_out = matches!(member.health, Health::Draining | Health::Unused);
    group.is_used && !is_out && !member.health.is_said_by_engine()
}

/// Has one target asked for as long as somebody hears what `tell` tells.
///
/// Until its first pass, and for as long as one pass is not enough, it is asked eagerly, so that a new task is used as
/// soon as it answers; but failures count only once an interval, as if it had been asked no more often than that.
async fn watch(
    interval: Duration,
    ask: impl AsyncFn() -> Checked,
    tell: impl Fn(&Checked) -> bool,
    mut has_passed: bool,
    is_initial: Rc<Cell<bool>>,
) {
    let mut next_due = Instant::now();
    let mut pause = EAGER_PAUSE;
    loop {
        let checked = ask().await;
        let (is_due, is_passed) = (Instant::now() >= next_due, checked.verdict.is_ok());
        has_passed |= is_passed;
        if is_due || is_passed {
            // The interval counts from probe to probe, whatever time the answer took.
            next_due = next_due.max(Instant::now() - interval) + interval;
            if !tell(&checked) {
                return;
            }
        }
        // What this verdict has led to is known when others have had their turn.
        tokio::task::yield_now().await;
        if has_passed && !is_initial.get() {
            sleep_until(next_due).await;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(EAGER_PAUSE_MAX).min(interval);
        }
    }
}

#[cfg(test)]
mod tests;

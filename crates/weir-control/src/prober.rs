//! The prober: one task per target that asks it whether it is well.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use weir_core::address::TargetAddr;
use weir_core::definition::TargetGroup;
use weir_core::health::{Health, HealthCheck, Probe, UnhealthyReason, Verdict};
use weir_core::snapshot::{Group, Member, Snapshot};
use weir_core::target::TargetSerial;
use weir_net::dial::{DialError, dial};
use weir_tls::{Alpn, TargetSide};

/// How long a connection must stay open to pass a TCP probe: a published container port is accepted by the engine's
/// own proxy before the task listens, and closed at once.
const STAYS_OPEN: Duration = Duration::from_millis(50);

/// The first pause between two probes of a target that has not passed yet. Ours: AWS waits a whole interval.
const EAGER_PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause.
const EAGER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bytes of a response head that a probe reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a response that a probe reads.
const HEADER_LINES_MAX: usize = 128;

/// All probes under way.
#[derive(Debug)]
pub(crate) struct Prober {
    verdicts: UnboundedSender<(TargetSerial, Verdict)>,
    tls: TargetSide,
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
    tls: TargetSide,
}

impl Prober {
    /// A prober that tells its verdicts to `verdicts`.
    pub(crate) fn new(verdicts: UnboundedSender<(TargetSerial, Verdict)>) -> Self {
        Self { verdicts, tls: TargetSide::new(), probes: BTreeMap::new() }
    }

    /// Goes on from `before` to `after`, and probes exactly its targets that are to be probed. Probes whose plan is
    /// unchanged go on.
    pub(crate) fn follow(&mut self, before: &Snapshot, after: &Snapshot) {
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
        let (has_passed, verdicts) = (member.health.is_healthy(), self.verdicts.clone());
        let task = watch(self.plan(group, member), serial, has_passed, is_initial.clone(), verdicts);
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
        Plan { addr, check, tls: self.tls.clone() }
    }
}

/// Only targets of used groups are probed, and neither those that leave nor those that their engine has spoken about.
fn is_probed(group: &Group, member: &Member) -> bool {
    let is_out = matches!(member.health, Health::Draining | Health::Unused);
    group.is_used && !is_out && !member.health.is_said_by_engine()
}

/// Probes one target for as long as the task lives.
///
/// Until its first pass, and for as long as one pass is not enough, it is asked eagerly, so that a new task is used as
/// soon as it answers; but failures count only once an interval, as if it had been asked no more often than that.
async fn watch(
    plan: Plan,
    serial: TargetSerial,
    mut has_passed: bool,
    is_initial: Rc<Cell<bool>>,
    verdicts: UnboundedSender<(TargetSerial, Verdict)>,
) {
    let mut next_due = Instant::now();
    let mut pause = EAGER_PAUSE;
    loop {
        let verdict = ask(&plan).await;
        let is_due = Instant::now() >= next_due;
        has_passed |= verdict.is_ok();
        if is_due || verdict.is_ok() {
            // The interval counts from probe to probe, whatever time the answer took.
            next_due = next_due.max(Instant::now() - plan.check.interval) + plan.check.interval;
            if verdicts.send((serial, verdict)).is_err() {
                return;
            }
        }
        // What this verdict has led to is known when others have had their turn.
        tokio::task::yield_now().await;
        if has_passed && !is_initial.get() {
            sleep_until(next_due).await;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(EAGER_PAUSE_MAX).min(plan.check.interval);
        }
    }
}

/// One probe.
async fn ask(plan: &Plan) -> Verdict {
    let deadline = Instant::now() + plan.check.timeout;
    let stream = match timeout_at(deadline, dial(plan.addr)).await {
        Ok(Ok(stream)) => stream,
        Err(_) | Ok(Err(DialError::TimedOut)) => return Err(UnhealthyReason::ConnectTimeout),
        Ok(Err(DialError::Failed(error))) if error.kind() == ErrorKind::ConnectionRefused => {
            return Err(UnhealthyReason::ConnectionRefused);
        }
        Ok(Err(DialError::Failed(_) | DialError::SelfConnected)) => {
            return Err(UnhealthyReason::FailedHealthChecks);
        }
    };
    let asked = async {
        match &plan.check.probe {
            Probe::Tcp => stays_open(stream).await,
            Probe::Http { is_tls, path, matcher, user_agent } => {
                let request = request(plan.addr, *is_tls, path, user_agent);
                let status = if *is_tls {
                    let secured = plan.tls.connect(stream, None, &[Alpn::Http1]).await;
                    let (stream, _) = secured.map_err(|_| UnhealthyReason::FailedHealthChecks)?;
                    status_of(stream, &request).await?
                } else {
                    status_of(stream, &request).await?
                };
                if matcher.matches(status) {
                    Ok(())
                } else {
                    Err(UnhealthyReason::ResponseCodeMismatch(status))
                }
            }
        }
    };
    timeout_at(deadline, asked).await.unwrap_or(Err(UnhealthyReason::Timeout))
}

async fn stays_open(mut stream: TcpStream) -> Verdict {
    match timeout(STAYS_OPEN, stream.read(&mut [0; 1])).await {
        // Silent or talkative, but there.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0) | Err(_)) => Err(UnhealthyReason::FailedHealthChecks),
    }
}

fn request(addr: TargetAddr, is_tls: bool, path: &str, user_agent: &str) -> String {
    let usual_port = if is_tls { 443 } else { 80 };
    let host = if addr.port() == usual_port { addr.ip().to_string() } else { addr.to_string() };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: {user_agent}\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
    )
}

/// Sends a request on `S`, a connection of its own with or without TLS, and reads the status.
async fn status_of<S>(mut stream: S, request: &str) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |_| UnhealthyReason::FailedHealthChecks;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await.map_err(failed)? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(UnhealthyReason::FailedHealthChecks);
        }
        let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
        let mut response = httparse::Response::new(&mut lines);
        match response.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                return response.code.ok_or(UnhealthyReason::FailedHealthChecks);
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Err(UnhealthyReason::FailedHealthChecks),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use weir_core::health::{StatusMatcher, Thresholds};

    use super::*;

    fn plan(addr: SocketAddr, probe: Probe) -> Plan {
        let check = HealthCheck {
            probe,
            port: None,
            interval: Duration::from_secs(30),
            timeout: Duration::from_millis(500),
            thresholds: Thresholds { healthy: 5, unhealthy: 2 },
        };
        Plan { addr: TargetAddr(addr), check, tls: TargetSide::new() }
    }

    fn http() -> Probe {
        asked(false)
    }

    fn asked(is_tls: bool) -> Probe {
        Probe::Http {
            is_tls,
            path: "/healthz".into(),
            matcher: StatusMatcher::ok(),
            user_agent: "ELB-HealthChecker/2.0",
        }
    }

    /// A target that gives every connection the same bytes, then closes it or holds it open.
    async fn target(bytes: &'static [u8], holds_open: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(bytes).await.unwrap();
                if holds_open {
                    held.push(stream);
                }
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_http_probe_judges_the_status() {
        let well = target(b"HTTP/1.1 200 OK\r\n\r\n", true).await;
        assert_eq!(ask(&plan(well, http())).await, Ok(()));
        let sick = target(b"HTTP/1.1 503 No\r\n\r\n", true).await;
        assert_eq!(ask(&plan(sick, http())).await, Err(UnhealthyReason::ResponseCodeMismatch(503)));
    }

    /// A target that speaks TLS with a certificate that nobody vouches for, and answers each connection the same.
    async fn secured_target(bytes: &'static [u8]) -> SocketAddr {
        let tls = crate::certificates::self_signed();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok((mut stream, _)) = tls.accept(stream).await {
                    stream.write_all(bytes).await.unwrap();
                    stream.read_to_end(&mut Vec::new()).await.ok();
                }
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_https_probe_judges_the_status_behind_whatever_certificate() {
        let well = secured_target(b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(ask(&plan(well, asked(true))).await, Ok(()));
        let sick = secured_target(b"HTTP/1.1 503 No\r\n\r\n").await;
        assert_eq!(ask(&plan(sick, asked(true))).await, Err(UnhealthyReason::ResponseCodeMismatch(503)));
        let plain = target(b"HTTP/1.1 200 OK\r\n\r\n", true).await;
        assert_eq!(ask(&plan(plain, asked(true))).await, Err(UnhealthyReason::FailedHealthChecks));
        assert_eq!(ask(&plan(well, asked(false))).await, Err(UnhealthyReason::FailedHealthChecks));
    }

    #[test]
    fn the_host_of_a_probe_has_the_port_unless_it_is_the_usual_one() {
        let host = |addr: &str, is_tls| {
            let request = request(TargetAddr(addr.parse().unwrap()), is_tls, "/", "a");
            request.split("Host: ").nth(1).unwrap().split('\r').next().unwrap().to_owned()
        };
        assert_eq!(host("10.0.0.1:443", true), "10.0.0.1");
        assert_eq!(host("10.0.0.1:443", false), "10.0.0.1:443");
        assert_eq!(host("10.0.0.1:80", false), "10.0.0.1");
        assert_eq!(host("10.0.0.1:8443", true), "10.0.0.1:8443");
    }

    #[tokio::test]
    async fn nonsense_and_silence_and_refusal_each_fail_for_their_own_reason() {
        let nonsense = target(b"220 smtp ready\r\n", true).await;
        assert_eq!(ask(&plan(nonsense, http())).await, Err(UnhealthyReason::FailedHealthChecks));
        let silent = target(b"", true).await;
        assert_eq!(ask(&plan(silent, http())).await, Err(UnhealthyReason::Timeout));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(ask(&plan(closed, http())).await, Err(UnhealthyReason::ConnectionRefused));
    }

    #[tokio::test]
    async fn packets_that_are_swallowed_are_told_from_a_target_that_is_silent() {
        // A full backlog drops what comes: the handshake gets no answer, as behind a filter.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let _fills_it = TcpStream::connect(addr).await.unwrap();
        assert_eq!(ask(&plan(addr, http())).await, Err(UnhealthyReason::ConnectTimeout));
    }

    #[tokio::test]
    async fn a_port_that_closes_what_it_accepts_does_not_pass_a_tcp_probe() {
        let proxy_without_task = target(b"", false).await;
        assert_eq!(
            ask(&plan(proxy_without_task, Probe::Tcp)).await,
            Err(UnhealthyReason::FailedHealthChecks)
        );
        let silent = target(b"", true).await;
        assert_eq!(ask(&plan(silent, Probe::Tcp)).await, Ok(()));
        let talkative = target(b"220 ready\r\n", true).await;
        assert_eq!(ask(&plan(talkative, Probe::Tcp)).await, Ok(()));
    }
}

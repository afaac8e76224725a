//! The record of one request: what it counts as, and its line in the access log.
//!
//! Source: Application Load Balancer, "Access log entries"; Classic Load Balancer, "Access log entries".

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_core::logs::LogFormat;
use weir_core::rule::Priority;
use weir_core::sticky::Affinity;
use weir_core::target::Target;
use weir_core::time::Timestamp;
use weir_telemetry::{ArmShard, Hold, ListenerShard};

use self::details::Details;
use crate::codec::edits::HeaderText;
use crate::codec::phase::{ConnectionState, Phase};
use crate::codec::request::{Origin, Request};
use crate::codec::response::Response;
use crate::error::{Culprit, RequestError};

pub mod connection;
mod details;
mod line;
mod observer;

pub use observer::Observer;

/// The record of one request. Counted and logged when it is dropped: with the end of the response's body, or when the
/// client has gone away.
#[derive(Debug)]
pub struct Record(Box<Inner>);

#[derive(Debug)]
struct Inner {
    observer: Rc<Observer>,
    connection: Option<Rc<ConnectionState>>,
    began: Timestamp,
    dispatched: Option<Timestamp>,
    target_answered: Option<Timestamp>,
    /// 0 until the head of a response is known.
    status: u16,
    sent_bytes: u64,
    is_cut_short: bool,
    has_waited: bool,
    /// Where it counts, in which bucket, and since when, if it is in an arm of a comparison.
    arm: Option<(Arc<ArmShard>, u8, Timestamp)>,
    /// Only where there is a log to write it to.
    details: Option<Box<Details>>,
}

impl Record {
    /// Begins the record of a request whose head has just been read.
    pub fn begin(observer: &Rc<Observer>, request: &Request) -> Self {
        observer.shard.request_began();
        if request.client().ip().to_canonical().is_ipv6() {
            observer.shard.request_is_ipv6();
        }
        if request.is_http2() && request.is_grpc() {
            observer.shard.request_is_grpc();
        }
        if !request.parts().oddities.is_empty() {
            observer.shard.request_was_odd();
        }
        if request.parts().has_invalid_names {
            let settings = request.parts().origin.settings;
            observer.shard.request_had_invalid_names(settings.drop_invalid_header_fields);
        }
        let details = observer.log.is_some().then(|| Box::new(Details::of(request)));
        Self::new(observer, Some(request.parts().connection.clone()), details)
    }

    /// Begins the record of something that was no request.
    fn begin_refused(observer: &Rc<Observer>, origin: &Origin) -> Self {
        observer.shard.request_began();
        let details = observer.log.is_some().then(|| Box::new(Details::refused(origin)));
        Self::new(observer, None, details)
    }

    fn new(
        observer: &Rc<Observer>,
        connection: Option<Rc<ConnectionState>>,
        details: Option<Box<Details>>,
    ) -> Self {
        Self(Box::new(Inner {
            observer: observer.clone(),
            connection,
            began: observer.clock.now(),
            dispatched: None,
            target_answered: None,
            status: 0,
            sent_bytes: 0,
            is_cut_short: false,
            has_waited: false,
            arm: None,
            details,
        }))
    }

    /// The counts of the request's listener.
    pub fn shard(&self) -> &ListenerShard {
        &self.0.observer.shard
    }

    /// When the request's head had been read.
    pub fn began(&self) -> Timestamp {
        self.0.began
    }

    /// The request waits for a target, until the hold is dropped.
    pub(crate) fn hold(&mut self) -> Hold<'_> {
        self.0.has_waited = true;
        self.enter(Phase::Held);
        self.0.observer.shard.hold()
    }

    /// The wait is over.
    pub(crate) fn held(&self) {
        self.enter(Phase::Answering);
    }

    fn enter(&self, phase: Phase) {
        if let Some(connection) = &self.0.connection {
            connection.enter(phase);
        }
    }

    /// Whether the request had to wait for a target.
    pub(crate) fn has_waited(&self) -> bool {
        self.0.has_waited
    }

    /// Which rule matched (`None`: the default rule) and what its action is called.
    pub fn matched(&mut self, rule: Option<Priority>, action: &'static str) {
        self.count_action(action);
        if let Some(details) = &mut self.0.details {
            details.rule = rule.map_or("0".to_owned(), |priority| priority.to_string());
            details.action = action;
        }
    }

    /// Forwards are counted by their targets, and what asks who it is by what follows.
    fn count_action(&self, action: &'static str) {
        if matches!(action, "redirect" | "fixed-response") {
            self.0.observer.shard.answered_by_action(action);
        }
    }

    /// Whoever asks has passed, and this is what the rule's next action is called.
    pub fn passed(&mut self, action: &'static str) {
        self.count_action(action);
        if let Some(details) = &mut self.0.details {
            details.is_authenticated = true;
            details.action = action;
        }
    }

    /// The rule's transforms have been applied to the request, and made this of its host.
    pub fn transformed(&mut self, request: &Request, host: Option<&HeaderText>) {
        let url = &request.parts().rewritten_url;
        if let Some(details) = &mut self.0.details
            && (host.is_some() || url.is_some())
        {
            details.action = "forward,rewrite";
            details.transform_status = Some("TransformSuccess");
            details.transformed_host = host.cloned();
            details.transformed_url.clone_from(url);
        }
    }

    /// What the client's cookies came to, and the target that it goes to.
    pub fn stuck(&mut self, affinity: &Affinity, target: &Target) {
        if affinity.misses(target) {
            self.0.observer.shard.request_was_not_sticky();
        }
        if let Some(details) = &mut self.0.details
            && affinity.has_unreadable_group_cookie()
        {
            details.error_reason = Some("AWSALBTGCookieInvalid");
        }
    }

    /// The trace id that the target is told.
    pub fn traced(&mut self, id: HeaderText) {
        if let Some(details) = &mut self.0.details {
            details.trace_id = Some(id);
        }
    }

    /// Where the client is sent.
    pub fn redirected(&mut self, location: &str) {
        if let Some(details) = &mut self.0.details {
            details.redirect_url = Some(location.to_owned());
        }
    }

    /// The request goes to `target`, `at` this moment.
    pub(crate) fn dispatched(&mut self, target: &Arc<Target>, at: Timestamp) {
        self.0.dispatched = Some(at);
        if let Some(details) = &mut self.0.details {
            details.target = Some(target.clone());
            details.attempts += 1;
        }
    }

    /// What comes of the request counts for an arm of a comparison, too, in that bucket, and takes time `since` this moment.
    pub(crate) fn compared(&mut self, shard: Arc<ArmShard>, bucket: u8, since: Timestamp) {
        self.0.arm = Some((shard, bucket, since));
    }

    /// The request was refused or lost.
    pub fn failed(&mut self, error: &RequestError) {
        self.0.observer.shard.request_failed(error.reason());
        // What a client does wrong says nothing of an arm.
        if let (Some((arm, bucket, _)), true) = (&self.0.arm, error.culprit() != Culprit::Client) {
            arm.failed(*bucket);
        }
        let oddities = error.oddities();
        if !oddities.is_empty() {
            self.0.observer.shard.request_was_odd();
        }
        if let Some(details) = &mut self.0.details {
            details.oddities = details.oddities.with_all(oddities);
            details.error_reason = Some(error.logged());
            if let RequestError::TransformFailed(error) = error {
                details.transform_status = Some(error.as_str());
            }
        }
    }

    /// The head of the response is known.
    pub fn answered(&mut self, response: &Response) {
        let inner = &mut *self.0;
        inner.status = response.status();
        inner.observer.shard.responded(response.source(), inner.status);
        if response.source() == weir_telemetry::ResponseSource::Target {
            let now = inner.observer.clock.now();
            inner.target_answered = Some(now);
            match &inner.arm {
                Some((arm, bucket, _)) if inner.status >= 500 => arm.failed(*bucket),
                Some((arm, bucket, since)) => arm.answered(*bucket, now.since(*since)),
                None => {}
            }
            inner.observer.shard.target_responded(now.since(inner.dispatched.unwrap_or(inner.began)));
            if let Some(details) = &mut inner.details {
                details.target_status = Some(inner.status);
            }
        }
    }

    /// Bytes of the response's body have gone to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.0.sent_bytes += bytes as u64;
    }

    /// The target ended in the middle of the response's body.
    pub(crate) fn cut_short(&mut self) {
        self.0.is_cut_short = true;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let now = self.observer.clock.now();
        self.observer.shard.request_ended(now.since(self.began), self.received(), self.sent_bytes);
        if let (Some((log, format)), Some(details)) = (&self.observer.log, &self.details) {
            log.line(|line| match (format, self.observer.is_classic) {
                (LogFormat::Json, _) => line::json(self, details, now, line),
                (LogFormat::Elb, true) => line::classic(self, details, now, line),
                (LogFormat::Elb, false) => line::application(self, details, now, line),
            });
        }
    }
}

impl Inner {
    /// The status for the log: 460 for a client that went away before there was one.
    fn logged_status(&self) -> u16 {
        const CLIENT_GONE: u16 = 460;
        if self.status == 0 { CLIENT_GONE } else { self.status }
    }

    fn received(&self) -> u64 {
        self.connection.as_ref().map_or(0, |connection| connection.received_bytes())
    }

    /// Time until dispatch, until the target's answer, and until the end of the response; `None` for a step that was
    /// not reached.
    fn durations(&self, now: Timestamp) -> [Option<Duration>; 3] {
        let dispatched = self.dispatched.map(|at| at.since(self.began));
        let answered = self.target_answered.zip(self.dispatched).map(|(at, since)| at.since(since));
        let ended = self.target_answered.map(|at| now.since(at));
        [dispatched, answered, ended]
    }
}

/// The wall clock, for log lines.
#[allow(clippy::disallowed_methods, reason = "log lines carry wall time")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Answers a request with `respond` and keeps its record: every error becomes a status here, and nowhere else.
pub async fn recorded(
    observer: &Rc<Observer>,
    request: Request,
    respond: impl AsyncFnOnce(Request, &mut Record) -> Result<Response, RequestError>,
) -> Response {
    const UNAUTHORIZED: u16 = 401;
    let mut record = Record::begin(observer, &request);
    let is_call = request.is_grpc();
    let response = match respond(request, &mut record).await {
        Ok(response) => response,
        Err(error) => {
            record.failed(&error);
            // Of a 401 clients of gRPC know by themselves what it means for a call.
            let status = observer.status_of(&error);
            let is_unavailable = is_call && error.culprit() != Culprit::Client && status != UNAUTHORIZED;
            let mut response =
                if is_unavailable { Response::unavailable(status) } else { Response::error(status) };
            // What a client sends after a request that could not be understood cannot be trusted to be a request.
            if error.culprit() == Culprit::Client {
                response.close_connection();
            }
            response
        }
    };
    record.answered(&response);
    response.finish_with(record)
}

/// Answers what was no request, and keeps its record.
pub fn refused(observer: &Rc<Observer>, origin: &Origin, error: &RequestError) -> Response {
    let mut record = Record::begin_refused(observer, origin);
    record.failed(error);
    let mut response = Response::error(observer.status_of(error));
    response.close_connection();
    record.answered(&response);
    response.finish_with(record)
}

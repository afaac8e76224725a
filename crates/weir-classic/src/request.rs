//! A request to a classic HTTP listener.

use std::rc::Rc;
use std::sync::Arc;

use weir_core::decide::{Decision, Outcome};
use weir_core::snapshot::{ListenerIndex, Unavailable};
use weir_core::time::Moment;
use weir_http::record::connection::ConnectionId;
use weir_http::record::{self, Observer, Record};
use weir_http::{
    Answer, Connection, Exchange, Origin, Request, RequestError, Response, Wanted, forwarded, serve,
    shake_hands, stickiness,
};
use weir_net::accept::Accepted;

/// Longest method. Source: Classic Load Balancer, "HTTP 405".
const METHOD_CHARS_MAX: usize = 127;

/// A classic HTTP listener in one worker.
#[derive(Debug)]
pub struct Classic {
    /// Its number; its instances are read from the snapshot with every request.
    pub listener: ListenerIndex,
    /// What the worker exchanges requests with.
    pub exchange: Rc<Exchange>,
    /// What it counts and logs.
    pub observer: Rc<Observer>,
    /// What listeners speak TLS with.
    pub tls: weir_tls::Listeners,
}

impl Answer for Classic {
    async fn answer(&self, request: Request) -> Response {
        record::recorded(&self.observer, request, async |request, record| self.respond(request, record).await)
            .await
    }

    fn refuse(&self, origin: &Origin, error: RequestError) -> Response {
        record::refused(&self.observer, origin, &error)
    }
}

impl Classic {
    /// Serves a client's connection until it ends.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        let Some(listener) = self.exchange.dispatcher().borrow_mut().listener(self.listener) else { return };
        let connection = Connection {
            id: ConnectionId::default(),
            headers: Arc::default(),
            client: accepted.client,
            listener: listener.bind,
            settings: listener.http,
            idle_timeout: listener.idle_timeout,
        };
        self.observer.shard().connection_opened();
        let counted = (&*self.observer, self.exchange.worker.clock);
        if let Some(client) = shake_hands(&listener, &connection, accepted.stream, &self.tls, counted).await {
            serve(client, connection, &self.exchange.worker, self.clone()).await;
        }
        self.observer.shard().connection_closed();
    }

    /// Head → pick among the healthy instances, or wait until one has room → header rules → exchange → cookies of who sticks → response. A `Host` passes unchanged, and
    /// there is no trace id: Classic Load Balancers have neither.
    async fn respond(&self, mut request: Request, record: &mut Record) -> Result<Response, RequestError> {
        if request.head().method.len() > METHOD_CHARS_MAX {
            return Err(RequestError::MethodTooLong);
        }
        request.check()?;
        let decision = self.exchange.dispatcher().borrow_mut().decide(
            self.listener,
            &request.head(),
            request.client(),
            // Nothing depends on wall time: their cookies do not end.
            Moment { now: record.began(), wall_seconds: 0 },
        );
        let Decision { outcome, affinity, .. } = decision.ok_or(RequestError::ListenerGone)?;
        // As long as the client's connection may be silent.
        let patience = request.idle_timeout();
        let (group, lease) = match outcome {
            Outcome::Forward { group, lease } => (group, lease),
            Outcome::Unavailable { group: Some(group), why: Unavailable::Busy } => {
                let pinned = affinity.and_then(|affinity| affinity.pinned());
                (
                    group,
                    self.exchange
                        .queue(Wanted { group, key: 0, pinned, failed: &[], arm: None }, patience, record)
                        .await?,
                )
            }
            // No rules, so nothing else can have come of it.
            Outcome::Authenticate(_)
            | Outcome::Callback(_)
            | Outcome::Redirect { .. }
            | Outcome::Respond(_)
            | Outcome::Unavailable { .. } => return Err(RequestError::NoTarget),
        };
        forwarded::default_host(&mut request);
        forwarded::tell_client(&mut request)?;
        let wanted = Wanted { group, key: 0, pinned: None, failed: &[], arm: None };
        let (mut response, target) =
            self.exchange.forward(request, lease, wanted, Some(patience), record).await?;
        if let Some(affinity) = &affinity {
            stickiness::set_classic_cookies(&self.exchange, &mut response, affinity, group, &target);
        }
        Ok(response)
    }
}

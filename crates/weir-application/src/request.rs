//! A request, from its head to its response.

use std::rc::Rc;
use std::sync::Arc;

use weir_auth::Authenticator;
use weir_core::decide::{Acted, Decision, Outcome};
use weir_core::definition::ListenerKind;
use weir_core::rule::Transforms;
use weir_core::snapshot::{ListenerIndex, Unavailable};
use weir_core::time::Moment;
use weir_http::record::connection::ConnectionId;
use weir_http::record::{self, Observer, Record};
use weir_http::{
    Answer, Connection, Exchange, Origin, Request, RequestError, Response, Wanted, forwarded, serve,
    shake_hands, stickiness,
};
use weir_net::accept::Accepted;

/// An application listener in one worker.
#[derive(Debug)]
pub struct Application {
    /// Its number; what it does is read from the snapshot with every request.
    pub listener: ListenerIndex,
    /// What the worker exchanges requests with.
    pub exchange: Rc<Exchange>,
    /// What it counts and logs.
    pub observer: Rc<Observer>,
    /// What listeners speak TLS with.
    pub tls: weir_tls::Listeners,
    /// What it asks who somebody is with.
    pub authenticator: Rc<Authenticator>,
    /// What it calls itself to targets.
    pub signer: String,
}

impl Answer for Application {
    async fn answer(&self, request: Request) -> Response {
        record::recorded(&self.observer, request, async |request, record| self.respond(request, record).await)
            .await
    }

    fn refuse(&self, origin: &Origin, error: RequestError) -> Response {
        record::refused(&self.observer, origin, &error)
    }
}

impl Application {
    /// Serves a client's connection until it ends.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        let Some(listener) = self.exchange.dispatcher().borrow_mut().listener(self.listener) else { return };
        let id = ConnectionId(self.exchange.dispatcher().borrow_mut().identifiers().u64(..));
        let headers = match &listener.kind {
            ListenerKind::Application { headers, .. } => headers.clone(),
            _ => return,
        };
        let connection = Connection {
            id,
            headers,
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

    /// Head → decision → who it is, where a rule asks → the rule's action.
    async fn respond(&self, mut request: Request, record: &mut Record) -> Result<Response, RequestError> {
        request.check()?;
        let wall_seconds = self.exchange.worker.clock.wall_seconds(record.began());
        // A statement of its own: the dispatcher is borrowed for one decision, never across an await.
        let decision = self.exchange.dispatcher().borrow_mut().decide(
            self.listener,
            &request.head(),
            request.client(),
            Moment { now: record.began(), wall_seconds },
        );
        let Some(Decision { rule, outcome, transforms, affinity, key, arm, tells_identity }) = decision
        else {
            return Err(RequestError::ListenerGone);
        };
        record.matched(rule, outcome.action());
        if tells_identity {
            forwarded::forget_identity(&mut request);
        }
        match outcome {
            // In boxes of their own: a request that nobody asks needs nothing for it.
            Outcome::Authenticate(asked) => {
                Box::pin(self.authenticate(request, &asked, transforms, record)).await
            }
            Outcome::Callback(logins) => Box::pin(self.finish_login(&request, &logins, record)).await,
            outcome => self.act(request, Acted { outcome, affinity, key, arm }, transforms, record).await,
        }
    }

    /// Action → header rules → exchange with the target → cookies of clients who stick → response. The response holds the
    /// lease until its body has ended.
    pub(crate) async fn act(
        &self,
        mut request: Request,
        Acted { outcome, affinity, key, arm }: Acted,
        transforms: Option<Arc<Transforms>>,
        record: &mut Record,
    ) -> Result<Response, RequestError> {
        // In a box: it waits for the response, and most requests have none.
        let affinity = affinity.map(Box::new);
        let (group, lease) = match outcome {
            Outcome::Forward { group, lease } => (group, lease),
            Outcome::Redirect { status, location } => {
                let location = location.ok_or(RequestError::RedirectTooLong)?;
                record.redirected(&location);
                return Ok(Response::redirect(status, &location));
            }
            Outcome::Respond(fixed) => return Ok(Response::fixed(&fixed)),
            Outcome::Unavailable { group: Some(group), why: Unavailable::Hold(limit) } => {
                let pinned = affinity.as_ref().and_then(|affinity| affinity.pinned());
                let wanted = Wanted { group, key, pinned, failed: &[], arm };
                (group, Box::pin(self.exchange.hold(wanted, limit, record)).await?)
            }
            Outcome::Unavailable { why: Unavailable::Busy, .. } => return Err(RequestError::TargetsBusy),
            // Who it is has been asked by now.
            Outcome::Authenticate(_) | Outcome::Callback(_) | Outcome::Unavailable { .. } => {
                return Err(RequestError::NoTarget);
            }
        };
        if let Some(affinity) = &affinity {
            record.stuck(affinity, lease.target());
        }
        match transforms {
            None => forwarded::rewrite_host(&mut request),
            Some(transforms) => {
                let host = forwarded::transform(&mut request, &transforms)?;
                record.transformed(&request, host.as_ref());
            }
        }
        forwarded::tell_client(&mut request)?;
        forwarded::tell_secured(&mut request);
        record.traced(forwarded::trace(
            &mut request,
            self.exchange.worker.clock.wall_seconds(record.began()),
            self.exchange.dispatcher().borrow_mut().identifiers(),
        ));
        let wanted = Wanted { group, key, pinned: None, failed: &[], arm };
        let (mut response, target) = self.exchange.forward(request, lease, wanted, None, record).await?;
        if let Some(affinity) = affinity {
            stickiness::set_cookies(&self.exchange, &mut response, &affinity, group, &target);
        }
        Ok(response)
    }
}

//! A request, from its head to its response.

use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use weir_auth::Authenticator;
use weir_core::decide::Outcome;
use weir_core::rule::Transforms;
use weir_core::snapshot::{Listener, ListenerIndex, Unavailable};
use weir_http::record::{self, Observer, Record};
use weir_http::{
    Answer, Client, Connection, Exchange, Origin, Request, RequestError, Response, forwarded, serve,
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
        let connection = Connection {
            client: accepted.client,
            listener: listener.bind,
            settings: listener.http,
            idle_timeout: listener.idle_timeout,
        };
        self.observer.shard().connection_opened();
        if let Some(client) = self.shake_hands(&listener, accepted.stream).await {
            serve(client, connection, &self.exchange.worker, self.clone()).await;
        }
        self.observer.shard().connection_closed();
    }

    /// The client, with TLS where the listener speaks it; `None` for one with which that failed.
    async fn shake_hands(&self, listener: &Listener, stream: TcpStream) -> Option<Client> {
        if listener.kind.tls().is_none() {
            return Some(Client::Plain(stream));
        }
        // In a box of its own: what a handshake needs is not held for as long as the connection lives.
        let shaken = match self.tls.get(self.listener) {
            Some(side) => Box::pin(side.accept(stream)).await,
            // A reload has just taken it away.
            None => return None,
        };
        match shaken {
            Ok((stream, handshake)) => Some(Client::Secure(Box::new(stream), handshake)),
            Err(error) => {
                self.observer.shard().handshake_failed(error.reason());
                tracing::debug!(listener = %listener.bind, "TLS handshake failed: {error}");
                None
            }
        }
    }

    /// Head → decision → who it is, where a rule asks → the rule's action.
    async fn respond(&self, mut request: Request, record: &mut Record) -> Result<Response, RequestError> {
        request.check()?;
        // A statement of its own: the dispatcher is borrowed for one decision, never across an await.
        let decision = self.exchange.dispatcher().borrow_mut().decide(
            self.listener,
            &request.head(),
            request.client(),
            record.began(),
        );
        let decision = decision.ok_or(RequestError::ListenerGone)?;
        record.matched(decision.rule, decision.outcome.action());
        if decision.tells_identity {
            forwarded::forget_identity(&mut request);
        }
        match decision.outcome {
            // In boxes of their own: a request that nobody asks needs nothing for it.
            Outcome::Authenticate(asked) => {
                Box::pin(self.authenticate(request, &asked, decision.transforms, record)).await
            }
            Outcome::Callback(logins) => Box::pin(self.finish_login(&request, &logins, record)).await,
            outcome => self.act(request, outcome, decision.transforms, record).await,
        }
    }

    /// Action → header rules → exchange with the target → response. The response holds the lease until its body has
    /// ended.
    pub(crate) async fn act(
        &self,
        mut request: Request,
        outcome: Outcome,
        transforms: Option<Arc<Transforms>>,
        record: &mut Record,
    ) -> Result<Response, RequestError> {
        let (group, lease) = match outcome {
            Outcome::Forward { group, lease } => (group, lease),
            Outcome::Redirect { status, location } => {
                let location = location.ok_or(RequestError::RedirectTooLong)?;
                record.redirected(&location);
                return Ok(Response::redirect(status, &location));
            }
            Outcome::Respond(fixed) => return Ok(Response::fixed(&fixed)),
            Outcome::Unavailable { group: Some(group), why: Unavailable::Hold(limit) } => {
                (group, Box::pin(self.exchange.hold(group, limit, record)).await?)
            }
            // Who it is has been asked by now.
            Outcome::Authenticate(_) | Outcome::Callback(_) | Outcome::Unavailable { .. } => {
                return Err(RequestError::NoTarget);
            }
        };
        match transforms {
            None => forwarded::rewrite_host(&mut request),
            Some(transforms) => {
                let host = forwarded::transform(&mut request, &transforms)?;
                record.transformed(&request, host.as_ref());
            }
        }
        forwarded::tell_client(&mut request)?;
        forwarded::tell_certificate(&mut request);
        record.traced(forwarded::trace(
            &mut request,
            self.exchange.worker.clock.wall_seconds(record.began()),
            self.exchange.dispatcher().borrow_mut().identifiers(),
        ));
        self.exchange.forward(request, group, lease, record).await
    }
}

//! Who it is: what stands between a rule and its action.

use std::sync::Arc;

use weir_auth::{Verdict, Visit};
use weir_core::authentication::{Authenticated, Authentication, Oidc};
use weir_core::rule::Transforms;
use weir_core::snapshot::GroupIndex;
use weir_core::time::Moment;
use weir_http::{Record, Request, RequestError, Response, forwarded};

use crate::Application;

/// The status with which clients are sent to log in, and back.
const FOUND: u16 = 302;

impl Application {
    /// Asks who it is; who passes goes on with what the rule does. No target is leased meanwhile.
    pub(crate) async fn authenticate(
        &self,
        mut request: Request,
        asked: &Authenticated<GroupIndex>,
        transforms: Option<Arc<Transforms>>,
        record: &mut Record,
    ) -> Result<Response, RequestError> {
        let mut cookies = Vec::new();
        match &asked.by {
            Authentication::Jwt(wanted) => {
                let visit = self.visit(&request, record);
                self.authenticator.check_token(wanted, visit.head.headers, visit.now).await?;
            }
            Authentication::Oidc(oidc) => {
                let visit = self.visit(&request, record);
                match self.authenticator.check_login(&visit, oidc, &self.tls.secrets()).await? {
                    Verdict::Passes { told, cookies: set } => {
                        forwarded::tell_identity(&mut request, &told);
                        cookies = set;
                    }
                    Verdict::Redirect { location, cookies } => return Ok(sent(&location, &cookies)),
                }
            }
        }
        let now = self.exchange.worker.clock.now();
        let moment = Moment { now, wall_seconds: self.exchange.worker.clock.wall_seconds(now) };
        let acted = self.exchange.dispatcher().borrow_mut().act(
            &asked.then,
            &request.head(),
            request.client(),
            moment,
        );
        record.passed(acted.outcome.action());
        let mut response = self.act(request, acted, transforms, record).await?;
        for cookie in &cookies {
            response.set_cookie(cookie);
        }
        Ok(response)
    }

    /// Takes in a client that a provider has sent back, and leads it to where it was about to go.
    pub(crate) async fn finish_login(
        &self,
        request: &Request,
        logins: &[Arc<Oidc>],
        record: &Record,
    ) -> Result<Response, RequestError> {
        let visit = self.visit(request, record);
        match self.authenticator.finish_login(&visit, logins, &self.tls.secrets()).await? {
            Verdict::Redirect { location, cookies } => Ok(sent(&location, &cookies)),
            // A callback is no request that could go on.
            Verdict::Passes { .. } => Err(RequestError::NoTarget),
        }
    }

    fn visit<'r>(&'r self, request: &'r Request, record: &Record) -> Visit<'r> {
        Visit {
            head: request.head(),
            authority: request.authority(),
            signer: &self.signer,
            now: self.exchange.worker.clock.wall_seconds(record.began()),
        }
    }
}

/// The response that sends a client elsewhere, and is no browser's to keep.
fn sent(location: &str, cookies: &[String]) -> Response {
    let mut response = Response::redirect(FOUND, location);
    response.forbid_caching();
    for cookie in cookies {
        response.set_cookie(cookie);
    }
    response
}

//! Who it is: what stands between a rule and its action.

use std::sync::Arc;

use weir_core::authentication::{Authenticated, Authentication};
use weir_core::rule::Transforms;
use weir_core::snapshot::GroupIndex;
use weir_http::{Record, Request, RequestError, Response};

use crate::Application;

impl Application {
    /// Asks who it is; who passes goes on with what the rule does. No target is leased meanwhile.
    pub(crate) async fn authenticate(
        &self,
        request: Request,
        asked: &Authenticated<GroupIndex>,
        transforms: Option<Arc<Transforms>>,
        record: &mut Record,
    ) -> Result<Response, RequestError> {
        let now = self.exchange.worker.clock.wall_seconds(record.began());
        match &asked.by {
            Authentication::Jwt(wanted) => {
                self.authenticator.check_token(wanted, request.head().headers, now).await?;
            }
            Authentication::Oidc(_) => return Err(RequestError::NoTarget),
        }
        let at = self.exchange.worker.clock.now();
        let outcome = self.exchange.dispatcher().borrow_mut().act(&asked.then, &request.head(), at);
        record.passed(outcome.action());
        self.act(request, outcome, transforms, record).await
    }
}

//! Logins: who has one passes, who has none is sent to the provider, and comes back with one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::OnceCell;
use weir_core::authentication::{AuthenticationError, Oidc, OnUnauthenticated};
use weir_core::head::Head;
use weir_tls::Secrets;

use crate::login::{self, Login};
use crate::provider::{self, Grant};
use crate::session::{Session, realm};
use crate::text::parameter;
use crate::{Verdict, Visit, identity};

/// How long the outcome of a renewal is remembered, in seconds: for requests that were under way with the old cookies.
const RENEWED_SECONDS: u64 = 60;

/// Renewals of sessions by provider, user and refresh token, so that one refresh token is used once at a time: providers may take a second use for a theft.
#[derive(Debug, Default)]
pub(crate) struct Renewals(RefCell<BTreeMap<String, Renewal>>);

type Outcome = Result<Session, AuthenticationError>;

/// A renewal: when it began, and what came of it.
#[derive(Debug)]
struct Renewal(u64, Rc<OnceCell<Outcome>>);

impl Renewals {
    async fn renew(&self, token: &str, session: &Session, oidc: &Oidc, secret: &str, now: u64) -> Outcome {
        let cell = {
            let mut renewals = self.0.borrow_mut();
            renewals.retain(|_, Renewal(began, _)| *began + RENEWED_SECONDS > now);
            // Of this very user of this provider: what another one's token is like is not known.
            let whose = serde_json::json!([realm(oidc), session.subject, token]).to_string();
            renewals.entry(whose).or_insert_with(|| Renewal(now, Rc::default())).1.clone()
        };
        let grant = Grant::Refresh { token, session };
        cell.get_or_init(|| provider::session(grant, oidc, secret, now)).await.clone()
    }
}

/// What becomes of a request whose rule asks for a login.
///
/// # Errors
/// Nobody has logged in, and the rule sends nobody to do so.
pub(crate) async fn check(
    visit: &Visit<'_>,
    oidc: &Oidc,
    secrets: &Secrets,
    renewals: &Renewals,
) -> Result<Verdict, AuthenticationError> {
    let (fields, now) = (visit.head.headers, visit.now);
    let session = Session::of(fields, oidc, &secrets.cookies, now);
    let told = |session: &Session| identity::fields(session, oidc, secrets.signing(), visit.signer, now);
    let renewed = match session {
        None => None,
        Some(session) => match session.renewable(now) {
            None => return Ok(Verdict::Passes { told: told(&session), cookies: Vec::new() }),
            Some(token) => {
                let secret = secrets.client(&oidc.client_secret).ok_or(AuthenticationError::Unprepared)?;
                // Whoever cannot be renewed logs in again.
                renewals.renew(token, &session, oidc, &secret, now).await.ok()
            }
        },
    };
    if let Some(session) = renewed {
        let cookies = session.cookies(fields, oidc, &secrets.cookies, now)?;
        return Ok(Verdict::Passes { told: told(&session), cookies });
    }
    match oidc.on_unauthenticated_request {
        OnUnauthenticated::Allow => Ok(Verdict::Passes { told: Vec::new(), cookies: Vec::new() }),
        OnUnauthenticated::Deny => Err(AuthenticationError::Denied),
        OnUnauthenticated::Authenticate => {
            let host = visit.host()?;
            let (location, cookie) = login::begin(&visit.head, host, oidc, &secrets.cookies, now);
            Ok(Verdict::Redirect { location, cookies: vec![cookie] })
        }
    }
}

/// What becomes of a client that a provider has sent back.
///
/// # Errors
/// The step that failed.
pub(crate) async fn callback(
    visit: &Visit<'_>,
    logins: &[Arc<Oidc>],
    secrets: &Secrets,
) -> Result<Verdict, AuthenticationError> {
    let Head { headers: fields, query, .. } = visit.head;
    let query = query.unwrap_or("");
    let state = parameter(query, "state").ok_or(AuthenticationError::StateMissing)?;
    let login = Login::open(&state, &secrets.cookies)?;
    let oidc = logins.iter().find(|oidc| login.is_of(oidc)).ok_or(AuthenticationError::StateInvalid)?;
    login.check(fields, visit.now)?;
    if let Some(error) = parameter(query, "error") {
        tracing::debug!("{}: a login is refused: {error:?}", oidc.issuer);
        return Err(AuthenticationError::ProviderRefused);
    }
    let code = parameter(query, "code").ok_or(AuthenticationError::CodeMissing)?;
    let secret = secrets.client(&oidc.client_secret).ok_or(AuthenticationError::Unprepared)?;
    let host = visit.host()?;
    let redirect_uri = login::redirect_uri(host);
    let grant = Grant::Code { code: &code, redirect_uri: &redirect_uri, nonce: &login.nonce };
    let session = provider::session(grant, oidc, &secret, visit.now).await?;
    let cookies = session.cookies(fields, oidc, &secrets.cookies, visit.now)?;
    // With its host, so that a path that begins with two slashes leads nowhere else.
    Ok(Verdict::Redirect { location: format!("https://{host}{}", login.target), cookies })
}

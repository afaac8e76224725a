//! Who may pass: bearer tokens checked with their issuer's keys, and logins at identity providers.
//!
//! Each worker has an [`Authenticator`] of its own, with what it has fetched. Whether a token counts is a synchronous
//! function of token, keys and time (`token`, `claims`); what waits is only for keys and providers.
//!
//! What this crate lacks, on purpose: types of HTTP exchanges, rules, configuration, control.

mod claims;
mod identity;
mod jwks;
mod key_set;
mod login;
mod oidc;
mod provider;
mod random;
mod session;
#[cfg(test)]
mod testing;
mod text;
mod token;

use std::rc::Rc;
use std::sync::Arc;

use weir_core::authentication::{AuthenticationError, JwtValidation, Oidc};
use weir_core::head::{Head, HeaderLines};
use weir_tls::Secrets;

use crate::key_set::KeySets;
use crate::oidc::Renewals;

/// What one worker asks who somebody is with.
#[derive(Debug, Default)]
pub struct Authenticator {
    keys: KeySets,
    renewals: Renewals,
}

/// A request, as far as who it is matters.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'r> {
    /// Its head.
    pub head: Head<'r>,
    /// The host and port that the client asked for.
    pub authority: &'r str,
    /// What the load balancer calls itself to targets.
    pub signer: &'r str,
    /// Wall time in seconds since 1970.
    pub now: u64,
}

impl Visit<'_> {
    /// The host that the client asked for; a client that named none cannot be led back.
    fn host(&self) -> Result<&str, AuthenticationError> {
        Some(self.authority).filter(|host| !host.is_empty()).ok_or(AuthenticationError::HostMissing)
    }
}

/// What becomes of a request that was asked who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Passes {
        /// Fields that tell the target who it is; none where nobody has logged in and the rule lets pass all the same.
        told: Vec<(&'static str, String)>,
        /// What the response sets.
        cookies: Vec<String>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// Where to.
        location: String,
        /// What the response sets.
        cookies: Vec<String>,
    },
}

impl Authenticator {
    /// Nothing is fetched yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Self::default())
    }

    /// Whether a request brings along a bearer token as `wanted`; `now` is wall time in seconds since 1970.
    ///
    /// Waits only for keys that nobody has asked for yet, or a key that is not among them.
    ///
    /// # Errors
    /// What is wrong with the token, or with the issuer's keys.
    pub async fn check_token(
        &self,
        wanted: &JwtValidation,
        fields: &dyn HeaderLines,
        now: u64,
    ) -> Result<(), AuthenticationError> {
        let token = token::bearer(fields)?;
        let key_id = token.key_id()?;
        let keys = self.keys.of(&wanted.jwks_endpoint).get(key_id.as_deref()).await?;
        let claims = token.verify(&keys, key_id.as_deref())?;
        claims::check(&claims, wanted, now)
    }

    /// Whether somebody has logged in who sends a request, and what follows when nobody has.
    ///
    /// Waits only where a session must be renewed.
    ///
    /// # Errors
    /// The rule sends nobody to log in.
    pub async fn check_login(
        &self,
        visit: &Visit<'_>,
        oidc: &Oidc,
        secrets: &Secrets,
    ) -> Result<Verdict, AuthenticationError> {
        oidc::check(visit, oidc, secrets, &self.renewals).await
    }

    /// What becomes of a client that the provider of one of `logins` has sent back.
    ///
    /// # Errors
    /// The step of the login that failed.
    pub async fn finish_login(
        &self,
        visit: &Visit<'_>,
        logins: &[Arc<Oidc>],
        secrets: &Secrets,
    ) -> Result<Verdict, AuthenticationError> {
        oidc::callback(visit, logins, secrets).await
    }
}

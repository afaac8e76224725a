//! Who may pass: bearer tokens checked with their issuer's keys, and logins at identity providers.
//!
//! Each worker has an [`Authenticator`] of its own, with what it has fetched. Whether a token counts is a synchronous
//! function of token, keys and time (`token`, `claims`); what waits is only for keys and providers.
//!
//! What this crate lacks, on purpose: types of HTTP exchanges, rules, configuration, control.

mod claims;
mod jwks;
mod key_set;
mod token;

use std::rc::Rc;

use weir_core::authentication::{AuthenticationError, JwtValidation};
use weir_core::head::HeaderLines;

use crate::key_set::KeySets;

/// What one worker asks who somebody is with.
#[derive(Debug, Default)]
pub struct Authenticator {
    keys: KeySets,
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
}

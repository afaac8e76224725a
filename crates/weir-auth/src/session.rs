//! A session: who has logged in, sealed into cookies that the browser keeps and no one but weirs with the secret reads.
//!
//! Source: Application Load Balancer, "Authenticate users": cookies of at most 4 KB, with a number behind their name.

use serde_json::{Map, Value, json};
use weir_core::authentication::{AuthenticationError, Oidc};
use weir_core::head::HeaderLines;
use weir_core::seal::{CookieKeys, Purpose};

use crate::random::nonce;
use crate::text::{cookie, set_cookie};

/// Most cookies of a session: AWS's 16 KB.
const SHARDS_MAX: usize = 4;

/// Characters of a cookie's value; with its name and attributes it stays below 4 KB.
const SHARD_BYTES: usize = 3840;

/// Who has logged in, and by what the provider knows so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    /// What the provider calls them.
    pub(crate) subject: String,
    pub(crate) access_token: String,
    /// What gives another access token.
    pub(crate) refresh_token: Option<String>,
    /// What the provider says of them.
    pub(crate) claims: Map<String, Value>,
    /// When they logged in, in seconds since 1970.
    pub(crate) began: u64,
    /// When the access token ends; `None` where the provider does not say.
    pub(crate) access_ends: Option<u64>,
}

/// By what a session or a login is known to be of these settings: whoever else has the same secret has other ones.
pub(crate) fn realm(oidc: &Oidc) -> Value {
    json!([oidc.issuer, oidc.client_id, oidc.scope])
}

impl Session {
    /// The session that a request brings along, if it is one of these settings and not over.
    pub(crate) fn of(fields: &dyn HeaderLines, oidc: &Oidc, keys: &CookieKeys, now: u64) -> Option<Self> {
        let name = |at: usize| format!("{}-{at}", oidc.session_cookie_name);
        let shards: Vec<String> = (0..SHARDS_MAX).map_while(|at| cookie(fields, &name(at))).collect();
        let plain = keys.open(Purpose::Session, shards.concat().as_bytes())?;
        let value: Value = serde_json::from_slice(&plain).ok()?;
        if value["realm"] != realm(oidc) {
            return None;
        }
        let text = |name: &str| value[name].as_str().map(ToOwned::to_owned);
        let session = Self {
            subject: text("sub")?,
            access_token: text("access")?,
            refresh_token: text("refresh"),
            claims: value["claims"].as_object()?.clone(),
            began: value["began"].as_u64()?,
            access_ends: value["ends"].as_u64(),
        };
        (session.left(oidc, now) > 0).then_some(session)
    }

    /// For how many seconds more it counts.
    fn left(&self, oidc: &Oidc, now: u64) -> u64 {
        (self.began + oidc.session_timeout.as_secs()).saturating_sub(now)
    }

    /// Whether another access token is due, and can be had.
    pub(crate) fn renewable(&self, now: u64) -> Option<&str> {
        let is_over = self.access_ends.is_some_and(|end| end <= now);
        self.refresh_token.as_deref().filter(|_| is_over)
    }

    /// The cookies that set it; those of a longer one that `fields` bring along are taken away.
    ///
    /// # Errors
    /// It does not fit.
    pub(crate) fn cookies(
        &self,
        fields: &dyn HeaderLines,
        oidc: &Oidc,
        keys: &CookieKeys,
        now: u64,
    ) -> Result<Vec<String>, AuthenticationError> {
        let plain = json!({
            "realm": realm(oidc),
            "sub": self.subject,
            "access": self.access_token,
            "refresh": self.refresh_token,
            "claims": self.claims,
            "began": self.began,
            "ends": self.access_ends,
        });
        let sealed = keys.seal(Purpose::Session, nonce(), plain.to_string().as_bytes());
        let shards: Vec<&str> = sealed
            .as_bytes()
            .chunks(SHARD_BYTES)
            .map(|shard| std::str::from_utf8(shard).expect("base64 is ASCII"))
            .collect();
        if shards.len() > SHARDS_MAX {
            return Err(AuthenticationError::UserInfoTooLarge);
        }
        let name = |at: usize| format!("{}-{at}", oidc.session_cookie_name);
        let left = self.left(oidc, now);
        let set = shards.iter().enumerate().map(|(at, shard)| set_cookie(&name(at), shard, left));
        let surplus = (shards.len()..SHARDS_MAX).map(name).filter(|name| cookie(fields, name).is_some());
        Ok(set.chain(surplus.map(|name| set_cookie(&name, "", 0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::oidc;

    const NOW: u64 = 1_000_000;

    fn keys() -> CookieKeys {
        CookieKeys::new(&[&[1; 32]])
    }

    fn session(claim: &str) -> Session {
        Session {
            subject: "bob".to_owned(),
            access_token: "token".to_owned(),
            refresh_token: Some("again".to_owned()),
            claims: json!({ "sub": "bob", "about": claim }).as_object().unwrap().clone(),
            began: NOW,
            access_ends: Some(NOW + 60),
        }
    }

    fn jar(cookies: &[String]) -> Vec<(String, String)> {
        let pair = |cookie: &String| cookie.split(';').next().unwrap().to_owned();
        vec![("cookie".to_owned(), cookies.iter().map(pair).collect::<Vec<_>>().join("; "))]
    }

    // Conformance: A2.3.26
    #[test]
    fn a_session_comes_back_whole_however_long_it_is_until_it_is_over() {
        for length in [0, 4_000, 10_000] {
            let session = session(&"x".repeat(length));
            let cookies = session.cookies(&Vec::new(), &oidc(), &keys(), NOW).unwrap();
            assert!(cookies.iter().all(|cookie| cookie.len() <= 4096));
            let came = jar(&cookies);
            assert_eq!(Session::of(&came, &oidc(), &keys(), NOW), Some(session), "{length}");
            let end = NOW + oidc().session_timeout.as_secs();
            assert!(Session::of(&came, &oidc(), &keys(), end - 1).is_some());
            assert_eq!(Session::of(&came, &oidc(), &keys(), end), None);
        }
    }

    // Conformance: A2.3.26
    #[test]
    fn a_session_that_does_not_fit_is_refused() {
        let refused = session(&"x".repeat(12_000)).cookies(&Vec::new(), &oidc(), &keys(), NOW);
        assert_eq!(refused, Err(AuthenticationError::UserInfoTooLarge));
    }

    #[test]
    fn a_shorter_session_takes_the_cookies_of_a_longer_one_away() {
        let long = session(&"x".repeat(10_000)).cookies(&Vec::new(), &oidc(), &keys(), NOW).unwrap();
        let short = session("").cookies(&jar(&long), &oidc(), &keys(), NOW).unwrap();
        assert_eq!(short.len(), long.len());
        assert!(short[1..].iter().all(|cookie| cookie.contains("=; Path=/; Max-Age=0;")), "{short:?}");
    }

    #[test]
    fn a_session_of_other_settings_or_another_secret_is_none() {
        let came = jar(&session("").cookies(&Vec::new(), &oidc(), &keys(), NOW).unwrap());
        let other = Oidc { client_id: "other".to_owned(), ..oidc() };
        assert_eq!(Session::of(&came, &other, &keys(), NOW), None);
        assert_eq!(Session::of(&came, &oidc(), &CookieKeys::new(&[&[2; 32]]), NOW), None);
    }

    proptest! {
        #[test]
        fn nothing_that_a_browser_brings_breaks_the_reader(line in "(AWSELBAuthSessionCookie-[0-4]=[A-Za-z0-9+/=]{0,90}; ?){0,5}") {
            let came = vec![("cookie".to_owned(), line)];
            prop_assert_eq!(Session::of(&came, &oidc(), &keys(), NOW), None);
        }
    }
}

//! A login under way: what weir gives along to the provider, and finds again when the client comes back.
//!
//! The state is sealed, so that only weirs with the secret make any, and bound to the browser by a cookie, so that nobody is
//! logged in by a link. Source: RFC 6749 section 10.12; OpenID Connect Core section 3.1.2.1.

use serde_json::{Value, json};
use weir_core::authentication::{AuthenticationError, CALLBACK_PATH, Oidc};
use weir_core::head::{Head, HeaderLines};
use weir_core::seal::{CookieKeys, Purpose};

use crate::random::{identifier, is_identifier, nonce};
use crate::session::realm;
use crate::text::{cookie, form, set_cookie};

/// The cookie that binds a login to its browser: AWS's name.
const COOKIE: &str = "AWSALBAuthNonce";

/// How long a login may take, in seconds: AWS's 15 minutes.
const SECONDS_MAX: u64 = 15 * 60;

/// Longest path with its query to which a client is led back; of a longer one the query is left out, then the path.
const RETURN_BYTES_MAX: usize = 2048;

/// What is found again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// What the provider must have put into its ID token.
    pub(crate) nonce: String,
    /// The path, with its query, that the client was about to ask for.
    pub(crate) target: String,
    realm: Value,
    browser: String,
    began: u64,
}

/// Where a client is sent to log in, and the cookie that binds that to its browser.
pub(crate) fn begin(
    head: &Head<'_>,
    authority: &str,
    oidc: &Oidc,
    keys: &CookieKeys,
    now: u64,
) -> (String, String) {
    // Several tabs of one browser may log in at a time, so one cookie serves them all.
    let browser =
        cookie(head.headers, COOKIE).filter(|known| is_identifier(known)).unwrap_or_else(identifier);
    let nonce_told = identifier();
    let plain = json!({
        "realm": realm(oidc), "browser": browser, "nonce": nonce_told, "target": target(head), "began": now,
    });
    let state = keys.seal(Purpose::Login, nonce(), plain.to_string().as_bytes());
    let redirect = redirect_uri(authority);
    let mut parameters = vec![
        ("response_type", "code"),
        ("client_id", oidc.client_id.as_str()),
        ("redirect_uri", &redirect),
        ("scope", &oidc.scope),
        ("state", &state),
        ("nonce", &nonce_told),
    ];
    let extra = oidc.authentication_request_extra_params.iter();
    parameters.extend(extra.map(|(name, value)| (name.as_str(), value.as_str())));
    let endpoint = oidc.authorization_endpoint.to_string();
    let mark = if endpoint.contains('?') { '&' } else { '?' };
    let location = format!("{endpoint}{mark}{}", form(&parameters));
    (location, set_cookie(COOKIE, &browser, SECONDS_MAX))
}

/// Where the provider sends clients back to.
pub(crate) fn redirect_uri(authority: &str) -> String {
    let host = authority.to_ascii_lowercase();
    format!("https://{}{CALLBACK_PATH}", host.strip_suffix(":443").unwrap_or(&host))
}

fn target(head: &Head<'_>) -> String {
    let whole = head.query.map(|query| format!("{}?{query}", head.path));
    let mut candidates = [whole.as_deref().unwrap_or(head.path), head.path].into_iter();
    let fits = |path: &&str| path.starts_with('/') && path.len() <= RETURN_BYTES_MAX;
    candidates.find(fits).unwrap_or("/").to_owned()
}

impl Login {
    /// The login that a state speaks of.
    ///
    /// # Errors
    /// It is not weir's.
    pub(crate) fn open(state: &str, keys: &CookieKeys) -> Result<Self, AuthenticationError> {
        let read = || {
            let plain = keys.open(Purpose::Login, state.as_bytes())?;
            let value: Value = serde_json::from_slice(&plain).ok()?;
            let text = |name: &str| value[name].as_str().map(ToOwned::to_owned);
            Some(Self {
                nonce: text("nonce")?,
                target: text("target")?,
                realm: value["realm"].clone(),
                browser: text("browser")?,
                began: value["began"].as_u64()?,
            })
        };
        read().ok_or(AuthenticationError::StateInvalid)
    }

    /// Whether it was begun with these settings.
    pub(crate) fn is_of(&self, oidc: &Oidc) -> bool {
        self.realm == realm(oidc)
    }

    /// Whether the client that comes back is the one that was sent, in time.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self, fields: &dyn HeaderLines, now: u64) -> Result<(), AuthenticationError> {
        if cookie(fields, COOKIE).as_deref() != Some(&self.browser) {
            return Err(AuthenticationError::NonceInvalid);
        }
        if now >= self.began + SECONDS_MAX {
            return Err(AuthenticationError::StateExpired);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{head, oidc};
    use crate::text::parameter;

    const NOW: u64 = 1_000_000;

    fn keys() -> CookieKeys {
        CookieKeys::new(&[&[1; 32]])
    }

    fn begun(path: &str, fields: &Vec<(String, String)>) -> (Login, Vec<(String, String)>) {
        let (location, cookie) = begin(&head(path, fields), "Shop.example:443", &oidc(), &keys(), NOW);
        let state = parameter(location.split_once('?').unwrap().1, "state").unwrap();
        let pair = cookie.split(';').next().unwrap().to_owned();
        (Login::open(&state, &keys()).unwrap(), vec![("cookie".to_owned(), pair)])
    }

    #[test]
    fn the_provider_is_told_what_is_wanted() {
        let none = Vec::new();
        let (location, _) = begin(&head("/a?b=c", &none), "Shop.example:443", &oidc(), &keys(), NOW);
        let (endpoint, query) = location.split_once('?').unwrap();
        assert_eq!(endpoint, "https://id.example/authorize");
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "weir"),
            ("redirect_uri", "https://shop.example/oauth2/idpresponse"),
            ("scope", "openid email"),
            ("prompt", "login"),
        ] {
            assert_eq!(parameter(query, name).as_deref(), Some(value), "{name}");
        }
    }

    // Conformance: A2.3.30, A7.7
    #[test]
    fn a_login_counts_for_its_browser_for_a_quarter_of_an_hour() {
        let (login, came) = begun("/a?b=c", &Vec::new());
        assert_eq!(login.target, "/a?b=c");
        assert!(login.is_of(&oidc()));
        assert_eq!(login.check(&came, NOW + SECONDS_MAX - 1), Ok(()));
        assert_eq!(login.check(&came, NOW + SECONDS_MAX), Err(AuthenticationError::StateExpired));
        assert_eq!(login.check(&Vec::new(), NOW), Err(AuthenticationError::NonceInvalid));
        let (_, other) = begun("/", &Vec::new());
        assert_eq!(login.check(&other, NOW), Err(AuthenticationError::NonceInvalid));
    }

    #[test]
    fn tabs_of_one_browser_log_in_beside_each_other() {
        let (first, came) = begun("/1", &Vec::new());
        let (second, came) = begun("/2", &came);
        assert_eq!((first.check(&came, NOW), second.check(&came, NOW)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_state_that_weir_has_not_made_is_none() {
        let other = CookieKeys::new(&[&[2; 32]]);
        let forged = other.seal(Purpose::Login, nonce(), b"{}");
        let session = keys().seal(Purpose::Session, nonce(), b"{}");
        for state in ["", "x", &forged, &session] {
            assert_eq!(Login::open(state, &keys()), Err(AuthenticationError::StateInvalid), "{state}");
        }
    }

    #[test]
    fn a_client_is_led_back_to_a_path_of_this_host_that_is_not_too_long() {
        let long = "x".repeat(RETURN_BYTES_MAX);
        for (asked, target) in [
            ("*", "/".to_owned()),
            (&format!("/a?{long}"), "/a".to_owned()),
            (&format!("/{long}"), "/".to_owned()),
        ] {
            assert_eq!(begun(asked, &Vec::new()).0.target, target);
        }
    }
}

//! What an identity provider is asked: for tokens, and who somebody is.
//!
//! Source: OpenID Connect Core sections 3.1.3, 5.3 and 12; RFC 6749 sections 2.3.1 and 5.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use tokio::time::timeout;
use weir_core::authentication::{AuthenticationError, Oidc};
use weir_fetch::{Answer, ClientError};

use crate::session::Session;
use crate::text::{escape, form, is_field};

/// Longest time that an endpoint has to answer: AWS's.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer of a token endpoint, in bytes.
const TOKENS_BYTES_MAX: usize = 64 * 1024;

/// Most that a provider may say of somebody, in bytes: AWS's 11 KB.
const USER_INFO_BYTES_MAX: usize = 11 * 1024;

const OK: u16 = 200;

/// By what somebody has shown the provider that they have logged in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grant<'g> {
    /// A code that the client has brought.
    Code {
        code: &'g str,
        redirect_uri: &'g str,
        /// What the ID token must have.
        nonce: &'g str,
    },
    /// A session whose access token has ended.
    Refresh { token: &'g str, session: &'g Session },
}

/// Asks for tokens, and then who it is.
///
/// # Errors
/// The step that failed.
pub(crate) async fn session(
    grant: Grant<'_>,
    oidc: &Oidc,
    secret: &str,
    now: u64,
) -> Result<Session, AuthenticationError> {
    let tokens = tokens(grant, oidc, secret).await?;
    let text = |name: &str| tokens[name].as_str().filter(|text| is_field(text)).map(ToOwned::to_owned);
    let access_token = text("access_token").ok_or(AuthenticationError::TokenResponseInvalid)?;
    let (subject, began, refresh_before) = match grant {
        Grant::Code { nonce, .. } => {
            let id_token = tokens["id_token"].as_str().ok_or(AuthenticationError::IdTokenInvalid)?;
            (check_id_token(id_token, oidc, nonce, now)?, now, None)
        }
        Grant::Refresh { token, session } => (session.subject.clone(), session.began, Some(token.to_owned())),
    };
    let claims = user_info(oidc, &access_token).await?;
    if claims.get("sub").and_then(Value::as_str) != Some(&subject) {
        return Err(AuthenticationError::UserInfoInvalid);
    }
    Ok(Session {
        subject,
        access_token,
        refresh_token: text("refresh_token").or(refresh_before),
        claims,
        began,
        access_ends: tokens["expires_in"].as_u64().map(|seconds| now.saturating_add(seconds)),
    })
}

async fn tokens(grant: Grant<'_>, oidc: &Oidc, secret: &str) -> Result<Value, AuthenticationError> {
    let form = match grant {
        Grant::Code { code, redirect_uri, .. } => {
            form(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri)])
        }
        Grant::Refresh { token, .. } => form(&[("grant_type", "refresh_token"), ("refresh_token", token)]),
    };
    let basic = STANDARD.encode(format!("{}:{}", escape(&oidc.client_id), escape(secret)));
    let authorization = format!("Basic {basic}");
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("authorization", authorization.as_str())];
    let asked = weir_fetch::post(&oidc.token_endpoint, &headers, form);
    let (status, body) = whole(asked, TOKENS_BYTES_MAX).await.map_err(|failure| match failure {
        Failure::TimedOut => AuthenticationError::TokenTimedOut,
        Failure::TooLarge => AuthenticationError::TokenResponseInvalid,
        Failure::Unreachable => AuthenticationError::TokenUnreachable,
    })?;
    let answer: Option<Value> = serde_json::from_slice(&body).ok();
    match answer {
        Some(answer) if status == OK => Ok(answer),
        Some(answer) if answer["error"] == "invalid_grant" => Err(AuthenticationError::GrantInvalid),
        _ => Err(AuthenticationError::TokenResponseInvalid),
    }
}

/// Whose ID token it is, if it is one for this login. That the provider has made it needs no look at its signature: it
/// has come from the provider itself, over TLS.
fn check_id_token(token: &str, oidc: &Oidc, nonce: &str, now: u64) -> Result<String, AuthenticationError> {
    let read = || {
        let payload = token.split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let is_ours = |audience: &Value| audience == &Value::from(oidc.client_id.as_str());
        let is_for_us = match &claims["aud"] {
            Value::Array(several) => several.iter().any(is_ours),
            one => is_ours(one),
        };
        // Of several audiences the one that asked is named.
        let is_by_us = claims.get("azp").is_none_or(is_ours);
        let is_good = claims["iss"] == oidc.issuer.as_str()
            && is_for_us
            && is_by_us
            && claims["nonce"] == nonce
            && claims["exp"].as_f64().is_some_and(|end| end > now as f64);
        claims["sub"].as_str().filter(|subject| is_good && is_field(subject)).map(ToOwned::to_owned)
    };
    read().ok_or(AuthenticationError::IdTokenInvalid)
}

async fn user_info(oidc: &Oidc, access_token: &str) -> Result<Map<String, Value>, AuthenticationError> {
    let authorization = format!("Bearer {access_token}");
    let headers = [("authorization", authorization.as_str())];
    let asked = weir_fetch::get(&oidc.user_info_endpoint, &headers);
    let (status, body) = whole(asked, USER_INFO_BYTES_MAX).await.map_err(|failure| match failure {
        Failure::TimedOut => AuthenticationError::UserInfoTimedOut,
        Failure::TooLarge => AuthenticationError::UserInfoTooLarge,
        Failure::Unreachable => AuthenticationError::UserInfoUnreachable,
    })?;
    let claims = serde_json::from_slice(&body).ok().filter(|_| status == OK);
    claims.ok_or(AuthenticationError::UserInfoInvalid)
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
enum Failure {
    TimedOut,
    TooLarge,
    Unreachable,
}

/// An answer's status and body, in time.
async fn whole(
    asked: impl Future<Output = Result<Answer, ClientError>>,
    bytes_max: usize,
) -> Result<(u16, Vec<u8>), Failure> {
    let answered = timeout(ANSWER_TIMEOUT, async {
        let answer = asked.await?;
        Ok((answer.status, answer.whole(bytes_max).await?))
    });
    match answered.await {
        Ok(Ok(answer)) => Ok(answer),
        Err(_) | Ok(Err(ClientError::TimedOut(_))) => Err(Failure::TimedOut),
        Ok(Err(ClientError::TooLarge(_))) => Err(Failure::TooLarge),
        Ok(Err(error)) => {
            tracing::debug!("an identity provider cannot be asked: {error}");
            Err(Failure::Unreachable)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwks::testing::forged;
    use crate::testing::oidc;

    const NOW: u64 = 1_000_000;

    #[test]
    fn an_id_token_is_for_this_client_and_this_login() {
        let good = json!({
            "iss": "https://id.example", "aud": "weir", "sub": "bob", "nonce": "n", "exp": NOW + 1,
        });
        for (changes, is_good) in [
            (json!({}), true),
            (json!({ "aud": ["other", "weir"], "azp": "weir" }), true),
            (json!({ "aud": ["other"] }), false),
            (json!({ "aud": ["other", "weir"], "azp": "other" }), false),
            (json!({ "iss": "https://other.example" }), false),
            (json!({ "nonce": "other" }), false),
            (json!({ "nonce": null }), false),
            (json!({ "exp": NOW }), false),
            (json!({ "sub": "" }), false),
            (json!({ "sub": "a\r\nb" }), false),
        ] {
            let mut claims = good.clone();
            for (name, value) in changes.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let checked = check_id_token(&forged("{}", &claims.to_string(), "x"), &oidc(), "n", NOW);
            assert_eq!(checked.is_ok(), is_good, "{changes}: {checked:?}");
        }
        for token in ["", ".", "a.b.c", "a.!.c"] {
            assert_eq!(check_id_token(token, &oidc(), "n", NOW), Err(AuthenticationError::IdTokenInvalid));
        }
    }
}

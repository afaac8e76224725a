//! What targets are told of who has logged in.
//!
//! Source: Application Load Balancer, "User claims encoding and signature verification".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};
use weir_core::authentication::Oidc;
use weir_tls::SigningKey;

use crate::session::Session;

/// How long what targets are told counts, in seconds: long enough for clocks that differ.
const TOLD_SECONDS: u64 = 120;

/// The fields that tell a target who it is; `signer` is the load balancer.
pub(crate) fn fields(
    session: &Session,
    oidc: &Oidc,
    key: &SigningKey,
    signer: &str,
    now: u64,
) -> Vec<(&'static str, String)> {
    let end = now + TOLD_SECONDS;
    let header = json!({
        "typ": "JWT", "kid": key.id(), "alg": "ES256", "iss": oidc.issuer, "client": oidc.client_id,
        "signer": signer, "exp": end,
    });
    let mut claims = session.claims.clone();
    claims.insert("exp".to_owned(), end.into());
    claims.insert("iss".to_owned(), oidc.issuer.clone().into());
    // With padding, as AWS has it, and libraries that keep to the standard do not like.
    let unsigned = format!(
        "{}.{}",
        URL_SAFE.encode(header.to_string()),
        URL_SAFE.encode(Value::from(claims).to_string())
    );
    let data = format!("{unsigned}.{}", URL_SAFE.encode(key.sign(unsigned.as_bytes())));
    vec![
        ("x-amzn-oidc-accesstoken", session.access_token.clone()),
        ("x-amzn-oidc-identity", session.subject.clone()),
        ("x-amzn-oidc-data", data),
    ]
}

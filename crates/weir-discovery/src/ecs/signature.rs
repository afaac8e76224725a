//! Signatures of AWS requests, version 4, for requests without a query to the path `/`.
//!
//! What this module lacks, on purpose: a clock, and the environment.
//!
//! Source: AWS, [Create a signed AWS API request](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use aws_lc_rs::{digest, hmac};

use super::credentials::Credentials;

/// How signatures of this kind are called.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature is good for: one service in one region, for the day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'s> {
    pub(super) region: &'s str,
    pub(super) service: &'s str,
}

/// The time as AWS writes it: `20150830T123600Z`.
pub(super) fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().replace(['-', ':'], "")
}

/// The `Authorization` header of a request with these headers, by lower-case name; `x-amz-date` is among them.
pub(super) fn authorization(
    credentials: &Credentials,
    scope: Scope<'_>,
    method: &str,
    headers: &BTreeMap<&'static str, String>,
    body: &str,
) -> String {
    let date_time = headers.get("x-amz-date").map_or("", String::as_str);
    let date = date_time.split('T').next().unwrap_or_default();
    let names: Vec<&str> = headers.keys().copied().collect();
    let names = names.join(";");
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}:{}", value.trim())).collect();
    let lines = lines.join("\n");
    let canonical = format!("{method}\n/\n\n{lines}\n\n{names}\n{}", hash(body));
    let scope_text = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{date_time}\n{scope_text}\n{}", hash(&canonical));

    let secret = format!("AWS4{}", credentials.secret_access_key());
    let mut key = mac(secret.as_bytes(), date);
    for part in [scope.region, scope.service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &to_sign).as_ref());
    let id = credentials.access_key_id();
    format!("{ALGORITHM} Credential={id}/{scope_text}, SignedHeaders={names}, Signature={signature}")
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string succeeds.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 30 August 2015, 12:36, of AWS's test suite.
    const MOMENT: Duration = Duration::from_secs(1_440_938_160);

    fn signature(method: &str, further: &[(&'static str, &str)], body: &str) -> String {
        let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None);
        let scope = Scope { region: "us-east-1", service: "service" };
        let at = timestamp(SystemTime::UNIX_EPOCH + MOMENT);
        let mut headers = BTreeMap::from([("host", "example.amazonaws.com".to_owned()), ("x-amz-date", at)]);
        headers.extend(further.iter().map(|(name, value)| (*name, (*value).to_owned())));
        authorization(&credentials, scope, method, &headers, body)
    }

    #[test]
    fn requests_are_signed_as_in_aws_s_test_suite() {
        const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        assert_eq!(
            signature("GET", &[], ""),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        for (method, further, body, expected) in [
            (
                "POST",
                vec![("x-amz-security-token", TOKEN)],
                "",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            ("POST", vec![], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "POST",
                vec![("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let signed = signature(method, &further, body);
            assert!(signed.ends_with(expected), "{signed}");
        }
    }
}

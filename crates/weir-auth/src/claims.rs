//! Whether what a token claims is what a rule wants, at a time that is an argument.
//!
//! Source: RFC 7519 section 4.1; Application Load Balancer, "Verify JWTs".

use serde_json::Value;
use weir_core::authentication::{AuthenticationError, Claim, ClaimFormat, JwtValidation};

use crate::token::Claims;

/// How far ahead of weir's an issuer's clock may be, in seconds: what it has just made must count here.
const CLOCK_SKEW_SECONDS: f64 = 30.0;

/// Checks the claims of a token whose signature has been found good; `now` is in seconds since 1970.
///
/// # Errors
/// The first that is not as `wanted`.
pub(crate) fn check(claims: &Claims, wanted: &JwtValidation, now: u64) -> Result<(), AuthenticationError> {
    if claims.get("iss").and_then(Value::as_str) != Some(&wanted.issuer) {
        return Err(AuthenticationError::JwtIssuerInvalid);
    }
    check_times(claims, now)?;
    let has = |claim: &Claim| claims.get(&claim.name).is_some_and(|value| has_one_of(value, claim));
    if wanted.additional_claims.iter().all(has) { Ok(()) } else { Err(AuthenticationError::JwtClaimInvalid) }
}

/// `exp` must be there and to come; `nbf` and `iat`, where they are, must have been.
fn check_times(claims: &Claims, now: u64) -> Result<(), AuthenticationError> {
    let now = now as f64;
    let has_come = |name: &str| match claims.get(name) {
        None => true,
        Some(value) => value.as_f64().is_some_and(|time| time <= now + CLOCK_SKEW_SECONDS),
    };
    let is_over = claims.get("exp").and_then(Value::as_f64).is_none_or(|end| end <= now);
    if is_over || !has_come("nbf") || !has_come("iat") {
        return Err(AuthenticationError::JwtExpired);
    }
    Ok(())
}

/// Whether one of the wanted values is among those that a claim has.
fn has_one_of(value: &Value, wanted: &Claim) -> bool {
    let is_wanted = |text: &str| wanted.values.iter().any(|value| value == text);
    match (wanted.format, value) {
        (ClaimFormat::SingleString, Value::String(text)) => is_wanted(text),
        (ClaimFormat::SpaceSeparatedValues, Value::String(text)) => text.split(' ').any(is_wanted),
        (ClaimFormat::StringArray, Value::Array(values)) => {
            values.iter().filter_map(Value::as_str).any(is_wanted)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn wanted(claims: Vec<Claim>) -> JwtValidation {
        JwtValidation {
            issuer: "https://issuer.example".to_owned(),
            jwks_endpoint: "https://issuer.example/keys".parse().unwrap(),
            additional_claims: claims,
        }
    }

    fn checked(changes: &Value, wanted: &JwtValidation) -> Result<(), AuthenticationError> {
        let mut claims = json!({ "iss": "https://issuer.example", "exp": NOW + 60 });
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        check(claims, wanted, NOW)
    }

    // Conformance: A2.3.40
    #[test]
    fn issuer_and_times_are_checked() {
        use AuthenticationError::{JwtExpired, JwtIssuerInvalid};
        for (changes, expected) in [
            (json!({}), Ok(())),
            (json!({ "iss": null }), Err(JwtIssuerInvalid)),
            (json!({ "iss": "https://issuer.example/" }), Err(JwtIssuerInvalid)),
            (json!({ "iss": ["https://issuer.example"] }), Err(JwtIssuerInvalid)),
            (json!({ "exp": null }), Err(JwtExpired)),
            (json!({ "exp": NOW }), Err(JwtExpired)),
            (json!({ "exp": (NOW + 60).to_string() }), Err(JwtExpired)),
            (json!({ "exp": NOW as f64 + 0.5 }), Ok(())),
            (json!({ "exp": -1 }), Err(JwtExpired)),
            (json!({ "nbf": NOW + 30, "iat": NOW - 5 }), Ok(())),
            (json!({ "nbf": NOW + 31 }), Err(JwtExpired)),
            (json!({ "iat": NOW + 31 }), Err(JwtExpired)),
            (json!({ "iat": "yesterday" }), Err(JwtExpired)),
        ] {
            assert_eq!(checked(&changes, &wanted(Vec::new())), expected, "{changes}");
        }
    }

    // Conformance: A2.3.41
    #[test]
    fn a_claim_is_read_in_its_format_only() {
        let values = json!({ "single": "b", "spaces": "a b c", "array": ["a", "b"], "number": 1 });
        for (format, name, value, passes) in [
            (ClaimFormat::SingleString, "single", "b", true),
            (ClaimFormat::SingleString, "spaces", "b", false),
            (ClaimFormat::SingleString, "spaces", "a b c", true),
            (ClaimFormat::SingleString, "array", "b", false),
            (ClaimFormat::SpaceSeparatedValues, "spaces", "b", true),
            (ClaimFormat::SpaceSeparatedValues, "spaces", "d", false),
            (ClaimFormat::SpaceSeparatedValues, "array", "b", false),
            (ClaimFormat::StringArray, "array", "b", true),
            (ClaimFormat::StringArray, "array", "c", false),
            (ClaimFormat::StringArray, "single", "b", false),
            (ClaimFormat::SingleString, "number", "1", false),
            (ClaimFormat::SingleString, "missing", "b", false),
        ] {
            let claim =
                Claim { name: name.to_owned(), format, values: vec!["x".to_owned(), value.to_owned()] };
            let expected = if passes { Ok(()) } else { Err(AuthenticationError::JwtClaimInvalid) };
            assert_eq!(checked(&values, &wanted(vec![claim])), expected, "{format} {name} {value}");
        }
    }

    // Conformance: A2.3.41
    #[test]
    fn all_additional_claims_must_hold() {
        let claim = |name: &str, value: &str| Claim {
            name: name.to_owned(),
            format: ClaimFormat::SingleString,
            values: vec![value.to_owned()],
        };
        let values = json!({ "aud": "shop", "tenant": "one" });
        let both = |tenant| wanted(vec![claim("aud", "shop"), claim("tenant", tenant)]);
        assert_eq!(checked(&values, &both("one")), Ok(()));
        assert_eq!(checked(&values, &both("two")), Err(AuthenticationError::JwtClaimInvalid));
    }
}

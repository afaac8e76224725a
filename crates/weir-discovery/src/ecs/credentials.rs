//! Credentials that requests to AWS are signed with.

use std::fmt;

/// An access key of AWS.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Credentials are needed and not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "requests to AWS are signed, and {} {} not set; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and \
     AWS_SESSION_TOKEN with temporary credentials",
    .0.join(" and "),
    if .0.len() == 1 { "is" } else { "are" }
)]
pub struct CredentialsError(Vec<&'static str>);

impl Credentials {
    /// An access key, with the session token of a temporary one.
    pub fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: session_token.map(ToOwned::to_owned),
        }
    }

    /// Those in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// [`CredentialsError`] names what is missing.
    pub fn from_environment() -> Result<Self, CredentialsError> {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CredentialsError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Ok(Self { access_key_id, secret_access_key, session_token: variable("AWS_SESSION_TOKEN") })
            }
            (id, secret) => {
                let missing =
                    [("AWS_ACCESS_KEY_ID", id.is_none()), ("AWS_SECRET_ACCESS_KEY", secret.is_none())];
                let missing = missing.into_iter().filter(|(_, is_missing)| *is_missing);
                Err(CredentialsError(missing.map(|(name, _)| name).collect()))
            }
        }
    }

    pub(super) fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    pub(super) fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }

    pub(super) fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }
}

impl fmt::Debug for Credentials {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let told = |there: &[&str]| {
            let read = Credentials::from(|name| there.contains(&name).then(|| "x".to_owned()));
            read.map_err(|error| error.to_string())
        };
        assert!(told(&[]).unwrap_err().contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"));
        let error = told(&["AWS_ACCESS_KEY_ID"]).unwrap_err();
        assert!(error.contains("and AWS_SECRET_ACCESS_KEY is not set; set"), "{error}");
        let whole = told(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]).unwrap();
        assert_eq!(whole.session_token(), Some("x"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Credentials::new("AKID", "hidden", Some("hidden")));
        assert!(shown.contains("AKID") && !shown.contains("hidden"), "{shown}");
    }
}

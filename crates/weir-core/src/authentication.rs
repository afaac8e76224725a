//! Who may pass: what is asked of a request before its rule routes it.
//!
//! Source: Application Load Balancer, "Verify JWTs" and "Authenticate users".

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::definition::ListenerKind;
use crate::rule::Action;
use crate::tls::NamedFile;
use crate::url::HttpUrl;

/// Where providers send clients back to, on every listener that logs them in. Source: AWS's redirect URI.
pub const CALLBACK_PATH: &str = "/oauth2/idpresponse";

/// An action that stands behind an authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated<G> {
    /// What is asked.
    pub by: Authentication,
    /// What is done with who passes; never another authentication.
    pub then: Action<G>,
}

/// What is asked of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// A token that it brings along.
    Jwt(Arc<JwtValidation>),
    /// That somebody has logged in.
    Oidc(Arc<Oidc>),
}

impl Authentication {
    /// The key in configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt_validation",
            Self::Oidc(_) => "authenticate_oidc",
        }
    }
}

/// How clients of a listener log in: each way that a rule or the default action names, once.
pub fn logins<G>(kind: &ListenerKind<G>) -> Arc<[Arc<Oidc>]> {
    let ListenerKind::Application { rules, default_action, .. } = kind else { return Arc::default() };
    let mut logins: Vec<Arc<Oidc>> = Vec::new();
    for action in rules.iter().map(|rule| &rule.action).chain([default_action]) {
        if let Action::Authenticate(asked) = action
            && let Authentication::Oidc(oidc) = &asked.by
            && !logins.contains(oidc)
        {
            logins.push(oidc.clone());
        }
    }
    logins.into()
}

/// Which bearer tokens pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwtValidation {
    /// Their `iss`.
    pub issuer: String,
    /// Where the issuer publishes the keys that it signs with.
    pub jwks_endpoint: HttpUrl,
    /// What else they must claim, all of it; at most [`JwtValidation::CLAIMS_MAX`].
    pub additional_claims: Vec<Claim>,
}

impl JwtValidation {
    /// Most additional claims.
    pub const CLAIMS_MAX: usize = 10;
    /// Claims that are checked anyway.
    pub const CHECKED_ANYWAY: [&'static str; 4] = ["exp", "iat", "iss", "nbf"];
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// How its value is read.
    pub format: ClaimFormat,
    /// At least one of these must be its value, or among its values; 1 to [`Claim::VALUES_MAX`].
    pub values: Vec<String>,
}

impl Claim {
    /// Most values.
    pub const VALUES_MAX: usize = 10;
    /// Longest value, in bytes.
    pub const VALUE_BYTES_MAX: usize = 256;
}

/// How the value of a claim is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimFormat {
    /// A text is one value.
    SingleString,
    /// A text is several values with spaces between them.
    SpaceSeparatedValues,
    /// Each text of an array is a value.
    StringArray,
}

/// How clients log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    /// The `iss` of the provider's tokens.
    pub issuer: String,
    /// Where clients log in.
    pub authorization_endpoint: HttpUrl,
    /// Where weir asks for tokens.
    pub token_endpoint: HttpUrl,
    /// Where weir asks who somebody is.
    pub user_info_endpoint: HttpUrl,
    /// What the provider calls weir.
    pub client_id: String,
    /// By what the provider knows that it is weir.
    pub client_secret: NamedFile,
    /// What is asked for, with spaces between; has `openid`.
    pub scope: String,
    /// What session cookies are called, without the number behind.
    pub session_cookie_name: String,
    /// How long a login lasts: 1 s to 604800 s.
    pub session_timeout: Duration,
    /// What becomes of who has not logged in.
    pub on_unauthenticated_request: OnUnauthenticated,
    /// What the provider is told besides, by name; at most [`Oidc::EXTRA_PARAMS_MAX`].
    pub authentication_request_extra_params: Vec<(String, String)>,
}

impl Oidc {
    /// Most further parameters.
    pub const EXTRA_PARAMS_MAX: usize = 10;
    /// The name of session cookies, unless another is written.
    pub const SESSION_COOKIE_NAME: &'static str = "AWSELBAuthSessionCookie";
    /// Longest session, and the default.
    pub const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(604_800);
}

/// What becomes of a request of somebody who has not logged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnauthenticated {
    /// It goes on, without a word of who it is.
    Allow,
    /// The client is sent to log in.
    #[default]
    Authenticate,
    /// It is answered with 401.
    Deny,
}

/// Why somebody did not pass. Named for the step that failed, as AWS's access log names it where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AuthenticationError {
    /// Nobody has logged in, and the rule sends nobody to do so.
    #[error("nobody has logged in")]
    Denied,
    /// The provider does not take the code, or the refresh token.
    #[error("the provider does not take the grant")]
    GrantInvalid,
    /// The client named no host, and cannot be led back.
    #[error("the client named no host")]
    HostMissing,
    /// The provider's ID token is not for this login.
    #[error("the provider's ID token is not for this login")]
    IdTokenInvalid,
    /// What is at the endpoint are no keys that tokens can be checked with, or too many.
    #[error("what the JWKS endpoint says is no key set of the size allowed")]
    JwksInvalid,
    /// The endpoint answers with an error.
    #[error("the JWKS endpoint answers with an error")]
    JwksRefused,
    /// The endpoint cannot be reached.
    #[error("the JWKS endpoint cannot be asked")]
    JwksUnreachable,
    /// An additional claim is not there, or has none of the values.
    #[error("a claim of the token is missing or has another value")]
    JwtClaimInvalid,
    /// The token's time is over, or has not come.
    #[error("the token does not count at this time")]
    JwtExpired,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    JwtIssuerInvalid,
    /// What is said to be a token is none, or none that is signed by RS256.
    #[error("the token is malformed, or not signed by RS256")]
    JwtMalformed,
    /// No bearer token came.
    #[error("no bearer token came")]
    JwtMissing,
    /// No key of the issuer has signed it.
    #[error("no key of the issuer has signed the token")]
    JwtSignatureInvalid,
    /// The provider sent the client back without a code.
    #[error("the client came back without a code")]
    CodeMissing,
    /// The cookie that binds a login to the browser is not that of this login.
    #[error("the login was begun by another browser, or too long ago")]
    NonceInvalid,
    /// The provider sent the client back with an error.
    #[error("the provider refuses the login")]
    ProviderRefused,
    /// The client came back with what weir has not given along.
    #[error("the state is not weir's")]
    StateInvalid,
    /// The client came back without what weir gave along.
    #[error("the client came back without a state")]
    StateMissing,
    /// The login took longer than it may.
    #[error("the login took too long")]
    StateExpired,
    /// The token endpoint's answer is none.
    #[error("what the token endpoint says cannot be read")]
    TokenResponseInvalid,
    /// The token endpoint did not answer in time.
    #[error("the token endpoint did not answer in time")]
    TokenTimedOut,
    /// The token endpoint cannot be reached.
    #[error("the token endpoint cannot be asked")]
    TokenUnreachable,
    /// What weir needs is not there: a secret.
    #[error("a secret is missing")]
    Unprepared,
    /// The user info endpoint's answer is none.
    #[error("what the user info endpoint says cannot be read")]
    UserInfoInvalid,
    /// The provider says more of somebody than a session may hold.
    #[error("the provider says too much of the user")]
    UserInfoTooLarge,
    /// The user info endpoint did not answer in time.
    #[error("the user info endpoint did not answer in time")]
    UserInfoTimedOut,
    /// The user info endpoint cannot be reached.
    #[error("the user info endpoint cannot be asked")]
    UserInfoUnreachable,
}

impl AuthenticationError {
    /// The status that the client gets.
    ///
    /// Source: Application Load Balancer, "Troubleshoot": HTTP 401, 500, 561, 562.
    pub fn status(self) -> u16 {
        match self {
            Self::CodeMissing
            | Self::Denied
            | Self::HostMissing
            | Self::JwtClaimInvalid
            | Self::JwtExpired
            | Self::JwtIssuerInvalid
            | Self::JwtMalformed
            | Self::JwtMissing
            | Self::JwtSignatureInvalid
            | Self::NonceInvalid
            | Self::StateExpired
            | Self::StateInvalid
            | Self::StateMissing => 401,
            Self::JwksInvalid
            | Self::JwksUnreachable
            | Self::TokenTimedOut
            | Self::TokenUnreachable
            | Self::Unprepared
            | Self::UserInfoTimedOut
            | Self::UserInfoTooLarge
            | Self::UserInfoUnreachable => 500,
            Self::GrantInvalid
            | Self::IdTokenInvalid
            | Self::ProviderRefused
            | Self::TokenResponseInvalid
            | Self::UserInfoInvalid => 561,
            Self::JwksRefused => 562,
        }
    }

    /// The name in the access log. Source: AWS's "Error reason codes", which has none for bearer tokens.
    pub fn logged(self) -> &'static str {
        match self {
            Self::CodeMissing => "AuthMissingCodeParam",
            Self::Denied => "AuthInvalidCookie",
            Self::GrantInvalid => "AuthInvalidGrantError",
            Self::HostMissing => "AuthMissingHostHeader",
            Self::IdTokenInvalid => "AuthInvalidIdToken",
            Self::JwksInvalid => "AuthInvalidJwksResponse",
            Self::JwksRefused => "AuthJwksEpRequestRefused",
            Self::JwksUnreachable => "AuthJwksEpRequestFailed",
            Self::JwtClaimInvalid => "AuthInvalidJwtClaim",
            Self::JwtExpired => "AuthExpiredJwt",
            Self::JwtIssuerInvalid => "AuthInvalidJwtIssuer",
            Self::JwtMalformed => "AuthInvalidJwt",
            Self::JwtMissing => "AuthMissingJwt",
            Self::JwtSignatureInvalid => "AuthInvalidJwtSignature",
            Self::NonceInvalid => "AuthInvalidAWSALBAuthNonce",
            Self::ProviderRefused => "AuthProviderError",
            Self::StateExpired | Self::StateInvalid => "AuthInvalidStateParam",
            Self::StateMissing => "AuthMissingStateParam",
            Self::TokenResponseInvalid => "AuthInvalidTokenResponse",
            Self::TokenTimedOut => "AuthTokenEpRequestTimeout",
            Self::TokenUnreachable => "AuthTokenEpRequestFailed",
            Self::Unprepared => "AuthUnhandledException",
            Self::UserInfoInvalid => "AuthInvalidUserinfoResponse",
            Self::UserInfoTimedOut => "AuthUserinfoEpRequestTimeout",
            Self::UserInfoTooLarge => "AuthUserinfoResponseSizeExceeded",
            Self::UserInfoUnreachable => "AuthUserinfoEpRequestFailed",
        }
    }

    /// The name in metric labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CodeMissing => "auth_code_missing",
            Self::Denied => "auth_denied",
            Self::GrantInvalid => "auth_grant_invalid",
            Self::HostMissing => "auth_host_missing",
            Self::IdTokenInvalid => "auth_id_token_invalid",
            Self::JwksInvalid => "auth_jwks_invalid",
            Self::JwksRefused => "auth_jwks_refused",
            Self::JwksUnreachable => "auth_jwks_unreachable",
            Self::JwtClaimInvalid => "auth_jwt_claim_invalid",
            Self::JwtExpired => "auth_jwt_expired",
            Self::JwtIssuerInvalid => "auth_jwt_issuer_invalid",
            Self::JwtMalformed => "auth_jwt_malformed",
            Self::JwtMissing => "auth_jwt_missing",
            Self::JwtSignatureInvalid => "auth_jwt_signature_invalid",
            Self::NonceInvalid => "auth_nonce_invalid",
            Self::ProviderRefused => "auth_provider_refused",
            Self::StateExpired => "auth_state_expired",
            Self::StateInvalid => "auth_state_invalid",
            Self::StateMissing => "auth_state_missing",
            Self::TokenResponseInvalid => "auth_token_response_invalid",
            Self::TokenTimedOut => "auth_token_timed_out",
            Self::TokenUnreachable => "auth_token_unreachable",
            Self::Unprepared => "auth_unprepared",
            Self::UserInfoInvalid => "auth_user_info_invalid",
            Self::UserInfoTimedOut => "auth_user_info_timed_out",
            Self::UserInfoTooLarge => "auth_user_info_too_large",
            Self::UserInfoUnreachable => "auth_user_info_unreachable",
        }
    }
}

impl fmt::Display for ClaimFormat {
    /// As AWS writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleString => "single-string",
            Self::SpaceSeparatedValues => "space-separated-values",
            Self::StringArray => "string-array",
        })
    }
}

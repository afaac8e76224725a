//! Settings and heads for tests of this crate.

use std::path::Path;

use weir_core::authentication::{Oidc, OnUnauthenticated};
use weir_core::head::Head;
use weir_core::tls::NamedFile;

/// A login at a provider that does not exist.
pub(crate) fn oidc() -> Oidc {
    let url = |path: &str| format!("https://id.example/{path}").parse().unwrap();
    Oidc {
        issuer: "https://id.example".to_owned(),
        authorization_endpoint: url("authorize"),
        token_endpoint: url("token"),
        user_info_endpoint: url("userinfo"),
        client_id: "weir".to_owned(),
        client_secret: NamedFile::new(Path::new("client.secret"), 1),
        scope: "openid email".to_owned(),
        session_cookie_name: Oidc::SESSION_COOKIE_NAME.to_owned(),
        session_timeout: Oidc::SESSION_TIMEOUT_MAX,
        on_unauthenticated_request: OnUnauthenticated::Authenticate,
        authentication_request_extra_params: vec![("prompt".to_owned(), "login".to_owned())],
    }
}

/// The head of a GET.
pub(crate) fn head<'a>(path: &'a str, headers: &'a Vec<(String, String)>) -> Head<'a> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Head {
        scheme: "https",
        method: "GET",
        host: "shop.example",
        port: 443,
        path,
        normal_path: path,
        query,
        headers,
    }
}

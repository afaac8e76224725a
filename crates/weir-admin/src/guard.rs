//! Keeps web pages from talking to the admin port behind their reader's back.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Answers 403 to a request whose `Host` is not this machine (a rebound DNS name), or whose `Origin` is another site.
pub(crate) async fn refuse_strange_origins(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        next.run(request).await
    } else {
        let why = "refused: the admin port answers only to localhost, 127.0.0.1 and [::1], and to no other site's pages\n";
        (StatusCode::FORBIDDEN, why).into_response()
    }
}

fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host_is_local = text(header::HOST).is_none_or(is_local_authority);
    let origin_is_local = text(header::ORIGIN)
        .is_none_or(|origin| origin.strip_prefix("http://").is_some_and(is_local_authority));
    host_is_local && origin_is_local
}

fn is_local_authority(authority: &str) -> bool {
    let (host, _) = weir_core::head::split_host_port(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_local(&headers)
    }

    #[test]
    fn only_this_machine_s_names_are_answered() {
        assert!(check("127.0.0.1:9900", None));
        assert!(check("localhost:9900", Some("http://localhost:9900")));
        assert!(check("[::1]:9900", None));
        assert!(!check("evil.example:9900", None));
        assert!(!check("127.0.0.1:9900", Some("http://evil.example")));
        assert!(!check("127.0.0.1:9900", Some("null")));
    }
}

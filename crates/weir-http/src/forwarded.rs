//! Headers that tell a target about its client: `X-Forwarded-*`, `X-Amzn-Trace-Id`, `Host`.
//!
//! Source: Application Load Balancer, "X-Forwarded headers" and "Request tracing"; Classic Load Balancer,
//! "X-Forwarded headers".

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::definition::{ForwardedForMode, HttpSettings};
use weir_core::head::split_host_port;
use weir_core::header_rules::{CIPHER_SUITE, HeaderRules, TLS_VERSION};
use weir_core::rule::Transforms;
use weir_tls::Handshake;

use crate::codec::edits::{HeaderText, Preset};
use crate::codec::fields::Known;
use crate::codec::h1::request_head::LINE_BYTES_MAX;
use crate::codec::host::is_host;
use crate::codec::request::Request;
use crate::error::{RequestError, TransformError};

/// Bytes of a URL that a transform may make: what the request line of a client may have.
const REWRITTEN_BYTES_MAX: usize = LINE_BYTES_MAX;

/// Addresses in `X-Forwarded-For` beyond which a request gets 463.
pub const FORWARDERS_MAX: usize = 30;

/// Sets what every kind of HTTP listener tells its targets: `X-Forwarded-For` as its settings want it, `-Proto` and `-Port`.
///
/// # Errors
/// [`RequestError::TooManyForwarders`].
pub fn tell_client(request: &mut Request) -> Result<(), RequestError> {
    let origin = request.parts().origin.clone();
    if request.parts().head.first(Known::XForwardedFor).is_none() {
        request.parts_mut().edits.preset(origin.forwarded.clone());
        return Ok(());
    }
    let mut list = forwarders(request)?;
    if origin.settings.forwarded_for != ForwardedForMode::Append {
        request.parts_mut().edits.preset(origin.forwarded.clone());
        return Ok(());
    }
    let place = if list.is_empty() { Place::Alone } else { Place::InList };
    list.push_str(&address(origin.client, origin.settings, place));
    let list = HeaderText::new(&list).expect("values that came have been looked at");
    let port = HeaderText::Shared(origin.listener.port().to_string().into_bytes().into());
    request.set(Known::XForwardedFor, "X-Forwarded-For", list);
    request.set(Known::XForwardedProto, "X-Forwarded-Proto", HeaderText::from_static(origin.scheme()));
    request.set(Known::XForwardedPort, "X-Forwarded-Port", port);
    Ok(())
}

/// Tells the target of TLS and of the client's certificate, where the listener does that. What a client claims of them by
/// itself is left behind.
pub fn tell_secured(request: &mut Request) {
    if let Some(secured) = request.parts().origin.secured.clone() {
        request.parts_mut().edits.preset(secured);
    }
}

/// What every request of a connection tells its target, unless it has been forwarded before.
pub(crate) fn preset(
    client: ClientAddr,
    listener: ListenAddr,
    settings: HttpSettings,
    scheme: &str,
) -> Rc<Preset> {
    let mut preset = Preset::default();
    match settings.forwarded_for {
        ForwardedForMode::Append => preset.set("X-Forwarded-For", &address(client, settings, Place::Alone)),
        ForwardedForMode::Preserve => {}
        ForwardedForMode::Remove => preset.remove("X-Forwarded-For"),
    }
    preset.set("X-Forwarded-Proto", scheme);
    preset.set("X-Forwarded-Port", &listener.port().to_string());
    Rc::new(preset)
}

/// What every request of a connection tells its target of TLS and of the client's certificate; `None` for nothing.
pub(crate) fn secured(
    handshake: Option<&Handshake>,
    settings: HttpSettings,
    rules: &HeaderRules,
) -> Option<Rc<Preset>> {
    let mut preset = Preset::default();
    // By names of its own a listener tells what only weir may say, also where there is nothing to tell.
    for (_, own) in &rules.renamed {
        preset.remove(own);
    }
    let certificate = handshake.and_then(|handshake| handshake.client_certificate.as_ref());
    for (name, value) in certificate.into_iter().flat_map(|certificate| certificate.headers()) {
        if HeaderText::new(value).is_some() {
            preset.set(rules.name(name), value);
        }
    }
    if settings.tells_tls {
        for (name, value) in [
            (TLS_VERSION, handshake.map(|handshake| handshake.version.as_str())),
            (CIPHER_SUITE, handshake.map(|handshake| handshake.suite)),
        ] {
            match value {
                Some(value) => preset.set(rules.name(name), value),
                None => preset.remove(rules.name(name)),
            }
        }
    }
    let tells = settings.tells_tls || certificate.is_some() || !rules.renamed.is_empty();
    tells.then(|| Rc::new(preset))
}

/// Leaves behind what a client says of who has logged in: only weir may say so.
pub fn forget_identity(request: &mut Request) {
    request.parts_mut().edits.leave_out(Known::XAmznOidc);
}

/// Tells the target who has logged in, by fields whose names begin with `X-Amzn-Oidc-`. A value with bytes that a field
/// may not have is left out.
pub fn tell_identity(request: &mut Request, fields: &[(&'static str, String)]) {
    for (name, value) in fields {
        if let Some(value) = HeaderText::new(value) {
            request.set(Known::XAmznOidc, name, value);
        }
    }
}

/// What came of `X-Forwarded-For`, as a list that goes on.
fn forwarders(request: &Request) -> Result<String, RequestError> {
    let mut list = String::new();
    let values = request.parts().head.fields().values(Known::XForwardedFor);
    let values = values.filter_map(|value| std::str::from_utf8(value).ok());
    for value in values.filter(|value| !value.is_empty()) {
        list.push_str(value);
        list.push_str(", ");
    }
    // Each address has the comma behind it by now.
    if list.matches(',').count() > FORWARDERS_MAX {
        return Err(RequestError::TooManyForwarders);
    }
    Ok(list)
}

/// Where in `X-Forwarded-For` an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Alone,
    /// Behind others.
    InList,
}

/// A client's address as `X-Forwarded-For` has it.
///
/// AWS brackets an IPv6 address that joins a list or has a port, and leaves one alone that stands by itself.
fn address(client: ClientAddr, settings: HttpSettings, place: Place) -> String {
    match (client.ip().to_canonical(), settings.forwards_client_port) {
        (ip, true) => SocketAddr::new(ip, client.port()).to_string(),
        (IpAddr::V6(v6), false) if place == Place::InList => format!("[{v6}]"),
        (ip, false) => ip.to_string(),
    }
}

/// Bytes of a head beyond which nothing that came is kept of a trace. Source: "Request tracing": 7 KB.
const TRACED_BYTES_MAX: usize = 7 * 1024;

/// Sets `X-Amzn-Trace-Id`: a root of its own, or its own `Self` before the root that came; gives it for the log.
///
/// `epoch_seconds` is wall time; `random` gives 96 bits.
pub fn trace(request: &mut Request, epoch_seconds: u64, random: &mut fastrand::Rng) -> HeaderText {
    let head = &request.parts().head;
    let id = match head.first(Known::XAmznTraceId) {
        None => root(epoch_seconds, random),
        Some(_) if head.whole().len() > TRACED_BYTES_MAX => root(epoch_seconds, random),
        Some(came) => joined(std::str::from_utf8(came).unwrap_or(""), epoch_seconds, random),
    };
    request.set(Known::XAmznTraceId, "X-Amzn-Trace-Id", id.clone());
    id
}

/// Bytes of an identifier: `1-`, eight digits of time, `-`, 24 digits of chance.
const ID_BYTES: usize = 2 + 8 + 1 + 24;

/// A new root.
fn root(epoch_seconds: u64, random: &mut fastrand::Rng) -> HeaderText {
    const LABEL: &[u8] = b"Root=";
    let mut text = [0; LABEL.len() + ID_BYTES];
    let (label, id) = text.split_at_mut(LABEL.len());
    label.copy_from_slice(LABEL);
    id.copy_from_slice(&identifier(epoch_seconds, random));
    HeaderText::Shared(text[..].into())
}

/// What came with a request, with a root or a `Self` of ours before it.
fn joined(came: &str, epoch_seconds: u64, random: &mut fastrand::Rng) -> HeaderText {
    let fields = || came.split(';').map(str::trim).filter(|field| !field.is_empty());
    let is = |field: &str, key: &str| field.split_once('=').is_some_and(|(k, _)| k.eq_ignore_ascii_case(key));
    let label = if fields().any(|field| is(field, "Root")) { "Self" } else { "Root" };
    let id = identifier(epoch_seconds, random);
    let mut text = format!("{label}={}", std::str::from_utf8(&id).expect("an identifier is ASCII"));
    for field in fields().filter(|field| !is(field, "Self")) {
        text.push(';');
        text.push_str(field);
    }
    HeaderText::Shared(text.into_bytes().into())
}

fn identifier(epoch_seconds: u64, random: &mut fastrand::Rng) -> [u8; ID_BYTES] {
    let mut id = [b'-'; ID_BYTES];
    id[0] = b'1';
    write_hex(&mut id[2..10], epoch_seconds);
    write_hex(&mut id[11..19], random.u64(..));
    write_hex(&mut id[19..], random.u64(..));
    id
}

/// Writes the lowest hexadecimal digits of a number, as many as there is place for.
fn write_hex(place: &mut [u8], mut number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in place.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

/// Names a `Host` where a client of HTTP/1.0 named none, as a classic listener does: an absolute URI's, else the listener's
/// own address.
pub fn default_host(request: &mut Request) {
    if request.parts().head.first(Known::Host).is_none() {
        let listener = request.listener();
        let host = host_toward_target(request.authority(), listener.port(), listener.ip());
        if let Some(host) = HeaderText::new(&host) {
            request.set(Known::Host, "Host", host);
        }
    }
}

/// Rewrites `Host` as an application listener does: lower case, an absolute URI's authority in its place, the
/// listener's port added when it is not the protocol's own and none was given, any port left out when it is. Leaves it as it
/// came where that is to be preserved.
pub fn rewrite_host(request: &mut Request) {
    let origin = request.parts().origin.clone();
    if origin.settings.preserves_host && request.parts().head.first(Known::Host).is_some() {
        return;
    }
    let mut told = origin.host_told.borrow_mut();
    // A client asks one connection for one host, most often.
    if told.as_ref().is_none_or(|(asked, _)| asked != request.authority_bytes()) {
        let listener = request.listener();
        let host = host_toward_target(request.authority(), listener.port(), listener.ip());
        *told = HeaderText::new(&host).map(|host| (request.authority_bytes().to_owned(), host));
    }
    if let Some((_, host)) = told.as_ref() {
        request.set(Known::Host, "Host", host.clone());
    }
}

/// Has the target asked for another host or URL, as a rule wants it; what no transform matches stays. The port is treated
/// as with [`rewrite_host`], unless the new host has one. Gives the new host, if it is one.
///
/// # Errors
/// [`RequestError::TransformFailed`] when what comes out is no host, no path, or too long.
pub fn transform(request: &mut Request, transforms: &Transforms) -> Result<Option<HeaderText>, RequestError> {
    let head = request.head();
    // In lower case, as rules compare it: no client dodges a rewrite by capitals.
    let host = transforms.host.as_ref().and_then(|rewrite| rewrite.apply(&head.host.to_ascii_lowercase()));
    // The path that the rule has matched, or a prefix could be kept by writing it otherwise.
    let url = transforms.url.as_ref().and_then(|rewrite| match head.query {
        Some(query) => rewrite.apply(&format!("{}?{query}", head.normal_path)),
        None => rewrite.apply(head.normal_path),
    });
    request.parts_mut().rewritten_url = url.map(rewritten_url).transpose()?;
    let Some(host) = host else {
        rewrite_host(request);
        return Ok(None);
    };
    let listener = request.listener();
    let host = String::from_utf8(host).ok().filter(|host| is_host(host.as_bytes()));
    let host = host.map(|host| match (split_host_port(&host), split_host_port(request.authority())) {
        ((_, None), (_, Some(port))) => format!("{host}:{port}"),
        _ => host,
    });
    let preserves_host = request.parts().origin.settings.preserves_host;
    let host = host.map(|host| {
        if preserves_host { host } else { host_toward_target(&host, listener.port(), listener.ip()) }
    });
    let host = host.and_then(|host| HeaderText::new(&host));
    let host = host.ok_or(RequestError::TransformFailed(TransformError::InvalidHost))?;
    request.set(Known::Host, "Host", host.clone());
    Ok(Some(host))
}

/// A path with a query, as the request line of a target may have it.
fn rewritten_url(url: Vec<u8>) -> Result<Box<str>, RequestError> {
    if url.len() > REWRITTEN_BYTES_MAX {
        return Err(RequestError::TransformFailed(TransformError::TooLong));
    }
    let is_clean = |byte: &u8| (byte.is_ascii_graphic() && *byte != b'#') || !byte.is_ascii();
    let is_path = url.starts_with(b"/") && url.iter().all(is_clean);
    let text = String::from_utf8(url).ok().filter(|_| is_path);
    text.map(String::into_boxed_str).ok_or(RequestError::TransformFailed(TransformError::InvalidPath))
}

fn host_toward_target(authority: &str, port: u16, listener: IpAddr) -> String {
    const HTTP_PORT: u16 = 80;
    const HTTPS_PORT: u16 = 443;
    let (host, given_port) = split_host_port(authority);
    // HTTP/1.0 without a host: the listener's own address.
    let mut host = if host.is_empty() { listener.to_string() } else { host.to_ascii_lowercase() };
    if !matches!(port, HTTP_PORT | HTTPS_PORT) {
        write!(host, ":{}", given_port.unwrap_or(port)).expect("writing to a string succeeds");
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A6.45
    #[test]
    fn a_request_without_a_trace_gets_a_root() {
        let id = root(0x5833_7262, &mut fastrand::Rng::with_seed(1));
        let (start, random) = id.as_str().split_at("Root=1-58337262-".len());
        assert_eq!(start, "Root=1-58337262-");
        assert!(random.len() == 24 && random.bytes().all(|b| b.is_ascii_hexdigit()));
    }

    // Conformance: A6.46, A6.48
    #[test]
    fn a_trace_that_came_keeps_its_root_and_fields_and_gets_a_self() {
        let id = joined("Self=1-old-x;Root=1-a-b;CalledFrom=app", 1, &mut fastrand::Rng::with_seed(1));
        let id = id.as_str();
        assert!(id.starts_with("Self=1-00000001-") && id.ends_with(";Root=1-a-b;CalledFrom=app"), "{id}");
    }

    // Conformance: A6.37, A6.38
    #[test]
    fn an_address_is_bracketed_in_a_list_and_with_a_port() {
        let with_port = HttpSettings { forwards_client_port: true, ..HttpSettings::default() };
        for (client, alone, in_list, told_with_port) in [
            ("192.0.2.1:5", "192.0.2.1", "192.0.2.1", "192.0.2.1:5"),
            ("[::ffff:192.0.2.1]:5", "192.0.2.1", "192.0.2.1", "192.0.2.1:5"),
            ("[2001:db8::1]:5", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5"),
        ] {
            let client = ClientAddr(client.parse().unwrap());
            assert_eq!(address(client, HttpSettings::default(), Place::Alone), alone);
            assert_eq!(address(client, HttpSettings::default(), Place::InList), in_list);
            assert_eq!(address(client, with_port, Place::Alone), told_with_port);
        }
    }

    // Conformance: A6.28, A6.29, A6.30
    #[test]
    fn a_host_is_rewritten_for_the_listener_s_port() {
        let listener = "127.0.0.1".parse().unwrap();
        assert_eq!(host_toward_target("Example.COM", 8080, listener), "example.com:8080");
        assert_eq!(host_toward_target("example.com:9", 8080, listener), "example.com:9");
        assert_eq!(host_toward_target("example.com:80", 80, listener), "example.com");
        assert_eq!(host_toward_target("", 8080, listener), "127.0.0.1:8080");
    }

    // Conformance: A6.47
    #[test]
    fn a_trace_without_a_root_gets_one() {
        let id = joined("CalledFrom=app", 1, &mut fastrand::Rng::with_seed(1));
        let id = id.as_str();
        assert!(id.starts_with("Root=1-00000001-") && id.ends_with(";CalledFrom=app"), "{id}");
    }
}

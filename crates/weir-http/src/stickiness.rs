//! Cookies by which clients stick to a target or a group, as a response sets them.
//!
//! Source: Application Load Balancer, "Sticky sessions". What the cookies say is decided in [`weir_core::sticky`].

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use weir_core::snapshot::GroupIndex;
use weir_core::sticky::{Affinity, Cookie};
use weir_core::target::Target;

use crate::codec::response::Response;
use crate::exchange::Exchange;

/// How long browsers keep a cookie, whatever the time that is sealed in it. Source: Application Load Balancer, "Sticky
/// sessions".
const KEPT_SECONDS: u64 = 7 * 24 * 3600;

/// Longest value of a `Set-Cookie`: name, value and attributes, in bytes.
const LINE_BYTES: usize = 256;

thread_local! {
    /// The second for which an end was written last, and how.
    static EXPIRES: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Sets the cookies of a response that `target`, a target of `group`, gave to a client who sticks.
pub fn set_cookies(
    exchange: &Exchange,
    response: &mut Response,
    affinity: &Affinity,
    group: GroupIndex,
    target: &Target,
) {
    let clock = exchange.worker.clock;
    let wall_seconds = clock.wall_seconds(clock.recent());
    let sets = |name: &str| response.cookie(name).is_some();
    let cookies = exchange.dispatcher().borrow_mut().cookies(affinity, group, target, sets, wall_seconds);
    for cookie in cookies.iter() {
        response.set_cookie(&line(cookie, wall_seconds + KEPT_SECONDS));
    }
}

/// Sets the cookies of a response that `target`, an instance of `group`, gave to a client of a classic listener who sticks.
///
/// Source: Classic Load Balancer, "Sticky sessions".
pub fn set_classic_cookies(
    exchange: &Exchange,
    response: &mut Response,
    affinity: &Affinity,
    group: GroupIndex,
    target: &Target,
) {
    let clock = exchange.worker.clock;
    let wall_seconds = clock.wall_seconds(clock.recent());
    let mut application = None;
    let sets = |name: &str| {
        // AWS passes over one that ends like this.
        application = response.cookie(name).filter(|line| !line.ends_with(b";")).map(attributes);
        application.is_some()
    };
    let cookies = exchange.dispatcher().borrow_mut().cookies(affinity, group, target, sets, wall_seconds);
    let kept = cookies.kept.map(|kept| format!("; Max-Age={}", kept.as_secs())).unwrap_or_default();
    let attributes = application.unwrap_or_else(|| format!("; Path=/{kept}"));
    for cookie in cookies.iter() {
        let mut line = format!("{}={}{attributes}", cookie.name, cookie.value());
        if cookie.is_cross_site() {
            line.push_str("; SameSite=None");
            if !attributes.to_ascii_lowercase().contains("; secure") {
                line.push_str("; Secure");
            }
        }
        response.set_cookie(&line);
    }
}

/// What an application says of its cookie that is to be said of ours, too: for where, for how long, and for whom it is.
fn attributes(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut attributes = String::new();
    for attribute in line.split(';').skip(1).map(str::trim) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (name.trim(), value.trim());
        let value = match name.to_ascii_lowercase().as_str() {
            "path" => value.replace('_', "%5F"),
            "domain" | "expires" | "max-age" | "secure" | "httponly" => value.to_owned(),
            _ => continue,
        };
        let equals = if attribute.contains('=') { "=" } else { "" };
        attributes.extend(["; ", name, equals, &value]);
    }
    attributes
}

/// A cookie with its attributes, as AWS writes them.
fn line(cookie: &Cookie, ends_at: u64) -> String {
    let mut line = String::with_capacity(LINE_BYTES);
    for part in [cookie.name, "=", cookie.value(), "; Expires="] {
        line.push_str(part);
    }
    EXPIRES.with_borrow_mut(|(second, text)| {
        if *second != ends_at || text.is_empty() {
            *second = ends_at;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(ends_at));
        }
        line.push_str(text);
    });
    line.push_str("; Path=/");
    if cookie.is_cross_site() {
        line.push_str("; SameSite=None; Secure");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: C4.2
    #[test]
    fn an_application_s_attributes_are_said_of_ours_too() {
        for (line, expected) in [
            ("session=1", ""),
            ("session=1; other; Path = /y ; Max-Age=5", "; Path=/y; Max-Age=5"),
            ("session=1; Path=/a_b; HttpOnly", "; Path=/a%5Fb; HttpOnly"),
            (
                "session=1;domain=shop.example; Max-Age=60;Secure; SameSite=Lax",
                "; domain=shop.example; Max-Age=60; Secure",
            ),
            ("session=a=b; Expires=Thu, 26 Nov 2026 19:00:00 GMT", "; Expires=Thu, 26 Nov 2026 19:00:00 GMT"),
        ] {
            assert_eq!(attributes(line.as_bytes()), expected, "{line}");
        }
    }
}

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
    let sets = |name: &str| response.sets_cookie(name);
    let cookies = exchange.dispatcher().borrow_mut().cookies(affinity, group, target, sets, wall_seconds);
    for cookie in cookies.iter() {
        response.set_cookie(&line(cookie, wall_seconds + KEPT_SECONDS));
    }
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

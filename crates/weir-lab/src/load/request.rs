//! The bytes of requests, as far as they can be made beforehand.

use super::target::Protocol;
use super::worker::Waiting;
use super::{LoadError, Plan, REQUEST_BYTES_MAX, hpack};

/// What is sent and awaited in TCP, and what a datagram has after its number.
pub(super) const ECHO: &[u8] = b"weir lab load: please say this again\n";

/// What every request of a load has in common.
#[derive(Debug)]
pub(super) struct Template {
    /// In HTTP/1.1 without the end of the head, in HTTP/2 a header block.
    common: Vec<u8>,
    /// A request that adds nothing.
    whole: Vec<u8>,
    is_http2: bool,
}

impl Template {
    pub(super) fn new(plan: &Plan) -> Result<Self, LoadError> {
        let target = &plan.target;
        let is_http2 = target.protocol == Protocol::Http2;
        let mut common = Vec::new();
        if is_http2 {
            // GET and http, entries of the static table; then the path and the authority by their names' entries.
            common.extend([0x82, 0x86]);
            hpack::write_indexed(&mut common, 4, target.path.as_bytes());
            hpack::write_indexed(&mut common, 1, target.authority.as_bytes());
        } else {
            let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", target.path, target.authority);
            common.extend(head.as_bytes());
        }
        for (name, value) in &plan.headers {
            if !is_field(name, value) {
                return Err(LoadError::Header(format!("{name}: {value}")));
            }
            if is_http2 {
                hpack::write(&mut common, name.to_ascii_lowercase().as_bytes(), value.trim().as_bytes());
            } else {
                write_field(&mut common, name, value.trim());
            }
        }
        if common.len() > REQUEST_BYTES_MAX {
            return Err(LoadError::RequestBytes);
        }
        let end: &[u8] = if is_http2 { b"" } else { b"\r\n" };
        let whole = [&common, end].concat();
        Ok(Self { common, whole, is_http2 })
    }

    /// The bytes of a request, in `scratch` unless all are known beforehand.
    pub(super) fn request<'a>(&'a self, waiting: &Waiting, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if waiting.work.is_none() && waiting.key.is_none() {
            return &self.whole;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.common);
        for (name, number) in [("x-lab-work", waiting.work), ("x-lab-key", waiting.key)] {
            if let Some(number) = number {
                let mut digits = [0; 20];
                let digits = decimal(number, &mut digits);
                if self.is_http2 {
                    hpack::write(scratch, name.as_bytes(), digits.as_bytes());
                } else {
                    write_field(scratch, name, digits);
                }
            }
        }
        if !self.is_http2 {
            scratch.extend_from_slice(b"\r\n");
        }
        scratch
    }
}

/// Whether a field can be sent, and does not frame the request anew.
fn is_field(name: &str, value: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let framing = ["host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"];
    !name.is_empty()
        && name.bytes().all(is_token)
        && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !framing.iter().any(|frame| frame.eq_ignore_ascii_case(name))
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A number in decimal digits, without an allocation.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&digits[at..]).expect("digits are ASCII");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    #[test]
    fn a_request_says_what_it_is_about() {
        let mut plan = Plan::new(Endpoint::parse("http://127.0.0.1:8080/a").unwrap());
        plan.headers = vec![("X-Env".to_owned(), "blue".to_owned())];
        let template = Template::new(&plan).unwrap();
        let mut scratch = Vec::new();
        let mut waiting = Waiting { at: 0, noticed: 0, work: None, key: None };
        let expected = "GET /a HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-Env: blue\r\n\r\n";
        assert_eq!(template.request(&waiting, &mut scratch), expected.as_bytes());
        (waiting.work, waiting.key) = (Some(u64::MAX), Some(0));
        let whole =
            expected.replace("\r\n\r\n", "\r\nx-lab-work: 18446744073709551615\r\nx-lab-key: 0\r\n\r\n");
        assert_eq!(template.request(&waiting, &mut scratch), whole.as_bytes());
    }

    #[test]
    fn fields_that_would_end_a_request_early_are_refused() {
        for (name, value) in [("X-A\r\nB", "1"), ("", "1"), ("X", "1\r\nY: 2"), ("Content-Length", "3")] {
            let mut plan = Plan::new(Endpoint::parse("http://127.0.0.1:8080/").unwrap());
            plan.headers = vec![(name.to_owned(), value.to_owned())];
            assert!(matches!(Template::new(&plan), Err(LoadError::Header(_))), "{name}: {value}");
        }
    }
}

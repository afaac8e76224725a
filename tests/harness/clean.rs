//! What a target may see: requests that every server reads alike.

/// A clean request that has come whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clean {
    /// `POST`.
    pub method: String,
    /// `/path?query`.
    pub target: String,
    /// Its fields as they came, in order.
    pub fields: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
    /// Bytes of it on the connection.
    pub length: usize,
}

impl Clean {
    /// A field's first value, whatever the name's case; empty when there is none.
    pub fn field(&self, name: &str) -> &str {
        self.values(name).first().copied().unwrap_or("")
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }
}

/// A reason why others may read bytes differently.
pub type Dirt = String;

/// Fields that must never be passed on: they concern the connection that they came on.
const HOP_BY_HOP: [&str; 8] = [
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "x-amzn-mtls-clientcert",
    "",
];

/// Fields of which there is exactly one, since weir writes it.
const ONCE: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];

/// Reads a request from the beginning of `bytes`; `None` while its end has not come.
///
/// # Errors
/// [`Dirt`]: it is not clean.
pub fn read(bytes: &[u8]) -> Result<Option<Clean>, Dirt> {
    let mut lines = Lines { bytes, at: 0 };
    let Some(line) = lines.next()? else { return Ok(None) };
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("a request line {line:?}"));
    };
    let is_target = target == "*" || target.starts_with('/');
    if !is_token(method) || !is_target || target.contains('#') || target.contains('\t') {
        return Err(format!("a request line {line:?}"));
    }
    let Some(fields) = lines.fields()? else { return Ok(None) };
    check(&fields)?;
    let mut clean =
        Clean { method: method.to_owned(), target: target.to_owned(), fields, ..Clean::default() };
    let (lengths, codings) = (clean.values("content-length"), clean.values("transfer-encoding"));
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Some(Vec::new()),
        ([length], []) => lines.exactly(canonical(length, 10)?),
        ([], ["chunked"]) => match lines.chunks()? {
            Some((body, trailers)) => {
                clean.trailers = trailers;
                Some(body)
            }
            None => None,
        },
        _ => return Err(format!("framing by {lengths:?} and {codings:?}")),
    };
    Ok(body.map(|body| Clean { body, length: lines.at, ..clean }))
}

fn check(fields: &[(String, String)]) -> Result<(), Dirt> {
    for (name, value) in fields {
        let lower = name.to_ascii_lowercase();
        if !is_token(name) || value.trim_matches([' ', '\t']) != value {
            return Err(format!("a field {name:?}: {value:?}"));
        }
        if HOP_BY_HOP.contains(&lower.as_str()) {
            return Err(format!("a field of the connection, {name}"));
        }
        let letters: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
        let framing = ["content-length", "transfer-encoding"];
        if framing.iter().any(|known| known.replace('-', "") == letters && *known != lower) {
            return Err(format!("a look-alike, {name}"));
        }
    }
    for name in ONCE {
        let found = values(fields, name);
        if found.len() != 1 {
            return Err(format!("{name} is {found:?}"));
        }
    }
    let host = values(fields, "host")[0];
    if host.is_empty() || host.contains(['/', '@', ',', '?', '#', ' ', '\\']) {
        return Err(format!("a host {host:?}"));
    }
    match (&values(fields, "connection")[..], &values(fields, "upgrade")[..]) {
        ([], []) => Ok(()),
        (["upgrade"], [protocol]) if is_token(protocol) && !protocol.starts_with("h2") => Ok(()),
        (connection, upgrade) => Err(format!("connection {connection:?}, upgrade {upgrade:?}")),
    }
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

/// A number as it is written when no digit could be left out.
fn canonical(text: &str, radix: u32) -> Result<usize, Dirt> {
    let digits = !text.is_empty() && text.chars().all(|letter| letter.is_digit(radix));
    let number = usize::from_str_radix(text, radix).ok().filter(|_| digits);
    number.filter(|_| text == "0" || !text.starts_with('0')).ok_or_else(|| format!("a length {text:?}"))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Lines that end with CR LF and have no other control byte but HT.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<String>, Dirt> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f);
        match end {
            None => Ok(None),
            Some(end) if end + 1 == rest.len() && rest[end] == b'\r' => Ok(None),
            Some(end) if rest[end..].starts_with(b"\r\n") => {
                self.at += end + 2;
                Ok(Some(String::from_utf8_lossy(&rest[..end]).into_owned()))
            }
            Some(end) => Err(format!(
                "a control byte {:#04x} in {:?}",
                rest[end],
                rest[..end].escape_ascii().to_string()
            )),
        }
    }

    fn fields(&mut self) -> Result<Option<Vec<(String, String)>>, Dirt> {
        let mut fields = Vec::new();
        while let Some(line) = self.next()? {
            if line.is_empty() {
                return Ok(Some(fields));
            }
            let (name, value) = line
                .split_once(": ")
                .or_else(|| Some((line.strip_suffix(':')?, "")))
                .ok_or_else(|| format!("a line {line:?}"))?;
            fields.push((name.to_owned(), value.to_owned()));
        }
        Ok(None)
    }

    fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken.to_vec())
    }

    #[allow(clippy::type_complexity, reason = "a body and its trailers")]
    fn chunks(&mut self) -> Result<Option<(Vec<u8>, Vec<(String, String)>)>, Dirt> {
        let mut body = Vec::new();
        while let Some(size) = self.next()? {
            let size = canonical(&size, 16)?;
            if size == 0 {
                let Some(trailers) = self.fields()? else { return Ok(None) };
                let may_not = [
                    "host",
                    "content-length",
                    "transfer-encoding",
                    "x-forwarded-for",
                    "authorization",
                    "cookie",
                ];
                return match trailers
                    .iter()
                    .find(|(name, _)| !is_token(name) || may_not.contains(&&*name.to_ascii_lowercase()))
                {
                    Some((name, _)) => Err(format!("a trailer {name:?}")),
                    None => Ok(Some((body, trailers))),
                };
            }
            let Some(data) = self.exactly(size) else { return Ok(None) };
            body.extend(data);
            match self.exactly(2).as_deref() {
                Some(b"\r\n") => {}
                Some(other) => return Err(format!("{:?} behind a chunk", other.escape_ascii().to_string())),
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\n";

    #[test]
    fn what_weir_writes_is_clean() {
        for rest in
            ["\r\n", "Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
        {
            let text = format!("{HEAD}{rest}");
            assert_eq!(read(text.as_bytes()).unwrap().unwrap().length, text.len(), "{rest:?}");
            for cut in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..cut]), Ok(None), "{:?}", &text[..cut]);
            }
        }
    }

    #[test]
    fn what_others_may_read_differently_is_dirt() {
        for rest in [
            "X: a\rb\r\n\r\n",
            "X: a\nb\r\n\r\n",
            "X: a\0b\r\n\r\n",
            "X : a\r\n\r\n",
            "X: a\r\n b\r\n\r\n",
            "Host: b\r\n\r\n",
            "nonsense\r\n\r\n",
            "Content_Length: 1\r\n\r\n",
            "Connection: close\r\n\r\n",
            "TE: trailers\r\n\r\n",
            "Content-Length: +1\r\n\r\n1",
            "Content-Length: 01\r\n\r\n1",
            "Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1",
            "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n1\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\r\n22\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
        ] {
            assert!(read(format!("{HEAD}{rest}").as_bytes()).is_err(), "{rest:?}");
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET http://a/ HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET /#a HTTP/1.1",
        ] {
            assert!(read(HEAD.replace("POST / HTTP/1.1", line).as_bytes()).is_err(), "{line}");
        }
    }
}

//! A browser without a window: it speaks TLS with whoever answers, keeps cookies, and follows nothing by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_tls::TargetSide;

use crate::tls::dialled;
use crate::{Client, Reply, run};

/// Header lines of an answer that are read.
const HEADER_LINES_MAX: usize = 64;

/// A client with cookies, by host and port.
#[derive(Debug, Default)]
pub struct Browser {
    tls: TargetSide,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    /// Asks a listener for a path of `host` over TLS, with the cookies of that host and `lines`, further header lines that
    /// each end with CRLF. Keeps the cookies that come back.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn get(&mut self, addr: SocketAddr, host: &str, path: &str, lines: &str) -> Reply {
        let cookies = self.header(host);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{cookies}{lines}\r\n");
        let name = host.split(':').next();
        let bytes = run(async {
            let (mut stream, _) =
                self.tls.connect(dialled(addr).await, name, &[]).await.expect("hands can be shaken");
            stream.write_all(request.as_bytes()).await.expect("a request can be sent");
            let mut bytes = Vec::new();
            // How it ends does not matter: the answer says how long it is.
            let _ = stream.read_to_end(&mut bytes).await;
            bytes
        });
        self.keep(host, &bytes)
    }

    /// Asks a server without TLS, with its cookies: for a path, or sends it a form.
    ///
    /// # Panics
    /// When nobody answers.
    pub fn ask_plainly(&mut self, addr: SocketAddr, path: &str, form: Option<&str>) -> Reply {
        let host = addr.to_string();
        let method = if form.is_some() { "POST" } else { "GET" };
        let (form, cookies) = (form.unwrap_or(""), self.header(&host));
        let mut client = Client::connect(addr);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{cookies}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        let answer = client.to_end();
        self.keep(&host, &answer)
    }

    /// Takes an answer apart that has come from `host`, and keeps its cookies.
    ///
    /// # Panics
    /// When it is not HTTP.
    pub fn keep(&mut self, host: &str, answer: &[u8]) -> Reply {
        let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
        let mut response = httparse::Response::new(&mut lines);
        let parsed = response.parse(answer).expect("an answer is HTTP");
        let httparse::Status::Complete(end) = parsed else {
            panic!("the answer is cut: {}", String::from_utf8_lossy(answer))
        };
        let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = response.headers.iter().map(|line| (line.name.to_ascii_lowercase(), value(line.value)));
        let reply = Reply {
            status: response.code.expect("a whole head has a status"),
            headers: headers.collect(),
            body: value(&answer[end..]),
        };
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            let jar = self.cookies.entry(host.to_owned()).or_default();
            if attributes.to_ascii_lowercase().contains("max-age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// The cookies of a host, by name.
    pub fn cookies(&mut self, host: &str) -> &mut BTreeMap<String, String> {
        self.cookies.entry(host.to_owned()).or_default()
    }

    /// The `Cookie` line for a host, if it has any.
    pub fn header(&self, host: &str) -> String {
        let Some(jar) = self.cookies.get(host).filter(|jar| !jar.is_empty()) else { return String::new() };
        let pairs: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("Cookie: {}\r\n", pairs.join("; "))
    }
}

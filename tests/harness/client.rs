//! A client that says exactly the bytes it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_tcp_quickack};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::{DEADLINE, wait_until};

/// Header lines of an answer that are read.
const HEADER_LINES_MAX: usize = 64;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Bytes that came after the last answer.
    rest: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Reply {
    /// A header's first value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// Asks for a path on a connection of its own.
pub fn get(addr: SocketAddr, path: &str) -> Reply {
    Client::connect(addr).ask(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"))
}

impl Client {
    /// Connects to `addr`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        Self::over(stream)
    }

    /// Connects to `addr` from an address of its own choice, whose port is free again at once when the client is dropped: it
    /// ends its connection with a reset.
    ///
    /// # Panics
    /// When nobody listens there, or the port is taken.
    pub fn connect_from(own: SocketAddr, addr: SocketAddr) -> Self {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        // A program that another test starts meanwhile would hold the port.
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket can be made");
        set_socket_linger(&socket, Some(Duration::ZERO)).expect("a socket can be told how to end");
        // Until that program runs, its process still has what this one had open.
        wait_until(&format!("{own} is free"), || bind(&socket, &own).is_ok());
        connect(&socket, &addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        Self::over(socket.into())
    }

    /// Connects to `addr`, and acknowledges that the connection is there only with the first bytes it sends, or after 200 ms: until
    /// then whoever listens is still shaking hands.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect_halfway(addr: SocketAddr) -> Self {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("there is a descriptor left");
        set_tcp_quickack(&socket, false).expect("acknowledgements can be put off");
        connect(&socket, &addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self { stream, rest: Vec::new() }
    }

    /// The client's own address.
    ///
    /// # Panics
    /// When the socket has none.
    pub fn addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes. A peer that has closed is no failure here: the answer tells.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that no more bytes will come.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request);
        self.reply()
    }

    /// Sends a GET on this connection, which stays open, and reads its answer.
    pub fn get(&mut self, path: &str) -> Reply {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    }

    /// Reads one answer with its body.
    ///
    /// # Panics
    /// When the connection ends before the answer does, or when it is not HTTP.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|| panic!("the connection ended within an answer: {:?}", self.text()))
    }

    /// Reads one answer with its body; `None` when the connection ends before it does.
    ///
    /// # Panics
    /// When it is not HTTP.
    pub fn try_reply(&mut self) -> Option<Reply> {
        loop {
            let mut reply = self.head()?;
            // An interim answer is followed by the final one.
            if reply.status / 100 == 1 && reply.status != 101 {
                continue;
            }
            reply.body = self.body(&reply)?;
            return Some(reply);
        }
    }

    /// Reads the head of an answer; what follows it stays to be read.
    ///
    /// # Panics
    /// When it is not HTTP.
    pub fn head(&mut self) -> Option<Reply> {
        loop {
            let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
            let mut response = httparse::Response::new(&mut lines);
            let parsed = response.parse(&self.rest);
            match parsed.unwrap_or_else(|error| panic!("not HTTP: {error}")) {
                httparse::Status::Complete(end) => {
                    let headers = response.headers.iter().map(|line| {
                        (line.name.to_ascii_lowercase(), String::from_utf8_lossy(line.value).into_owned())
                    });
                    let reply = Reply {
                        status: response.code.expect("a whole head has a status"),
                        headers: headers.collect(),
                        body: String::new(),
                    };
                    self.rest.drain(..end);
                    return Some(reply);
                }
                httparse::Status::Partial => {
                    if !self.read_more() {
                        return None;
                    }
                }
            }
        }
    }

    fn body(&mut self, reply: &Reply) -> Option<String> {
        let bytes = if matches!(reply.status, 101 | 204 | 304) {
            Vec::new()
        } else if reply.header("transfer-encoding") == "chunked" {
            self.chunks()?
        } else if let Ok(length) = reply.header("content-length").parse() {
            self.exactly(length)?
        } else {
            self.to_end()
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            body.extend(self.exactly(size)?);
            let end = self.line()?;
            if size == 0 {
                // Trailers, up to the empty line.
                let mut line = end;
                while !line.is_empty() {
                    line = self.line()?;
                }
                return Some(body);
            }
        }
    }

    /// Reads a line, without its end; `None` when the connection ends first.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Reads that many bytes; `None` when the connection ends first.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.rest.len() < count {
            if !self.read_more() {
                return None;
            }
        }
        Some(self.rest.drain(..count).collect())
    }

    /// Reads everything until the connection ends, by an orderly close or a reset.
    pub fn to_end(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.rest)
    }

    /// Whether something has come within a short while, the end among it.
    pub fn has_something(&mut self) -> bool {
        const WHILE: Duration = Duration::from_millis(100);
        self.stream.set_read_timeout(Some(WHILE)).expect("a timeout can be set");
        let has_come = !self.rest.is_empty() || self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        has_come
    }

    /// Whether the connection ends without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && !self.read_more()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.rest).into_owned()
    }

    /// Reads what comes next; whether anything came before the end.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.rest.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within {DEADLINE:?}; so far {:?}", self.text())
            }
            Err(_) => false,
        }
    }
}

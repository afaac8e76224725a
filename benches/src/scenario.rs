//! The scenarios: what clients say to a proxy, and what its backends answer.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// HTTP/1.1 keep-alive, 64 connections, 128 B responses.
    #[value(name = "http-128")]
    Http128,
    /// HTTP/1.1 keep-alive, 64 connections, 4 KiB responses.
    #[value(name = "http-4k")]
    Http4k,
    /// HTTP/1.1: connect, one request, close; 32 at a time.
    HttpShort,
    /// HTTP/2 without TLS, 8 connections with 16 streams each, 128 B responses; HTTP/1.1 toward backends.
    H2,
    /// HTTP/1.1 keep-alive over TLS 1.3, 64 connections, 128 B responses.
    #[value(name = "https-128")]
    Https128,
    /// A full handshake of TLS 1.3 with ECDSA P-256, one request, close; 32 at a time.
    TlsHandshake,
    /// TCP: connect, 128 B there and back, close; 32 at a time.
    TcpShort,
    /// TCP: one stream of bulk from a backend to its client.
    #[value(name = "tcp-bulk-1")]
    TcpBulk1,
    /// TCP: eight such streams.
    #[value(name = "tcp-bulk-8")]
    TcpBulk8,
    /// UDP: 64 busy flows, 128 B there and back, two datagrams of each under way.
    #[value(name = "udp-64")]
    Udp64,
    /// UDP: 5,000 sparse flows, 128 B there and back, 64 datagrams under way among all of them.
    #[value(name = "udp-5000")]
    Udp5000,
}

/// What clients speak to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Http,
    Http2,
    Https,
    Tcp,
    Udp,
}

impl Scenario {
    /// Its name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http128 => "http-128",
            Self::Http4k => "http-4k",
            Self::HttpShort => "http-short",
            Self::H2 => "h2",
            Self::Https128 => "https-128",
            Self::TlsHandshake => "tls-handshake",
            Self::TcpShort => "tcp-short",
            Self::TcpBulk1 => "tcp-bulk-1",
            Self::TcpBulk8 => "tcp-bulk-8",
            Self::Udp64 => "udp-64",
            Self::Udp5000 => "udp-5000",
        }
    }

    /// What clients speak.
    pub(crate) fn front(self) -> Front {
        match self {
            Self::Http128 | Self::Http4k | Self::HttpShort => Front::Http,
            Self::H2 => Front::Http2,
            Self::Https128 | Self::TlsHandshake => Front::Https,
            Self::TcpShort | Self::TcpBulk1 | Self::TcpBulk8 => Front::Tcp,
            Self::Udp64 | Self::Udp5000 => Front::Udp,
        }
    }

    /// What the floor relay is loaded with, which copies bytes: the same without TLS and HTTP/2, that backends do not speak.
    pub(crate) fn plain(self) -> Self {
        match self {
            Self::H2 | Self::Https128 => Self::Http128,
            Self::TlsHandshake => Self::HttpShort,
            plain => plain,
        }
    }

    /// Client connections at a time, or flows of datagrams.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Http128 | Self::Http4k | Self::Https128 | Self::Udp64 => 64,
            Self::HttpShort | Self::TlsHandshake | Self::TcpShort => 32,
            Self::H2 | Self::TcpBulk8 => 8,
            Self::TcpBulk1 => 1,
            Self::Udp5000 => 5_000,
        }
    }

    /// Datagrams under way among all flows: half of what a socket's buffer holds by default, so that none is lost.
    pub(crate) fn datagrams_under_way(self) -> usize {
        if self == Self::Udp64 { 128 } else { 64 }
    }

    /// Whether bytes come without end, and are counted instead of requests.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, Self::TcpBulk1 | Self::TcpBulk8)
    }

    /// What CPU time is divided by. Microseconds for each megabyte are milliseconds for each gigabyte.
    pub(crate) fn unit(self) -> &'static str {
        match self.front() {
            Front::Udp => "datagram",
            Front::Tcp if self.is_bulk() => "MB",
            Front::Tcp | Front::Http | Front::Http2 | Front::Https => "request",
        }
    }

    /// Requests under way on a connection.
    pub(crate) fn streams(self) -> usize {
        if self == Self::H2 { 16 } else { 1 }
    }

    /// Whether a connection ends with its first answer.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Self::HttpShort | Self::TlsHandshake | Self::TcpShort)
    }

    /// Bytes of a response's body, and of what is sent each way over plain TCP and UDP.
    pub(crate) fn body_bytes(self) -> usize {
        if self == Self::Http4k { 4096 } else { 128 }
    }

    /// What a client sends in plain TCP, UDP or HTTP/1.1.
    pub(crate) fn request(self) -> Vec<u8> {
        match self.front() {
            Front::Tcp | Front::Udp => vec![b'x'; self.body_bytes()],
            Front::Http | Front::Http2 | Front::Https => {
                b"GET /item?id=42 HTTP/1.1\r\nHost: bench.localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".to_vec()
            }
        }
    }

    /// What a backend answers.
    pub(crate) fn response(self) -> Vec<u8> {
        let body = vec![b'y'; self.body_bytes()];
        if matches!(self.front(), Front::Tcp | Front::Udp) {
            return body;
        }
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), body].concat()
    }

    /// Whether what has come to a backend ends a request.
    pub(crate) fn is_request(self, message: &[u8]) -> bool {
        match self.front() {
            Front::Tcp | Front::Udp => message.len() >= self.body_bytes(),
            Front::Http | Front::Http2 | Front::Https => message.ends_with(b"\r\n\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in Scenario::value_variants() {
            assert_eq!(Scenario::from_str(scenario.name(), false).as_ref(), Ok(scenario));
        }
    }

    #[test]
    fn the_floor_relay_is_loaded_with_what_backends_understand() {
        for scenario in Scenario::value_variants() {
            let plain = scenario.plain();
            assert!(matches!(plain.front(), Front::Http | Front::Tcp | Front::Udp));
            assert_eq!(plain.response(), scenario.response());
            assert_eq!(plain.is_short(), scenario.is_short());
        }
    }
}

//! Headers that proxies in front of weir send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use weir_core::address::ClientAddr;
use weir_core::definition::Proxies;

use super::{CRC32C, FIXED_BYTES, LOCAL, PROXY, SIGNATURE, TLV_HEAD_BYTES};
use crate::accept::Accepted;
use crate::stream::Stream;

/// Bytes that tell the versions apart; no header is shorter.
const MARK_BYTES: usize = SIGNATURE.len();

/// Longest header of version 1, in bytes with its line end. Source: section 2.1.
const LINE_BYTES_MAX: usize = 107;

/// Longest header of version 2, in bytes. Ours: many times what any proxy is known to send.
const HEADER_BYTES_MAX: usize = 4096;

/// Families of addresses in version 2, in the upper half of their byte.
const UNSPECIFIED: u8 = 0x0;
const IPV4: u8 = 0x1;
const IPV6: u8 = 0x2;
const UNIX: u8 = 0x3;

/// Why a proxy's header was not taken. Its connection is reset.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It was damaged on its way.
    #[error("the checksum of the PROXY header is wrong")]
    Damaged,
    /// The connection ended or failed first.
    #[error("the connection ended before its PROXY header")]
    Ended(#[source] io::Error),
    /// There is none, or not one that can be read.
    #[error("not a PROXY header: {0}")]
    Malformed(&'static str),
    /// It did not come in time.
    #[error("no PROXY header in time")]
    TimedOut,
}

impl HeaderError {
    /// The name in metric labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Ended(_) => "ended",
            Self::Malformed(_) => "malformed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Reads who a connection's client is, where a proxy says so: the connection of anybody else is left as it is.
///
/// # Errors
/// [`HeaderError`]; the connection is reset when it is dropped.
pub async fn introduce(accepted: &mut Accepted, proxies: &Proxies) -> Result<(), HeaderError> {
    if !proxies.has(accepted.client.ip()) {
        return Ok(());
    }
    match timeout(proxies.timeout, read(&mut accepted.stream)).await.unwrap_or(Err(HeaderError::TimedOut)) {
        Ok(None) => Ok(()),
        Ok(Some(client)) => {
            accepted.client = ClientAddr(client);
            Ok(())
        }
        Err(error) => {
            let _ = accepted.stream.set_zero_linger();
            Err(error)
        }
    }
}

/// Reads a header, and no byte more; `None` when it names nobody.
async fn read(stream: &mut Stream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; MARK_BYTES];
    stream.read_exact(&mut header).await.map_err(HeaderError::Ended)?;
    if header == SIGNATURE {
        header.resize(FIXED_BYTES, 0);
        stream.read_exact(&mut header[MARK_BYTES..]).await.map_err(HeaderError::Ended)?;
        header.resize(whole_length(&header)?, 0);
        stream.read_exact(&mut header[FIXED_BYTES..]).await.map_err(HeaderError::Ended)?;
        return client_of_header(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(HeaderError::Malformed("it begins with something else"));
    }
    while !header.ends_with(b"\n") {
        if header.len() == LINE_BYTES_MAX {
            return Err(HeaderError::Malformed("the line is too long"));
        }
        // What has come up to the end of the line: what is behind that is not the header's.
        let mut ahead = [0; LINE_BYTES_MAX];
        let ahead = &mut ahead[..LINE_BYTES_MAX - header.len()];
        let count = stream.peek(ahead).await.map_err(HeaderError::Ended)?;
        let line = ahead[..count].iter().position(|byte| *byte == b'\n').map_or(count, |end| end + 1);
        if line == 0 {
            return Err(HeaderError::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
        stream.read_exact(&mut ahead[..line]).await.map_err(HeaderError::Ended)?;
        header.extend_from_slice(&ahead[..line]);
    }
    client_of_line(&header)
}

/// The client that a header of version 1 names, line end and all; `None` for `UNKNOWN`.
fn client_of_line(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed("the line does not name a client");
    let line =
        line.strip_suffix(b"\r\n").ok_or(HeaderError::Malformed("the line does not end with CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // Whatever follows is to be passed over.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => words.next().and_then(|ip| ip.parse::<Ipv4Addr>().ok()).map(IpAddr::V4),
        Some("TCP6") => words.next().and_then(|ip| ip.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
        _ => None,
    };
    let _listener = words.next();
    let mut port = || words.next().and_then(port);
    match (client, port(), port(), words.next()) {
        (Some(ip), Some(port), Some(_), None) => Ok(Some(SocketAddr::new(ip, port))),
        _ => Err(MALFORMED),
    }
}

/// A port as the protocol writes it: digits alone, and no zero before others.
fn port(word: &str) -> Option<u16> {
    let port: u16 = word.parse().ok()?;
    (port.to_string() == word).then_some(port)
}

/// How long a header of version 2 is that begins like this.
fn whole_length(fixed: &[u8]) -> Result<usize, HeaderError> {
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_BYTES_MAX {
        return Err(HeaderError::Malformed("it is too long"));
    }
    Ok(length)
}

/// The client that a whole header of version 2 names; `None` where the proxy speaks for itself, or of something that has no
/// address of IP.
fn client_of_header(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const CUT: HeaderError = HeaderError::Malformed("it is cut off");
    let (fixed, rest) = header.split_at(FIXED_BYTES);
    match fixed[12] {
        PROXY => {}
        // Whatever follows is to be passed over.
        LOCAL => return Ok(None),
        _ => return Err(HeaderError::Malformed("its version or command is unknown")),
    }
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let (client, length) = match fixed[13] >> 4 {
        UNSPECIFIED => return Ok(None),
        IPV4 if rest.len() >= 12 => {
            let ip: [u8; 4] = rest[..4].try_into().expect("four bytes");
            (Some(SocketAddr::new(ip.into(), port(8))), 12)
        }
        IPV6 if rest.len() >= 36 => {
            let ip: [u8; 16] = rest[..16].try_into().expect("sixteen bytes");
            (Some(SocketAddr::new(ip.into(), port(32))), 36)
        }
        UNIX if rest.len() >= 216 => (None, 216),
        IPV4 | IPV6 | UNIX => return Err(CUT),
        _ => return Err(HeaderError::Malformed("its family of addresses is unknown")),
    };
    check(header, FIXED_BYTES + length)?;
    Ok(client)
}

/// Looks at what follows the addresses: whether it is whole, and whether a checksum among it is right.
fn check(header: &[u8], mut at: usize) -> Result<(), HeaderError> {
    while let Some(head) = header.get(at..at + TLV_HEAD_BYTES) {
        let value_at = at + TLV_HEAD_BYTES;
        let end = value_at + usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value = header.get(value_at..end).ok_or(HeaderError::Malformed("it is cut off"))?;
        if head[0] == CRC32C {
            let mut without = header.to_vec();
            without[value_at..end].fill(0);
            if value != crc32c::crc32c(&without).to_be_bytes() {
                return Err(HeaderError::Damaged);
            }
        }
        at = end;
    }
    if at == header.len() { Ok(()) } else { Err(HeaderError::Malformed("it is cut off")) }
}

#[cfg(test)]
mod tests {
    use weir_core::definition::ProxyVersion;

    use super::super::{of_client, of_our_own};
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn of_line(line: &str) -> Result<Option<SocketAddr>, &'static str> {
        client_of_line(line.as_bytes()).map_err(|error| error.reason())
    }

    #[test]
    fn a_line_names_the_client_or_nobody() {
        let four = "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n";
        assert_eq!(of_line(four), Ok(Some(addr("192.0.2.1:4660"))));
        let six = "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
        assert_eq!(of_line(six), Ok(Some(addr("[2001:db8::1]:1"))));
        assert_eq!(of_line("PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(of_line("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), Ok(None));
    }

    #[test]
    fn a_line_that_names_nobody_and_does_not_say_so_is_malformed() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +12 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 012 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12 0443\r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(of_line(line), Err("malformed"), "{line:?}");
        }
    }

    #[test]
    fn what_weir_writes_it_reads() {
        for client in ["192.0.2.1:4660", "[2001:db8::1]:4660"] {
            let listener = if client.starts_with('[') { "[2001:db8::2]:443" } else { "198.51.100.2:443" };
            let header = of_client(ProxyVersion::V2, ClientAddr(addr(client)), addr(listener));
            assert_eq!(client_of_header(&header).unwrap(), Some(addr(client)));
            let line = of_client(ProxyVersion::V1, ClientAddr(addr(client)), addr(listener));
            assert_eq!(client_of_line(&line).unwrap(), Some(addr(client)));
        }
        assert_eq!(client_of_header(&of_our_own()).unwrap(), None);
    }

    #[test]
    fn a_header_that_names_nobody_may_have_anything_behind_it() {
        for (command, family, block) in [
            (LOCAL, 0x00, &[b'x'; 600][..]),
            (LOCAL, 0x11, b"xx"),
            (LOCAL, 0x41, &[0; 12]),
            (PROXY, 0x00, &[b'x'; 12]),
        ] {
            let length = (block.len() as u16).to_be_bytes();
            let header = [&SIGNATURE[..], &[command, family], &length, block].concat();
            assert_eq!(client_of_header(&header).unwrap(), None, "{command:x} {family:x}");
        }
        assert!(
            client_of_header(&[&SIGNATURE[..], &[0x22, 0, 0, 0]].concat()).is_err(),
            "an unknown command"
        );
    }

    #[test]
    fn a_bit_that_has_flipped_never_names_another_client() {
        let header =
            of_client(ProxyVersion::V2, ClientAddr(addr("192.0.2.1:4660")), addr("198.51.100.2:443"));
        for bit in 8 * SIGNATURE.len()..8 * header.len() {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The type of the checksum itself is what nothing watches.
            let is_of_checksum_head = (8 * 28..8 * 29).contains(&bit);
            if whole_length(&damaged).is_ok_and(|length| length == damaged.len()) && !is_of_checksum_head {
                assert!(!matches!(client_of_header(&damaged), Ok(Some(_))), "bit {bit}");
            }
        }
    }

    /// Bytes that begin as a header may: some of one that weir writes, and something else.
    fn like_a_header(random: &mut fastrand::Rng) -> Vec<u8> {
        let client = SocketAddr::new(IpAddr::from(random.u32(..).to_be_bytes()), random.u16(..));
        let mut bytes = match random.u8(..3) {
            0 => of_client(ProxyVersion::V2, ClientAddr(client), client),
            1 => of_our_own(),
            _ => format!("PROXY TCP4 {} {} {} 1\r\n", client.ip(), client.ip(), client.port()).into_bytes(),
        };
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(FIXED_BYTES..=bytes.len().max(FIXED_BYTES)));
        bytes.resize(bytes.len().max(FIXED_BYTES), 0);
        bytes
    }

    #[test]
    fn no_bytes_have_the_reader_do_anything_but_read_or_refuse() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut read = 0;
        for _ in 0..200_000 {
            let bytes = like_a_header(&mut random);
            let named = [client_of_header(&bytes), client_of_line(&bytes)];
            read += usize::from(named.into_iter().any(|named| named.is_ok_and(|client| client.is_some())));
        }
        assert!(read > 1_000, "only {read} were headers");
    }
}

//! What a load balancer reads of QUIC: the server that a datagram names in its destination connection id.
//!
//! Source: RFC 8999 (what every version has in common), IETF draft "QUIC-LB: Generating Routable QUIC Connection IDs", plaintext
//! algorithm; Network Load Balancer, "QUIC". A connection id that servers choose begins with a byte of their configuration; the
//! server's id follows in the clear, then whatever makes the connection id unique.

use std::fmt;
use std::str::FromStr;

/// Which server a connection id names: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// Bytes of a server's id.
const SERVER_ID_BYTES: usize = 8;

/// The bit of the first byte that says that a header is a long one.
const LONG: u8 = 0x80;

/// Where in a long header the length of the destination connection id stands: behind the first byte and the version.
const LENGTH_AT: usize = 5;

impl ServerId {
    /// The server that a datagram names, if it names one. Only clients' first datagrams do not: they have chosen the connection
    /// id by themselves, and what stands in the server's place is at random. Nothing says so; nobody has that id, then.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        let connection_id = if datagram.first()? & LONG == 0 {
            // Its length is only known to the server that has made it.
            &datagram[1..]
        } else {
            let length = usize::from(*datagram.get(LENGTH_AT)?);
            datagram.get(LENGTH_AT + 1..)?.get(..length)?
        };
        let id = connection_id.get(1..)?.first_chunk::<SERVER_ID_BYTES>()?;
        Some(Self(u64::from_be_bytes(*id)))
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl FromStr for ServerId {
    type Err = ServerIdError;

    /// Reads `0x` and 16 hexadecimal digits, as AWS writes it.
    fn from_str(text: &str) -> Result<Self, ServerIdError> {
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 2 * SERVER_ID_BYTES);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or(ServerIdError)
    }
}

/// A text is not the id of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server id is 0x and 16 hexadecimal digits, like 0x0123456789abcdef")]
pub struct ServerIdError;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    fn long(connection_id: &[u8]) -> Vec<u8> {
        [&[0xc0, 0, 0, 0, 1, connection_id.len() as u8][..], connection_id, &[0; 20]].concat()
    }

    #[test]
    fn a_server_s_id_is_found_in_both_headers() {
        let connection_id = [&[0x07][..], &ID, b"nonce"].concat();
        let short = [&[0x40][..], &connection_id, &[9; 30]].concat();
        let expected = Some(ServerId(0x0102_0304_0506_0708));
        assert_eq!(ServerId::of(&short), expected);
        assert_eq!(ServerId::of(&long(&connection_id)), expected);
        assert_eq!(ServerId::of(&long(&connection_id[..9])), expected);
    }

    #[test]
    fn what_is_too_short_names_nobody() {
        assert_eq!(ServerId::of(&long(&[7, 1, 2, 3, 4, 5, 6, 7])), None, "a connection id of 8 bytes");
        assert_eq!(ServerId::of(&long(&[])), None);
        for length in 0..10 {
            assert_eq!(ServerId::of(&[0x40; 10][..length]), None, "{length}");
        }
        assert_eq!(ServerId::of(&[0xc0, 0, 0, 0, 1, 255, 1, 2, 3]), None, "a length beyond the end");
    }

    #[test]
    fn no_bytes_have_it_do_anything_but_answer() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let length = random.usize(..40);
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let _ = ServerId::of(&bytes);
        }
    }

    #[test]
    fn it_is_written_as_aws_writes_it() {
        let id: ServerId = "0x0123456789ABCDEF".parse().unwrap();
        assert_eq!((id, id.to_string().as_str()), (ServerId(0x0123_4567_89ab_cdef), "0x0123456789abcdef"));
        for text in ["0123456789abcdef", "0x123", "0x0123456789abcdeg", "0x+123456789abcdef", ""] {
            assert_eq!(text.parse::<ServerId>(), Err(ServerIdError), "{text}");
        }
    }
}

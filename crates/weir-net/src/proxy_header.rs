//! Headers of the PROXY protocol: in front of a connection, they tell who its client is.
//!
//! Source: "The PROXY protocol, versions 1 & 2".

mod read;
mod write;

pub use self::read::{HeaderError, introduce};
pub use self::write::{of_client, of_our_own};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, with the command LOCAL: a connection of the load balancer's own.
const LOCAL: u8 = 0x20;
/// Version 2, with the command PROXY: a connection in the name of a client.
const PROXY: u8 = 0x21;

/// Bytes of version 2 before the addresses.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// The type of a checksum behind the addresses.
const CRC32C: u8 = 0x03;

/// Bytes of the type and length of what follows the addresses.
const TLV_HEAD_BYTES: usize = 3;

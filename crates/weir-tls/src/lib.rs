//! TLS toward clients and targets, for both sides of weir.
//!
//! A listener has one [`ServerSide`], shared by all workers and swapped live inside: who was accepted before a swap keeps
//! what it has, who comes after it gets what is new, and nobody gets half of each. [`TargetSide`] is what connections to
//! targets are secured with. How long a handshake takes is bounded by [`HANDSHAKE_DEADLINE`] on either side.
//!
//! What this crate lacks, on purpose: HTTP, watching of files, TLS 1.0 and 1.1, renegotiation, early data.

mod certificate;
mod client_certificate;
mod der;
mod distinguished_name;
mod error;
mod files;
mod handshake;
mod listeners;
mod load;
mod mutual;
mod names;
mod provider;
mod secrets;
mod server_side;
mod signing;
mod socket;
mod target_side;
mod tickets;

use std::time::Duration;

pub use certificate::ServerCertificate;
pub use client_certificate::ClientCertificate;
pub use error::HandshakeError;
pub use files::Files;
pub use handshake::{Alpn, AlpnOffer, Handshake};
pub use listeners::Listeners;
pub use load::{LoadError, LoadProblem, load, load_secrets, load_tickets};
pub use secrets::{OwnSecret, Secrets};
pub use server_side::{ServerSettings, ServerSide};
pub use signing::SigningKey;
pub use socket::Socket;
pub use target_side::TargetSide;
pub use tickets::Tickets;
pub use tokio_rustls::client::TlsStream as TargetStream;
pub use tokio_rustls::server::TlsStream as ClientStream;

/// Longest time for a handshake, from the connection to its last message: AWS's, toward targets.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod testing;

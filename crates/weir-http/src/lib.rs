//! The HTTP exchange between a client and a target.
//!
//! Application and classic HTTP listeners stand on it: they decide, and this crate reads requests, sends them to the
//! target that was picked, and brings the answer back. No type of the HTTP library appears outside `codec`'s
//! files, so that another codec can take its place.
//!
//! What this crate lacks, on purpose: configuration, discovery, rules.

mod codec;
pub mod error;
pub mod exchange;
pub mod forwarded;
mod handshake;
mod load_report;
pub mod record;
pub mod stickiness;
mod targets;

pub use codec::edits::HeaderText;
pub use codec::request::{Origin, Request};
pub use codec::response::Response;
pub use codec::{Answer, Client, Connection, serve};
pub use error::{Culprit, RequestError};
pub use exchange::{Exchange, Wanted};
pub use handshake::shake_hands;
pub use record::Record;

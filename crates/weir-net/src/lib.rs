//! Sockets: bind, accept, workers and their reactors, streams, dial, relay, drain.
//!
//! Network and classic TCP listeners share [`relay`] and [`dial`]; everything that accepts shares [`accept`].
//!
//! What this crate lacks, on purpose: HTTP, snapshots, decisions.

pub mod accept;
pub mod bind;
pub mod buffers;
pub mod clock;
pub mod datagrams;
pub mod departures;
pub mod dial;
pub mod drain;
pub mod first_word;
pub mod handover;
pub mod idle;
pub mod inherited;
pub mod pipes;
pub mod proxy_header;
pub mod reactor;
pub mod relay;
pub mod stream;
pub mod transparent;
pub mod waiting_room;
pub mod worker;

//! The HTTP client with which weir asks others: sources of targets, key sets, identity providers.
//!
//! One request on a connection of its own, with TLS where the URL says so.
//!
//! What this crate lacks, on purpose: redirects, retries, a pool, what an answer means.

mod client;
mod tls;

pub use client::{Answer, ClientError, get, post, post_json};

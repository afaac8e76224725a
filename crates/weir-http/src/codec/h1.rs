//! HTTP/1.1, a codec of our own: heads as spans over the bytes they came in, one output and one send for each side,
//! bodies that pass without a channel between.

mod asked;
pub(crate) mod body;
#[cfg(test)]
mod cases;
pub(super) mod chunks;
pub(crate) mod client_side;
pub(crate) mod desync;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod oracle;
pub(crate) mod request_head;
pub(super) mod response_head;
mod sending;
pub(crate) mod server;
pub(crate) mod target;
#[cfg(test)]
mod testing;
pub(super) mod tunnel;
mod upload;
pub(super) mod write;

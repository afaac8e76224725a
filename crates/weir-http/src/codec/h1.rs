//! HTTP/1.1, a codec of our own.

#[allow(dead_code, reason = "the connections that use it are not here yet")]
pub(crate) mod chunks;
#[allow(dead_code, reason = "the connections that use it are not here yet")]
pub(crate) mod desync;
#[allow(dead_code, reason = "the connections that use it are not here yet")]
pub(crate) mod request_head;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod testing;

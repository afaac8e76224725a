//! HTTP/1.1, a codec of our own.

pub(crate) mod request_head;

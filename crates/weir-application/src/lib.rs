//! The application listener: rules over HTTP requests.
//!
//! One file, [`request`], tells the whole story of a request.
//!
//! What this crate lacks, on purpose: configuration, discovery, control, and any type of an HTTP library.

mod authentication;
pub mod request;

pub use request::Application;

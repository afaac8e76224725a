//! The classic listener: static instance ports, one task per container instance, no rules.
//!
//! Its HTTP listeners exchange requests as application listeners do; its TCP listeners relay flows as network
//! listeners do. What differs is the pick: least outstanding requests for HTTP, round
//! robin for TCP, and no target at all when none is healthy.
//!
//! What this crate lacks, on purpose: rules, configuration, discovery, control.

pub mod request;

pub use request::Classic;

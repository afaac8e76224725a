//! The network listener: flows, one client connection to one target connection, bound for life.
//!
//! One file, [`flow`], tells the whole story of a flow. Classic TCP listeners run the same code: only the algorithm
//! of their group differs, and the shape of their log line.
//!
//! What this crate lacks, on purpose: HTTP, configuration, discovery, control.

pub mod flow;
mod line;

pub use flow::{FlowError, Flows};

//! The network listener: flows, one client connection to one target connection, bound for life.
//!
//! One file, [`flow`], tells the whole story of a flow, and [`datagrams`] that of one of UDP. Classic TCP listeners run the same
//! code: only the algorithm of their group differs, and the shape of their log line.
//!
//! What this crate lacks, on purpose: HTTP, configuration, discovery, control.

pub mod datagrams;
pub mod flow;
mod line;
mod placing;

pub use flow::Flows;
pub use placing::FlowError;

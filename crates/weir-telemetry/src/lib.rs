//! Metrics and access logs.
//!
//! Each worker counts in shards of its own, plain stores without contention; the scraper sums them. Access-log lines
//! gather in a buffer of each worker and go to one writer thread; a writer that cannot keep up costs lines, which are
//! counted, never a request.
//!
//! What this crate lacks, on purpose: label look-ups on a hot path, a wait on a worker.

pub mod access_log;
pub mod arms;
pub mod collector;
mod families;
pub mod histogram;
pub mod names;
pub mod shard;

pub use arms::{ArmShard, ArmTotals};
pub use collector::Telemetry;
pub use shard::{Hold, ListenerShard, ResponseSource};

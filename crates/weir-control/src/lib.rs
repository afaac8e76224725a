//! The control side: the one writer of snapshots, and everything that leads to one.
//!
//! One file, [`reconciler`], tells the whole story of a target change.
//!
//! What this crate lacks, on purpose: requests and flows. It never imports a listener crate; the two sides meet in
//! the snapshot.

mod certificates;
mod duplicates;
mod handle;
mod labels;
mod listeners;
mod prober;
pub mod reconciler;
pub mod sources;
pub mod timeline;

pub use certificates::unusable_files;
pub use duplicates::Duplicates;
pub use handle::{Command, Handle, Readiness, Reloaded};
pub use listeners::{Assignment, Listeners};
pub use reconciler::{Origin, Reconciler, StartError};

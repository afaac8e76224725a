//! weir, assembled: worker threads, the control thread, the admin port.
//!
//! The binary's commands and the end-to-end tests start the very same [`process::Process`].
//!
//! What this crate lacks, on purpose: logic that another crate could own.

#[cfg(not(target_os = "linux"))]
compile_error!("weir runs on Linux only: it needs SO_REUSEPORT, epoll and /proc");

pub mod image;
pub mod process;
mod setup;
mod sources;
mod worker;

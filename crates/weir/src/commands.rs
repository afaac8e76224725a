//! The commands, one file each.

pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod explain;
pub(crate) mod lab;
mod notify;
pub(crate) mod reload;
mod restart;
pub(crate) mod run;
mod signals;
pub(crate) mod status;

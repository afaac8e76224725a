//! The commands, one file each.

pub(crate) mod chaos;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod explain;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod status;

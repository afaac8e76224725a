//! The laboratory: routing algorithms under load, with the code that ships.
//!
//! One scenario is run in virtual time around `weir-core`'s own balancing, or live through a real weir; before either shows a
//! number, [`validate`] checks the laboratory against closed forms.
//!
//! What this crate lacks, on purpose: a second implementation of anything in `weir-core`.

pub mod access_log;
pub mod arrivals;
pub mod compare;
pub mod live;
pub mod load;
pub mod measure;
pub mod random;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod simulator;
pub mod statistics;
pub mod theory;
pub mod validate;
pub mod work;
pub mod zipf;

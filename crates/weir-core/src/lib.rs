//! Nouns and decisions of weir.
//!
//! Everything here is a synchronous function of values: which rule matches, which target is picked, whether a target
//! is healthy, what the next snapshot looks like. Time and randomness are arguments. The data plane, `weir explain`,
//! the simulator and the tests all run this code; there is no second implementation of any of it.
//!
//! What this crate lacks, on purpose: async, sockets, clocks, ambient randomness, locks, logging.

pub mod address;
pub mod anomaly;
pub mod authentication;
pub mod automatic;
pub mod balance;
pub mod chaos;
pub mod comparison;
pub mod decide;
pub mod definition;
pub mod dispatcher;
pub mod ecs;
pub mod ejection;
pub mod explain;
pub mod flow_key;
pub mod guard;
pub mod head;
pub mod header_rules;
pub mod health;
pub mod label_rules;
pub mod latency;
pub mod lease;
pub mod limits;
pub mod load_report;
pub mod logs;
pub mod lookup;
pub mod name;
pub mod path;
pub mod pattern;
pub mod quic;
pub mod reconcile;
pub mod redirect;
pub mod route;
pub mod rule;
pub mod seal;
pub mod snapshot;
pub mod ssl_policy;
pub mod sticky;
pub mod table;
pub mod tally;
pub mod target;
pub mod task;
pub mod thresholds;
pub mod time;
pub mod tls;
pub mod unfit;
pub mod url;

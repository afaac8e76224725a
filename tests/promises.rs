//! What weir promises, one file for each thing that a user would name.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod access_log;
mod bad_input;
mod classic;
mod config_examples;
mod deregistration;
mod docker;
mod docker_compose;
mod docker_engine_restart;
mod docker_health;
mod docker_identity;
mod docker_labels;
mod file_targets;
mod flows;
mod guards;
mod health_checks;
mod http_forwarding;
mod http_routing;
mod limits;
mod manners;
mod refusals;
mod reload;
mod retries;
mod same_picks;
mod target_swap;
mod upgrade;

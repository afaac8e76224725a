//! What weir promises, one file for each thing that a user would name.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod access_log;
mod at_the_target;
mod bad_input;
mod chaos;
mod classic;
mod config_examples;
mod deregistration;
mod dns_targets;
mod docker;
mod docker_compose;
mod docker_engine_restart;
mod docker_health;
mod docker_identity;
mod docker_labels;
mod ecs_targets;
mod etcd_targets;
mod file_targets;
mod flows;
mod grpc;
mod guards;
mod health_checks;
mod hold;
mod http2;
mod http2_ends;
mod http2_injection;
mod http_forwarding;
mod http_routing;
mod http_targets;
mod limits;
mod manners;
mod memory;
mod publish;
mod refusals;
mod reload;
mod retries;
mod same_picks;
mod shared;
mod swarm;
mod target_swap;
mod tls;
mod two_weirs;
mod upgrade;

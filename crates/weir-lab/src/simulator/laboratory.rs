//! Algorithms that weir has not, to compare it with. They know every server, and nothing of health.

mod c3;
mod join_idle_queue;
mod weighted_round_robin;
mod yarp;

use std::fmt::Debug;

use super::dispatch::End;
use crate::scenario::{LaboratoryPolicy, Scenario};

/// An algorithm of the laboratory.
pub(super) trait Laboratory: Debug {
    /// Picks a server for a request of that dispatcher; `in_flight` is true at this moment.
    fn pick(&mut self, dispatcher: u32, now: u64, in_flight: &[u32]) -> u32;

    /// An attempt has ended.
    fn ended(&mut self, end: &End);

    /// What is known of numbers in flight is looked at again.
    fn refresh(&mut self, _in_flight: &[u32]) {}
}

pub(super) fn new(policy: LaboratoryPolicy, scenario: &Scenario, seed: u64) -> Box<dyn Laboratory> {
    let servers = scenario.servers_at_start().count();
    let dispatchers = scenario.dispatchers.count as usize;
    match policy {
        LaboratoryPolicy::JoinIdleQueue => {
            Box::new(join_idle_queue::JoinIdleQueue::new(dispatchers, servers, seed))
        }
        LaboratoryPolicy::C3 => Box::new(c3::C3::new(dispatchers, servers, seed)),
        LaboratoryPolicy::WeightedRoundRobin => {
            Box::new(weighted_round_robin::WeightedRoundRobin::new(dispatchers, scenario, seed))
        }
        LaboratoryPolicy::Yarp => Box::new(yarp::Yarp::new(dispatchers, servers, seed)),
    }
}

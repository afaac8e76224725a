//! Join-Idle-Queue: whoever becomes idle says so to one dispatcher, who sends it the next request.
//!
//! Source: Lu et al., "Join-Idle-Queue: A novel load balancing algorithm for dynamically scalable web services", 2011.

use super::super::dispatch::End;
use super::Laboratory;
use crate::random::{Purpose, Stream};

#[derive(Debug)]
pub(super) struct JoinIdleQueue {
    servers: usize,
    /// By dispatcher: servers that have said that they are idle.
    idle: Vec<Vec<u32>>,
    random: Stream,
}

impl JoinIdleQueue {
    pub(super) fn new(dispatchers: usize, servers: usize, seed: u64) -> Self {
        let mut queue = Self {
            servers,
            idle: vec![Vec::new(); dispatchers],
            random: Stream::new(seed, Purpose::Policy, 0),
        };
        (0..servers as u32).for_each(|server| queue.say(server));
        queue
    }

    fn say(&mut self, server: u32) {
        let to = self.random.below(self.idle.len());
        self.idle[to].push(server);
    }
}

impl Laboratory for JoinIdleQueue {
    fn pick(&mut self, dispatcher: u32, _: u64, _: &[u32]) -> u32 {
        let idle = &mut self.idle[dispatcher as usize];
        if idle.is_empty() {
            return self.random.below(self.servers) as u32;
        }
        let at = self.random.below(idle.len());
        idle.swap_remove(at)
    }

    fn ended(&mut self, end: &End) {
        if end.jobs == 0 {
            self.say(end.server);
        }
    }
}

//! Arrivals: how often a target has come lately, so that one that flaps is believed more slowly each time.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;

use crate::address::TargetAddr;
use crate::health::HealthCount;
use crate::snapshot::GroupIndex;
use crate::target::TargetId;
use crate::time::Timestamp;

/// Time after which an arrival is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Arrivals within that time that are nobody's fault: a deployment, and the deployment that takes it back.
const ARRIVALS_FREE: u32 = 2;

/// Arrivals that may be remembered before forgotten ones are looked for.
const REMEMBERED: usize = 1024;

/// Who has come lately.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// How often, and when last.
    lately: AHashMap<(GroupIndex, Who), (u32, Timestamp)>,
    /// How many there may be before those that are forgotten are taken out.
    swept_above: usize,
}

/// A target, whichever of its starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Address(TargetAddr),
    Task(Arc<str>, u16),
}

impl Arrivals {
    /// Notes that a target has come; how its health is to be counted.
    pub(super) fn note(&mut self, group: GroupIndex, id: &TargetId, now: Timestamp) -> HealthCount {
        if self.lately.len() > self.swept_above {
            self.lately.retain(|_, (_, last)| now.since(*last) < FORGOTTEN_AFTER);
            // Where all are recent, a sweep at each would cost what there are.
            self.swept_above = REMEMBERED.max(self.lately.len() * 2);
        }
        let who = match id {
            TargetId::Address(addr) => Who::Address(*addr),
            TargetId::Task { task, container_port } => Who::Task(task.id.clone(), *container_port),
        };
        let (count, last) = self.lately.entry((group, who)).or_insert((0, now));
        if now.since(*last) >= FORGOTTEN_AFTER {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        if *count > ARRIVALS_FREE { HealthCount::doubtful() } else { HealthCount::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    fn address(number: u32) -> TargetId {
        TargetId::Address(TargetAddr((std::net::Ipv4Addr::from(number), 80).into()))
    }

    #[test]
    fn who_comes_for_the_third_time_within_a_minute_is_doubted_and_forgiven_a_minute_later() {
        let mut arrivals = Arrivals::default();
        let mut comes = |group: u32, second: u64| arrivals.note(GroupIndex(group), &address(1), at(second));
        assert_eq!([comes(1, 0), comes(1, 1)], [HealthCount::default(); 2]);
        assert_eq!(comes(2, 2), HealthCount::default(), "another group knows nothing of it");
        assert_eq!([comes(1, 2), comes(1, 61)], [HealthCount::doubtful(); 2]);
        assert_eq!(comes(1, 121), HealthCount::default());
    }

    #[test]
    fn those_that_are_forgotten_take_no_room() {
        let mut arrivals = Arrivals::default();
        for number in 0..100_000 {
            arrivals.note(GroupIndex(1), &address(number), at(u64::from(number / 10)));
        }
        assert!(arrivals.lately.len() <= 2 * REMEMBERED, "{}", arrivals.lately.len());
    }
}

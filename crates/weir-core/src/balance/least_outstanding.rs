//! Least outstanding requests: the target with the fewest in flight, relative to its weight.
//!
//! In-flight counts are shared by all workers: with counts of its own each worker would decay toward round robin.

use crate::snapshot::Member;

/// The least loaded of `eligible` that `accept` takes.
///
/// The scan begins where the last one ended, so that ties go round in turn rather than to the first.
pub(super) fn pick(
    members: &[Member],
    eligible: &[u32],
    cursor: &mut usize,
    mut accept: impl FnMut(u32) -> bool,
) -> Option<u32> {
    let start = *cursor % eligible.len();
    let (mut best, mut best_load) = (None, (u64::MAX, 1));
    for rank in (start..eligible.len()).chain(0..start) {
        let member = &members[eligible[rank] as usize];
        let load = (u64::from(member.target.tally.in_flight()) + 1, u64::from(member.weight.get()));
        // a/b < c/d without division.
        if load.0 * best_load.1 < best_load.0.saturating_mul(load.1) && accept(eligible[rank]) {
            (best, best_load) = (Some(rank), load);
        }
    }
    let rank = best?;
    *cursor = rank + 1;
    Some(eligible[rank])
}

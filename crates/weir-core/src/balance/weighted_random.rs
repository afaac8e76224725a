//! Weighted random: each pick is drawn anew, in proportion to the weights.

use crate::anomaly::Share;
use crate::snapshot::Member;

/// How often a refused draw is repeated before the next position is taken instead.
const DRAWS_MAX: usize = 8;

/// Running sums of the weights.
#[derive(Clone, Debug)]
pub(super) struct WeightedRandom {
    /// For each eligible member: the sum of the weights up to and including it, and its position.
    sums: Vec<(u64, u32)>,
}

impl WeightedRandom {
    /// `mitigates` has members with less than their weight who fail far more often than their peers.
    pub(super) fn build(members: &[Member], eligible: &[u32], mitigates: bool) -> Self {
        let mut sum = 0;
        let sums = eligible
            .iter()
            .map(|at| {
                let member = &members[*at as usize];
                let share = if mitigates { member.opinion.share } else { Share::FULL };
                sum += u64::from(member.weight.get()) * u64::from(share.per_mille());
                (sum, *at)
            })
            .collect();
        Self { sums }
    }

    pub(super) fn pick(
        &self,
        random: &mut fastrand::Rng,
        mut accept: impl FnMut(u32, &mut fastrand::Rng) -> bool,
    ) -> Option<u32> {
        let (total, _) = self.sums.last()?;
        for _ in 0..DRAWS_MAX {
            let draw = random.u64(0..*total);
            let (_, at) = self.sums[self.sums.partition_point(|(sum, _)| *sum <= draw)];
            if accept(at, random) {
                return Some(at);
            }
        }
        self.sums.iter().map(|(_, at)| *at).find(|at| accept(*at, random))
    }
}

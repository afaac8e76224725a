//! Automatic target weights: which targets of a group fail far more often than their peers, and what weight they have
//! meanwhile.
//!
//! Application Load Balancers do this for groups of three healthy targets or more, by 5xx answers and connection errors, about
//! every five seconds, and do not say by what law. This one is ours: see decision 22. What this module lacks: clock, I/O,
//! counting.

use std::time::Duration;

/// How often targets are compared. Source: "Automatic Target Weights": about five seconds.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Healthy targets without which nobody can be compared. Source: "Anomaly detection".
pub const TARGETS_MIN: usize = 3;

/// Attempts of a target before which its errors say nothing.
pub const ATTEMPTS_MIN: u64 = 20;

/// Part of its attempts that must fail before a target is anomalous, whatever its peers do.
const ERRORS_MIN: f64 = 0.05;

/// How many times the part of its peers' attempts that fail it must be.
const TIMES_PEERS: f64 = 3.0;

/// By how many standard deviations of its peers' errors it must stand out: once in 30,000 windows by chance.
const DEVIATIONS: f64 = 4.0;

/// The peers' part that is assumed at least, so that one error among none is no anomaly.
const PEERS_MIN: f64 = 0.005;

/// What of a group's targets may be anomalous at a time: 1 of so many. Source: mitigation of at most half of the targets.
const ANOMALOUS_OF: usize = 2;

/// The share of its weight that a target keeps when it has become anomalous: enough to see it recover.
pub const SHARE_MIN: Share = Share(FULL / 20);

/// By how much a share grows with each window in which its target was as its peers are.
const GROWTH: u16 = 2;

const FULL: u16 = 1000;

/// A part of a target's weight: 5 to 100 %, in tenths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// All of it.
    pub const FULL: Self = Self(FULL);

    /// In tenths of a percent: 50 to 1000.
    pub fn per_mille(self) -> u16 {
        self.0
    }

    /// The next larger one.
    #[must_use]
    fn grown(self) -> Self {
        Self((self.0 * GROWTH).min(FULL))
    }
}

/// What came of the attempts on a target since it was judged last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// All of them.
    pub all: u64,
    /// Those that ended with a 5xx answer, or with none.
    pub errors: u64,
}

/// What is thought of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it fails far more often than its peers.
    pub is_anomalous: bool,
    /// The part of its weight that it has where that is mitigated.
    pub share: Share,
}

impl Default for Opinion {
    fn default() -> Self {
        Self { is_anomalous: false, share: Share::FULL }
    }
}

/// What is thought of each of a group's healthy targets after a window: of `attempts` and what was thought `before`, in one
/// order. Targets with fewer attempts than [`ATTEMPTS_MIN`] are not judged: they stay what they are.
pub fn judge(attempts: &[Attempts], before: &[Opinion]) -> Vec<Opinion> {
    let total = attempts.iter().fold(Attempts::default(), |sum, of| Attempts {
        all: sum.all + of.all,
        errors: sum.errors + of.errors,
    });
    let mut anomalous: Vec<(usize, f64)> = attempts
        .iter()
        .enumerate()
        .filter_map(|(at, of)| excess(*of, total).map(|excess| (at, excess)))
        .collect();
    // The worst ones, should there be too many.
    anomalous.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let is_compared = attempts.len() >= TARGETS_MIN;
    anomalous.truncate(if is_compared { attempts.len() / ANOMALOUS_OF } else { 0 });
    let judged = attempts.iter().zip(before).enumerate().map(|(at, (of, before))| {
        if anomalous.iter().any(|(worst, _)| *worst == at) {
            Opinion { is_anomalous: true, share: SHARE_MIN }
        } else if of.all < ATTEMPTS_MIN && is_compared {
            *before
        } else {
            Opinion { is_anomalous: false, share: before.share.grown() }
        }
    });
    judged.collect()
}

/// By how many standard deviations a target stands out from its peers; `None` when it does not, or nothing can be said.
fn excess(of: Attempts, total: Attempts) -> Option<f64> {
    let peers = Attempts { all: total.all - of.all, errors: total.errors - of.errors };
    if of.all < ATTEMPTS_MIN || peers.all < ATTEMPTS_MIN {
        return None;
    }
    let part = |of: Attempts| of.errors as f64 / of.all as f64;
    let (own, expected) = (part(of), part(peers).max(PEERS_MIN));
    let deviation = (expected * (1.0 - expected) / of.all as f64).sqrt();
    let excess = (own - expected) / deviation.max(f64::MIN_POSITIVE);
    (own >= ERRORS_MIN && own >= TIMES_PEERS * expected && excess >= DEVIATIONS).then_some(excess)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Opinion = Opinion { is_anomalous: false, share: Share::FULL };

    fn attempts(list: &[(u64, u64)]) -> Vec<Attempts> {
        list.iter().map(|&(all, errors)| Attempts { all, errors }).collect()
    }

    fn anomalous(list: &[(u64, u64)]) -> Vec<usize> {
        let judged = judge(&attempts(list), &vec![NORMAL; list.len()]);
        judged.iter().enumerate().filter(|(_, of)| of.is_anomalous).map(|(at, _)| at).collect()
    }

    #[test]
    fn a_target_that_fails_half_of_its_requests_stands_out_after_one_window() {
        assert_eq!(anomalous(&[(100, 0), (100, 50), (100, 1)]), [1]);
        assert_eq!(anomalous(&[(20, 10), (20, 0), (20, 0)]), [0]);
    }

    #[test]
    fn a_group_that_fails_as_a_whole_has_nobody_who_stands_out() {
        assert_eq!(anomalous(&[(100, 50), (100, 52), (100, 48)]), []);
        assert_eq!(anomalous(&[(100, 100); 4]), []);
    }

    #[test]
    fn few_requests_and_few_targets_decide_nothing() {
        assert_eq!(anomalous(&[(19, 19), (100, 0), (100, 0)]), []);
        assert_eq!(anomalous(&[(100, 100), (100, 0)]), [], "two cannot be told apart");
        assert_eq!(anomalous(&[(1000, 2), (1000, 0), (1000, 0)]), [], "chance");
    }

    #[test]
    fn at_most_half_of_the_targets_are_anomalous_the_worst_ones() {
        let list = [(100, 90), (100, 20), (1000, 0), (1000, 0), (1000, 0)];
        assert_eq!(anomalous(&list), [0, 1]);
        // Of three, one.
        assert_eq!(anomalous(&[(100, 60), (100, 90), (1000, 0)]).len(), 1);
    }

    #[test]
    fn a_share_is_cut_at_once_and_grows_back_window_by_window() {
        let bad = judge(&attempts(&[(100, 50), (100, 0), (100, 0)]), &[NORMAL; 3]);
        assert_eq!((bad[0].is_anomalous, bad[0].share), (true, SHARE_MIN));
        let mut opinion = bad[0];
        let mut shares = Vec::new();
        for _ in 0..5 {
            opinion = judge(&attempts(&[(30, 0), (100, 0), (100, 0)]), &[opinion, NORMAL, NORMAL])[0];
            assert!(!opinion.is_anomalous);
            shares.push(opinion.share.per_mille());
        }
        assert_eq!(shares, [100, 200, 400, 800, 1000]);
    }

    #[test]
    fn a_target_of_which_nothing_is_heard_stays_what_it_is() {
        let bad = Opinion { is_anomalous: true, share: SHARE_MIN };
        assert_eq!(judge(&attempts(&[(3, 0), (100, 0), (100, 0)]), &[bad, NORMAL, NORMAL])[0], bad);
    }
}

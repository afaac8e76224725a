//! How often targets are probed, and how long what they say is used.

use crate::load_report::LoadProbe;

/// Looks with a hundred requests.
const LOOKS_PER_HUNDRED: u16 = 300;

/// Of so many probes that are made one is taken out of the pool, beside those that are old or used up. Source: the paper removes one
/// with each request, where it makes three.
pub(super) const PROBES_PER_REMOVAL: u16 = 3;

/// Hundredths of a probe that make a whole one.
pub(super) const WHOLE: u16 = 100;

/// How much faster than it must a pool is to be used up.
const EXCESS: f64 = 1.0;

/// How a group's targets are probed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rates {
    /// Probes with a hundred requests.
    pub(super) per_hundred: u16,
    /// Whether targets are asked, and not looked at.
    pub(in super::super) asks: bool,
}

impl Rates {
    /// As a group says, or else looks.
    pub(in super::super) fn of(probe: Option<&LoadProbe>) -> Self {
        match probe {
            Some(probe) => Self { per_hundred: probe.per_hundred, asks: true },
            None => Self { per_hundred: LOOKS_PER_HUNDRED, asks: false },
        }
    }

    /// How often a probe may be used, when a pool holds such a part of the targets.
    pub(super) fn uses(self, part: f64) -> f64 {
        let probes = f64::from(self.per_hundred) / f64::from(WHOLE);
        probe_uses(part, probes, probes / f64::from(PROBES_PER_REMOVAL))
    }
}

/// How often a probe may be used, when a pool holds such a part of the targets, and with each request so many probes are made and so
/// many removed. Source: the paper's equation 1.
pub fn probe_uses(part: f64, probes: f64, removed: f64) -> f64 {
    ((1.0 + EXCESS) / ((1.0 - part) * probes - removed)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_used_as_often_as_is_published() {
        // `spec/algorithms.md`, item 23: a pool of 16 of 100 targets.
        for (probes, removed, expected) in [(3.0, 1.0, 1.316), (1.0, 0.25, 3.39), (0.5, 0.25, 11.76)] {
            let uses = probe_uses(0.16, probes, removed);
            assert!((uses / expected - 1.0).abs() < 0.001, "{uses}");
        }
        assert!((Rates::of(None).uses(0.5) - 4.0).abs() < 1e-9, "half of the targets at most are in a pool");
    }
}

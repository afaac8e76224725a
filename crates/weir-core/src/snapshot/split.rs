//! The two arms of a group that compares algorithms: over the same members, with the same health, tallies and latencies.

use std::sync::Arc;

use super::Group;
use crate::address::ClientAddr;
use crate::balance::{Asked, Picker, WorkerState};
use crate::comparison::{self, Arm, Side, Trial};
use crate::definition::{Algorithm, Hashing};
use crate::load_report::LoadReport;
use crate::time::Timestamp;

/// The other arm of a group, and who is in it.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// Arm B's.
    picker: Picker,
    /// The number of the trial.
    trial: u32,
    /// The part of its clients that arm B has.
    percentage: u8,
    /// Has groups split apart.
    seed: u64,
}

impl Group {
    /// The same group, where `trial` is under way or has been stopped: then the better arm takes everything, and nobody is in an arm.
    #[must_use]
    pub(crate) fn comparing(mut self, trial: Option<Arc<Trial>>, before: Option<&Self>) -> Self {
        let (Some(trial), Some(comparison)) = (trial, self.settings.comparison) else { return self };
        let build = || {
            let before = before.map(|group| group.picker_by(comparison.algorithm));
            let eligible = self.picker.eligible().to_vec();
            Picker::build(&self.settings, comparison.algorithm, &self.members, eligible, before)
        };
        match trial.stop.as_ref().map(|stop| stop.worse) {
            None => {
                self.split = Some(Box::new(Split {
                    picker: build(),
                    trial: trial.number,
                    percentage: comparison.percentage,
                    seed: self.fingerprint.as_u64(),
                }));
            }
            Some(Side::A) => self.picker = build(),
            Some(Side::B) => {}
        }
        self.trial = Some(trial);
        self
    }

    /// What it compares, or did until one arm was stopped.
    pub fn trial(&self) -> Option<&Arc<Trial>> {
        self.trial.as_ref()
    }

    /// An arm of its trial, if it has one, by its first bucket.
    pub fn arm_of(&self, side: Side) -> Option<Arm> {
        let (trial, comparison) = (self.trial.as_ref()?.number, self.settings.comparison?);
        let algorithm = match side {
            Side::A => self.settings.algorithm,
            Side::B => comparison.algorithm,
        };
        Some(Arm { trial, algorithm, bucket: 0 })
    }

    /// The percentage of its clients' connections that an arm has now; all of them where nothing is compared.
    pub fn percentage(&self, side: Side) -> u8 {
        let of_b = match (&self.split, self.trial.as_ref().and_then(|trial| trial.stop.as_ref())) {
            (Some(split), _) => split.percentage,
            (None, Some(stop)) if stop.worse == Side::A => 100,
            (None, _) => 0,
        };
        if side == Side::B { of_b } else { 100 - of_b }
    }

    /// The arm that a client is in, where algorithms are compared.
    pub fn arm(&self, client: ClientAddr) -> Option<Arm> {
        let split = self.split.as_ref()?;
        let (side, bucket) = comparison::place(client, split.seed, split.percentage);
        let picker = if side == Side::B { &split.picker } else { &self.picker };
        Some(Arm { trial: split.trial, algorithm: picker.algorithm, bucket })
    }

    /// What a request of that arm is picked by. Once a reload or a stop has taken its algorithm away, what the others are.
    pub(super) fn picker_of(&self, arm: Option<Arm>) -> &Picker {
        match arm {
            None => &self.picker,
            Some(arm) => self.picker_by(arm.algorithm),
        }
    }

    /// Draws targets that are to be asked for their load with a request of that arm; see [`Picker::draw_probes`].
    pub fn draw_probes(&self, arm: Option<Arm>, worker: &mut WorkerState, drawn: &mut Vec<Asked>) {
        self.picker_of(arm).draw_probes(&self.members, self.index, worker, drawn);
    }

    /// Keeps what one of its targets has said of its load.
    pub fn hear(
        &self,
        arm: Option<Arm>,
        worker: &mut WorkerState,
        asked: &Asked,
        report: LoadReport,
        now: Timestamp,
    ) {
        self.picker_of(arm).hear(self.index, worker, asked, report, now);
    }

    /// What requests of that arm are picked by; those that are in none, where that is `None`.
    pub fn algorithm(&self, arm: Option<Arm>) -> Algorithm {
        self.picker_of(arm).algorithm
    }

    /// What is hashed of requests of that arm, if anything is.
    pub fn hashing(&self, arm: Option<Arm>) -> Option<&Hashing> {
        self.picker_of(arm).hashing()
    }

    /// Whether a member has less under way than what is hashed to it may have; see [`Picker::is_within_bounds`].
    pub fn is_within_bounds(&self, arm: Option<Arm>, position: usize) -> bool {
        self.picker_of(arm).is_within_bounds(&self.members, position)
    }

    /// The picker by that algorithm; its first one if there is none.
    pub(super) fn picker_by(&self, algorithm: Algorithm) -> &Picker {
        self.pickers().find(|picker| picker.algorithm == algorithm).unwrap_or(&self.picker)
    }

    /// Its pickers: one, or one for each arm.
    pub(super) fn pickers(&self) -> impl Iterator<Item = &Picker> {
        [&self.picker].into_iter().chain(self.split.as_ref().map(|split| &split.picker))
    }
}

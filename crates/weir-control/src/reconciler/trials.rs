//! Trials: what the arms of comparisons have to show is looked at, and what has been stopped is told.

use weir_core::comparison::Side;
use weir_core::comparison::statistics::Counts;
use weir_core::reconcile::{Event, Observed, Stopped};

use super::{Reconciler, wall_time};
use crate::timeline::Entry;

impl Reconciler {
    /// Looks at the trials that are under way.
    pub(super) fn weigh_trials(&mut self) {
        let snapshot = self.handle.snapshot();
        let observed: Vec<Observed> = snapshot
            .groups()
            .filter_map(|group| {
                let trial = group.trial().filter(|trial| trial.stop.is_none())?;
                let counts = |side| -> Option<Counts> {
                    Some(self.handle.telemetry.arm_totals(group.index, group.arm_of(side)?).counts)
                };
                Some(Observed {
                    group: group.settings.name.clone(),
                    trial: trial.number,
                    a: counts(Side::A)?,
                    b: counts(Side::B)?,
                })
            })
            .collect();
        if !observed.is_empty() {
            self.reconcile(Event::Trials(observed));
        }
    }

    /// Logs and shows that a comparison has ended.
    pub(super) fn tell_stopped(&self, Stopped { group, worse, better, cause }: &Stopped) {
        let (worse, better) = (worse.as_str(), better.as_str());
        tracing::warn!(target_group = %group, "{worse} stopped, {better} takes everything: {cause}");
        self.handle.timeline.add(Entry {
            at: wall_time(),
            group: group.to_string(),
            subject: worse.to_owned(),
            change: format!("stopped: {better} takes everything"),
            cause: cause.to_string(),
            provenance: "comparison".to_owned(),
        });
    }
}

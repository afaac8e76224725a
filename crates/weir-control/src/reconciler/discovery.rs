//! What discovery reports, taken in: the guard first, then what labels add, then one reconciliation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_core::automatic;
use weir_core::guard::Judgement;
use weir_core::label_rules::{Labelled, Quarantined};
use weir_core::reconcile::Event;
use weir_core::task::{SourceKind, TaskSet};
use weir_core::unfit::{Unfit, unfit};
use weir_discovery::{Mistake, Report};
use weir_telemetry::names;

use super::{Origin, Reconciler};
use crate::sources::{Source, SourceState};

/// How long a source may be silent at the start before what it said before is served.
const SILENCE_MAX: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Reads what sources said before weir started.
    pub(super) fn remember(&mut self) {
        let Some(memory) = &self.memory else { return };
        let recalled: Vec<_> = self.awaited.iter().map(|source| (*source, memory.recall(*source))).collect();
        for (source, recalled) in recalled {
            match recalled {
                Ok(Some(set)) if !set.tasks.is_empty() => drop(self.remembered.insert(source, set)),
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(source = source.as_str(), "{problem}; nothing is remembered");
                    self.note(source.as_str(), "forgotten", &problem);
                }
            }
        }
        // Ports that were a task's may be a stranger's by now: a source that answers is waited for.
        if !self.remembered.is_empty() {
            self.remembers_at = Some(self.handle.clock.now().after(SILENCE_MAX));
        }
    }

    /// Takes a source that cannot be heard to say what it said before weir started.
    fn recall(&mut self, source: SourceKind) {
        let Some(set) = self.remembered.remove(&source) else { return };
        tracing::info!(source = source.as_str(), "{} tasks are remembered from before", set.tasks.len());
        let state = self.handle.sources.note(source, |known| known.state.clone());
        self.take_in(Report::Tasks(set));
        let state = if state == SourceState::Awaited { SourceState::Remembered } else { state };
        self.handle.sources.note(source, |known| known.state = state);
    }

    /// Takes in what discovery reports.
    pub(super) fn take_in(&mut self, report: Report) {
        let now = self.handle.clock.now();
        match report {
            Report::Confirmed(set) => {
                let judgement = self.guard.trust(set, now);
                self.take_in_judged(judgement);
            }
            Report::Tasks(set) => {
                if let Some(before) = self.remembered.remove(&set.source) {
                    // Nothing of it is served, but what the answer lacks may have been lost.
                    self.guard.judge(before, now);
                }
                let judgement = self.guard.judge(set, now);
                self.take_in_judged(judgement);
            }
            Report::Failed(failure) => {
                self.guard.fail(failure.source);
                let source = failure.source.as_str();
                tracing::warn!(source, "{}; the last good targets stay", failure.problem);
                self.handle.telemetry.count(names::DISCOVERY_FAILURES, &[("source", source)]);
                self.note(source, "failed", &failure.problem);
                let state = SourceState::Failing(failure.problem);
                self.handle.sources.note(failure.source, |known| known.state = state);
                self.recall(failure.source);
            }
            Report::Recovered(source) => {
                self.guard.recover(source, now);
                tracing::info!(source = source.as_str(), "discovery works again");
                self.note(source.as_str(), "recovered", "");
                let state = if self.guard.withholds(source) {
                    SourceState::Withheld("it lost most of its tasks before it failed".to_owned())
                } else {
                    SourceState::Working
                };
                self.handle.sources.note(source, |known| known.state = state);
            }
            Report::Shared(shared) => self.take_in_shared(shared),
            Report::LeftOut { source, mistakes } => {
                let leave_out =
                    |known: &mut Source| std::mem::replace(&mut known.unreadable, mistakes.clone());
                let before = self.handle.sources.note(source, leave_out);
                self.tell_left_out(source, mistakes.difference(&before));
            }
        }
    }

    /// Takes in a set as far as it is believed.
    fn take_in_judged(&mut self, judgement: Judgement) {
        let (set, state) = match judgement {
            Judgement::Believed(set) => (set, SourceState::Working),
            Judgement::Withheld { set, missing, before } => {
                let (name, seconds) = (set.source.as_str(), self.guard.confirmation().as_secs_f32());
                let problem = format!(
                    "{missing} of {before} tasks are missing at once; they stay unless the source keeps to it for {seconds} s, and their health checks decide meanwhile"
                );
                tracing::warn!(source = name, "{problem}");
                self.handle.telemetry.count(names::SETS_WITHHELD, &[("source", name)]);
                self.note(name, "withheld", &problem);
                (set, SourceState::Withheld(problem))
            }
        };
        let source = set.source;
        self.handle.sources.note(source, |known| known.state = state);
        self.follow(set);
        self.awaited.retain(|awaited| *awaited != source);
        self.note_readiness();
    }

    fn tell_left_out<'m>(&self, source: SourceKind, news: impl Iterator<Item = &'m Mistake>) {
        for Mistake { owner, problem } in news {
            tracing::warn!(source = source.as_str(), "{owner} is left out: {problem}");
            self.note(owner, "left out", problem);
        }
    }

    /// Does what has become due about sets of tasks.
    pub(super) fn be_due(&mut self) {
        let now = self.handle.clock.now();
        if self.remembers_at.is_some_and(|at| at <= now) {
            self.remembers_at = None;
            let silent: Vec<SourceKind> = self.remembered.keys().copied().collect();
            for source in silent {
                self.recall(source);
            }
        }
        for set in self.guard.confirmed(now) {
            tracing::info!(source = set.source.as_str(), "the smaller set has stood, and is believed");
            self.note(set.source.as_str(), "believed", "it kept to its smaller set");
            self.handle.sources.note(set.source, |known| known.state = SourceState::Working);
            self.follow(set);
        }
        if self.labels.forget(now) {
            self.follow_labels();
        }
        self.reconcile(Event::Due);
    }

    /// Brings the state to what one source sees.
    fn follow(&mut self, set: TaskSet) {
        self.handle.sources.note(set.source, |known| known.tasks = set.tasks.len());
        if let Some(memory) = &self.memory {
            memory.keep(&set);
        }
        self.labels.see(set, self.handle.clock.now());
        self.follow_labels();
    }

    /// Brings the state to what is written and what labels add to it.
    pub(super) fn follow_labels(&mut self) {
        if let Origin::Automatic(bind) = &self.origin {
            // The listener is the same, so no socket can be refused. A route outlives its last task for a while: who
            // comes then waits for the next one.
            self.labels.write(automatic::definitions(&self.labels.lingering(), *bind));
        }
        let Labelled { definitions, tasks, quarantined } = self.labels.add();
        let unfit = unfit(&definitions, &tasks);
        // Tasks first: of a service whose last task is gone, the target goes before the group that labels made for it.
        for (source, tasks) in tasks {
            self.reconcile(Event::Tasks(TaskSet { source, tasks }));
        }
        if !Arc::ptr_eq(&definitions, self.state.definitions()) && definitions != *self.state.definitions() {
            self.handle.chaos.keep(|name| definitions.target_groups.iter().any(|group| group.name == *name));
            self.reconcile(Event::Definitions(definitions));
        }
        self.leave_out_unfit(quarantined, unfit);
    }

    /// Tasks whose labels fit nowhere, or that do not fit where they are selected, of all sources.
    fn leave_out_unfit(&mut self, quarantined: Vec<Quarantined>, unfit: Vec<Unfit>) {
        if !self.labels.leave_out(&quarantined, &unfit) {
            return;
        }
        let of_label = |Quarantined { source, owner, error }: Quarantined| (source, owner, error.to_string());
        let of_group = |Unfit { source, owner, error }: Unfit| (source, owner, error.to_string());
        let all = quarantined.into_iter().map(of_label).chain(unfit.into_iter().map(of_group));
        let mut unfit: BTreeMap<SourceKind, BTreeSet<Mistake>> = BTreeMap::new();
        for (source, owner, problem) in all {
            unfit.entry(source).or_default().insert(Mistake { owner, problem });
        }
        for source in self.handle.sources.all().into_keys() {
            let mistakes = unfit.remove(&source).unwrap_or_default();
            let leave_out = |known: &mut Source| std::mem::replace(&mut known.unfit, mistakes.clone());
            let before = self.handle.sources.note(source, leave_out);
            self.tell_left_out(source, mistakes.difference(&before));
        }
    }
}

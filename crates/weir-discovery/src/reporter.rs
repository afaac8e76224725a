//! The manner that watchers have in common: what is reported once, what is told again, and how long a pause is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use weir_core::task::{SourceKind, Task, TaskSet};

use crate::elements::Mistake;
use crate::{Report, WatchFailure};

/// The first pause before a source is asked again after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest text of a report, in characters: what it quotes comes from others.
const TEXT_CHARS_MAX: usize = 500;

/// Most mistakes of a source that are told at a time.
const MISTAKES_MAX: usize = 100;

/// Nobody takes reports any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Follows a source until it ends by itself or nobody takes reports any more.
pub(crate) async fn while_wanted(reports: &Sender<Report>, following: impl Future<Output = Gone>) {
    tokio::select! {
        () = reports.closed() => {}
        Gone = following => {}
    }
}

/// Reports for one source.
#[derive(Debug)]
pub(crate) struct Reporter {
    source: SourceKind,
    reports: Sender<Report>,
    /// The set that was reported last.
    told: Option<TaskSet>,
    /// The mistakes that there were last time.
    mistakes: BTreeSet<Mistake>,
    /// The failure that has been reported.
    failing: Option<String>,
}

impl Reporter {
    pub(crate) fn new(source: SourceKind, reports: Sender<Report>) -> Self {
        Self { source, reports, told: None, mistakes: BTreeSet::new(), failing: None }
    }

    /// The source cannot be asked: said once for each distinct problem.
    pub(crate) async fn fail(&mut self, problem: String) -> Result<(), Gone> {
        let problem = clipped(&problem);
        if self.failing.as_ref() == Some(&problem) {
            return Ok(());
        }
        self.failing = Some(problem.clone());
        self.send(Report::Failed(WatchFailure { source: self.source, problem })).await
    }

    /// The source answers: said once after it had failed.
    pub(crate) async fn recover(&mut self) -> Result<(), Gone> {
        match self.failing.take() {
            Some(_) => self.send(Report::Recovered(self.source)).await,
            None => Ok(()),
        }
    }

    /// All mistakes that there are now: said when they differ from those said last.
    pub(crate) async fn quarantine(&mut self, mistakes: BTreeSet<Mistake>) -> Result<(), Gone> {
        let mistakes = limited(mistakes);
        if self.mistakes == mistakes {
            return Ok(());
        }
        self.mistakes.clone_from(&mistakes);
        self.send(Report::LeftOut { source: self.source, mistakes }).await
    }

    /// All tasks that the source sees now: said when they differ from those said last.
    pub(crate) async fn tell(&mut self, tasks: Vec<Task>) -> Result<(), Gone> {
        self.say(tasks, Report::Tasks).await
    }

    /// The same where the source has told of each task that has gone.
    pub(crate) async fn confirm(&mut self, tasks: Vec<Task>) -> Result<(), Gone> {
        self.say(tasks, Report::Confirmed).await
    }

    async fn say(&mut self, tasks: Vec<Task>, report: fn(TaskSet) -> Report) -> Result<(), Gone> {
        let before = self.told.as_ref().map_or(&[][..], |set| &set.tasks);
        let set = TaskSet { source: self.source, tasks: share(before, tasks) };
        if self.told.as_ref() == Some(&set) {
            return Ok(());
        }
        self.told = Some(set.clone());
        self.send(report(set)).await
    }

    async fn send(&self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).await.map_err(|_| Gone)
    }
}

/// `tasks` as a set is reported: those at the beginning and at the end that are as `before` are the very same.
fn share(before: &[Arc<Task>], tasks: Vec<Task>) -> Vec<Arc<Task>> {
    let is_same = |(before, task): &(&Arc<Task>, &Task)| ***before == **task;
    let start = before.iter().zip(&tasks).take_while(is_same).count();
    let rest = before[start..].iter().rev().zip(tasks[start..].iter().rev());
    let end = rest.take_while(is_same).count();
    let (new, kept) = (start..tasks.len() - end, &before[before.len() - end..]);
    let middle = tasks.into_iter().skip(start).take(new.len()).map(Arc::new);
    before[..start].iter().cloned().chain(middle).chain(kept.iter().cloned()).collect()
}

/// The text, or as much of it as people read, without what a terminal would obey.
pub(crate) fn clipped(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The first mistakes, and how many there are besides.
fn limited(mistakes: BTreeSet<Mistake>) -> BTreeSet<Mistake> {
    let more = mistakes.len().saturating_sub(MISTAKES_MAX);
    let clip =
        |mistake: Mistake| Mistake { owner: clipped(&mistake.owner), problem: clipped(&mistake.problem) };
    let mut told: BTreeSet<Mistake> = mistakes.into_iter().take(MISTAKES_MAX).map(clip).collect();
    if more > 0 {
        let problem = format!("they have mistakes too, of which only the first {MISTAKES_MAX} are told");
        told.insert(Mistake { owner: format!("and {more} more"), problem });
    }
    told
}

/// Pauses between attempts that fail.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSE)
    }
}

impl Backoff {
    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }

    /// After a success the next failure gets the first pause again.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;

    fn mistake(problem: &str) -> Mistake {
        Mistake { owner: "a.json".to_owned(), problem: problem.to_owned() }
    }

    #[tokio::test]
    async fn what_lasts_is_reported_once_and_what_returns_again() {
        let (sender, mut reports) = channel(16);
        let mut reporter = Reporter::new(SourceKind::File, sender);
        for _ in 0..2 {
            reporter.fail("no".to_owned()).await.unwrap();
            reporter.quarantine(BTreeSet::from([mistake("one")])).await.unwrap();
        }
        for _ in 0..2 {
            reporter.recover().await.unwrap();
            reporter.quarantine(BTreeSet::new()).await.unwrap();
            reporter.tell(Vec::new()).await.unwrap();
        }
        reporter.quarantine(BTreeSet::from([mistake("one"), mistake("two")])).await.unwrap();
        drop(reporter);
        let mut kinds = Vec::new();
        while let Some(report) = reports.recv().await {
            kinds.push(match report {
                Report::Failed(failure) => failure.problem,
                Report::LeftOut { mistakes, .. } => {
                    let problems: Vec<_> = mistakes.into_iter().map(|mistake| mistake.problem).collect();
                    format!("left out: {}", problems.join(" "))
                }
                Report::Recovered(_) => "recovered".to_owned(),
                Report::Shared(_) => "shared".to_owned(),
                Report::Confirmed(set) | Report::Tasks(set) => format!("{} tasks", set.tasks.len()),
            });
        }
        assert_eq!(kinds, ["no", "left out: one", "recovered", "left out: ", "0 tasks", "left out: one two"]);
    }

    #[test]
    fn what_others_wrote_cannot_fill_the_log() {
        assert_eq!(clipped(&"é".repeat(TEXT_CHARS_MAX)), "é".repeat(TEXT_CHARS_MAX));
        assert_eq!(clipped(&"é".repeat(TEXT_CHARS_MAX + 1)), "é".repeat(TEXT_CHARS_MAX) + "…");
        let told = limited((0..MISTAKES_MAX + 7).map(|at| mistake(&format!("{at:05}"))).collect());
        assert_eq!(told.len(), MISTAKES_MAX + 1);
        assert!(told.iter().any(|mistake| mistake.owner == "and 7 more"));
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.next()).collect();
        assert_eq!((pauses[0], pauses[1], pauses[7]), (PAUSE, PAUSE * 2, PAUSE_MAX));
        backoff.reset();
        assert_eq!(backoff.next(), PAUSE);
    }
}

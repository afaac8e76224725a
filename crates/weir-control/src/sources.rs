//! What is known of each source of tasks now, for people: whether it answers, and what of it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use weir_core::task::SourceKind;
use weir_discovery::Mistake;

/// What is known of one source.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Whether it answers.
    pub state: SourceState,
    /// Tasks that are believed to be there.
    pub tasks: usize,
    /// What the source itself could not read.
    pub unreadable: BTreeSet<Mistake>,
    /// Tasks whose labels fit nowhere, or that do not fit a group that selects them.
    pub unfit: BTreeSet<Mistake>,
}

/// Whether a source answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// It has not been heard yet.
    #[default]
    Awaited,
    /// It cannot be asked; what it said last stays.
    Failing(String),
    /// It has not been heard yet; what it said before weir started is served.
    Remembered,
    /// It answers, and has suddenly lost so many tasks that they stay for a while.
    Withheld(String),
    /// It answers.
    Working,
}

impl SourceState {
    /// One word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Failing(_) => "failing",
            Self::Remembered => "remembered",
            Self::Withheld(_) => "withheld",
            Self::Working => "working",
        }
    }

    /// What is wrong.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Failing(problem) | Self::Withheld(problem) => Some(problem),
            Self::Awaited | Self::Remembered | Self::Working => None,
        }
    }
}

/// All sources that are followed. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Mutex<BTreeMap<SourceKind, Source>>>);

impl Sources {
    /// Sources that have not been heard yet.
    pub(crate) fn awaited(sources: &[SourceKind]) -> Self {
        Self(Arc::new(Mutex::new(sources.iter().map(|source| (*source, Source::default())).collect())))
    }

    /// Notes something about one of them.
    pub(crate) fn note<T>(&self, source: SourceKind, note: impl FnOnce(&mut Source) -> T) -> T {
        note(self.lock().entry(source).or_default())
    }

    /// What is known of each.
    pub fn all(&self) -> BTreeMap<SourceKind, Source> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SourceKind, Source>> {
        // A note is a few assignments of whole values, so a poisoned lock is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

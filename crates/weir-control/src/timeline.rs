//! The timeline: what happened to targets lately, and what caused it, for people.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Entries kept.
const ENTRIES_MAX: usize = 500;

/// Longest cause, in characters: what it quotes comes from others.
const CAUSE_CHARS_MAX: usize = 4_000;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// The target group, or `-`.
    pub group: String,
    /// The target's id, or what else it is about.
    pub subject: String,
    /// What happened: `registered`, `initial → healthy`.
    pub change: String,
    /// What caused it: a container's event, a probe's verdict, a reload.
    pub cause: String,
    /// Where the target comes from.
    pub provenance: String,
}

/// The latest entries. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Arc<Mutex<VecDeque<Entry>>>);

impl Timeline {
    /// Adds an entry; the oldest makes room.
    pub fn add(&self, mut entry: Entry) {
        if let Some((end, _)) = entry.cause.char_indices().nth(CAUSE_CHARS_MAX) {
            entry.cause.truncate(end);
            entry.cause.push('…');
        }
        let mut entries = self.lock();
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// All entries, the latest first.
    pub fn latest_first(&self) -> Vec<Entry> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Entry>> {
        // An entry is whole before it is pushed, so a poisoned lock is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

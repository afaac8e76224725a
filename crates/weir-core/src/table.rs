//! The one shared cell: it holds the current snapshot, with many readers and a single writer, by type.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::snapshot::Snapshot;

/// Makes the cell with its one writer and a first reader.
pub fn new(snapshot: Snapshot) -> (Writer, Reader) {
    let cell = Arc::new(ArcSwap::from_pointee(snapshot));
    (Writer { cell: cell.clone() }, Reader { cache: Cache::new(cell) })
}

/// Publishes snapshots. Not `Clone`: only the reconciler has it.
#[derive(Debug)]
pub struct Writer {
    cell: Arc<ArcSwap<Snapshot>>,
}

impl Writer {
    /// Makes `snapshot` current. Readers that are in the middle of a decision finish it on the one they have.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.cell.store(snapshot);
    }
}

/// Reads the current snapshot. One per worker: it caches, so that a read is one relaxed pointer comparison.
#[derive(Clone, Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl Reader {
    /// The current snapshot, for one statement.
    pub fn read(&mut self) -> &Snapshot {
        self.cache.load()
    }

    /// The current snapshot, for longer use off the request path.
    pub fn load(&mut self) -> Arc<Snapshot> {
        self.cache.load().clone()
    }
}

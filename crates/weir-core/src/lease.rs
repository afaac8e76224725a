//! A picked target, counted as in use until dropped.

use std::sync::Arc;

use crate::target::Target;

/// A claim on one target: the target's in-flight count is one higher while the lease lives.
///
/// Dropping is the only way to end a lease, so no path, cancellation included, can leak a count.
#[derive(Debug)]
pub struct Lease(Arc<Target>);

impl Lease {
    /// Takes a lease on `target`.
    pub fn new(target: Arc<Target>) -> Self {
        target.tally.enter();
        Self(target)
    }

    /// A lease that counts nowhere, for what weir itself asks of a target: on a likeness of it, whose tally nobody reads.
    pub fn uncounted(target: &Target) -> Self {
        let Target { serial, addr, id, group, .. } = target;
        Self::new(Arc::new(Target::new(*serial, *addr, id.clone(), group.clone())))
    }

    /// Ends a lease that was only taken to see who would be picked: it does not count as picked.
    pub fn withdraw(self) -> Arc<Target> {
        self.0.tally.forget_pick();
        self.0.clone()
    }

    /// The leased target.
    pub fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.tally.leave();
    }
}

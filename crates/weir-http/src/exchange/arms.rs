//! Where a worker counts what comes of the requests of arms.

use std::cell::RefCell;
use std::sync::Arc;

use weir_core::comparison::Arm;
use weir_core::snapshot::GroupIndex;
use weir_telemetry::{ArmShard, Telemetry};

/// The shards of one worker: the last two arms of each group, which are those of its trial.
#[derive(Debug)]
pub(super) struct Arms {
    telemetry: Telemetry,
    /// By group index.
    known: RefCell<Vec<Known>>,
}

/// The arms of one group that were asked for last.
type Known = [Option<(Arm, Arc<ArmShard>)>; 2];

impl Arms {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, known: RefCell::default() }
    }

    /// The shard of an arm. A request that is older than the last change of its trial may bring one back: then it is counted in a
    /// shard of its own.
    pub(super) fn shard(&self, group: GroupIndex, arm: Arm) -> Arc<ArmShard> {
        let mut known = self.known.borrow_mut();
        let at = group.0 as usize;
        if known.len() <= at {
            known.resize_with(at + 1, Default::default);
        }
        let pair = &mut known[at];
        if let Some((_, shard)) = pair.iter().flatten().find(|(counted, _)| counted.is_same(arm)) {
            return shard.clone();
        }
        pair.swap(0, 1);
        let (_, shard) = pair[0].insert((arm, self.telemetry.arm_shard(group, arm)));
        shard.clone()
    }
}

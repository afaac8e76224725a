//! Hashing: the same key to the same target. The key is a flow's, or what requests that belong together have in common.
//!
//! A table is built from the *registered* members, so that a health flap moves only the keys of the target that
//! flaps; members that are not eligible are passed over. The hash gives the same answer on every
//! machine, so several weirs that see the same members choose the same target. A member's name in the table is its
//! address, which every weir sees alike, whichever source told it of the task and in whatever order.

mod maglev;
mod rendezvous;
mod ring;
mod table;

use std::sync::Arc;

pub use maglev::Maglev;
pub(super) use rendezvous::Rendezvous;
pub use ring::Ring;
pub use table::{Disruption, Shape, Table};

use crate::address::TargetAddr;
use crate::snapshot::Member;
use crate::target::Weight;

/// Most members whose table is built at once: a larger one takes a millisecond or more.
const BUILT_AT_ONCE: usize = 16;

/// A table over the registered members, and which of them may be picked now.
#[derive(Clone, Debug)]
pub(super) struct Hash {
    table: Arc<Table>,
    /// By rank: the member's position if it is eligible.
    position: Vec<Option<u32>>,
    /// The table before, with the positions that its members have now, for as long as the table is not built.
    meanwhile: Option<(Vec<Option<u32>>, Arc<Table>)>,
}

impl Hash {
    pub(super) fn build(shape: Shape, members: &[Member], eligible: &[u32], before: Option<&Self>) -> Self {
        let mut registered: Vec<(u32, &Member)> =
            (0..).zip(members).filter(|(_, member)| member.health.is_registered()).collect();
        // Of several at one address, which differ in nothing that a client could see, the identity gives the order.
        registered.sort_by_key(|(_, member)| (member.target.addr, member.weight, &member.target.id));
        let position: Vec<Option<u32>> =
            registered.iter().map(|(at, _)| eligible.binary_search(at).ok().map(|_| *at)).collect();
        let members: Vec<(TargetAddr, Weight)> =
            registered.into_iter().map(|(_, member)| (member.target.addr, member.weight)).collect();
        let table = match before.filter(|before| before.table.is_same(shape, &members)) {
            Some(before) => before.table.clone(),
            None => {
                let before = before.map(|before| Arc::downgrade(&before.last_built())).unwrap_or_default();
                Arc::new(Table::new(shape, members, before))
            }
        };
        let waits = table.lookup().is_none() && table.members.len() > BUILT_AT_ONCE;
        let last = before.filter(|_| waits).map(Self::last_built);
        let meanwhile = last.map(|last| (place(&last.members, &table.members, &position), last));
        // A table of those that have mostly gone would lead to few, or to nobody.
        let meanwhile = meanwhile.filter(|(places, _)| places.iter().flatten().count() * 2 >= eligible.len());
        if meanwhile.is_none() {
            table.build();
        }
        Self { table, position, meanwhile }
    }

    /// The table that flows are placed by now.
    fn last_built(&self) -> Arc<Table> {
        match &self.meanwhile {
            Some((_, last)) if self.table.lookup().is_none() => last.clone(),
            _ => self.table.clone(),
        }
    }

    /// The table, while it waits for somebody to build it.
    pub(super) fn unbuilt(&self) -> Option<&Arc<Table>> {
        Some(&self.table).filter(|table| table.lookup().is_none())
    }

    /// What the last change of members did to flows, once its table is built.
    pub(super) fn disruption(&self) -> Option<Disruption> {
        self.table.disruption()
    }

    pub(super) fn pick(&self, key: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let (table, position) = match (self.table.lookup(), &self.meanwhile) {
            (Some(table), _) => (table, &self.position),
            (None, Some((position, last))) => (last.lookup()?, position),
            (None, None) => return None,
        };
        table.find(key, position.len(), |rank| position[rank].filter(|at| accept(*at)))
    }
}

/// By rank in a table over `before`: where its members are among those of `after`, whose places are `position`.
fn place(
    before: &[(TargetAddr, Weight)],
    after: &[(TargetAddr, Weight)],
    position: &[Option<u32>],
) -> Vec<Option<u32>> {
    let mut there = after.iter().zip(position).peekable();
    let place = |(addr, _): &(TargetAddr, Weight)| {
        // Both are in order: one walk through both finds all.
        while there.next_if(|((other, _), _)| other < addr).is_some() {}
        there.next_if(|((other, _), _)| other == addr).and_then(|(_, position)| *position)
    };
    before.iter().map(place).collect()
}

/// Another key for the same flow: the finaliser of `SplitMix64`, the same on every machine.
fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;

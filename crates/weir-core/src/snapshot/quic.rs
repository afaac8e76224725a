//! Targets of QUIC, by the ids that their connection ids name.

use super::{Group, Member};
use crate::lease::Lease;
use crate::quic::ServerId;

/// The members with a server id, in the order of that; of several with one id the first counts.
pub(super) fn by_server_id(members: &[Member]) -> Box<[(ServerId, u32)]> {
    let with_id = |(at, member): (u32, &Member)| member.server_id.map(|id| (id, at));
    let mut known: Vec<(ServerId, u32)> = (0..).zip(members).filter_map(with_id).collect();
    known.sort_unstable();
    known.dedup_by_key(|(id, _)| *id);
    known.into()
}

impl Group {
    /// Whether a target has that id.
    pub fn has_server(&self, id: ServerId) -> bool {
        self.servers.binary_search_by_key(&id, |(known, _)| *known).is_ok()
    }

    /// Takes a lease on the target of that id, whatever its health: a connection that it has cannot go on elsewhere. `None` when
    /// there is none, or its flows are to end.
    pub fn lease_server(&self, id: ServerId) -> Option<Lease> {
        let at = self.servers.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        let target = &self.members[self.servers[at].1 as usize].target;
        (!target.ends_flows()).then(|| Lease::new(target.clone()))
    }
}

//! Where a flow goes: the group that its listener has for it, and the key that one of its targets is picked by.

use crate::definition::ListenerKind;
use crate::flow_key::FlowKey;
use crate::rule::Forward;
use crate::snapshot::{GroupIndex, Listener, Snapshot};

/// Where a flow goes. Which target that is is for [`crate::decide::forward`] to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The group.
    pub group: GroupIndex,
    /// What stays together: the hash of the flow, or of the client's address where flows stick by that.
    pub key: u64,
}

impl Route {
    /// The route of `flow` through `listener`; `None` when every weight is zero, and for listeners of HTTP. The same on every
    /// machine.
    pub fn of(snapshot: &Snapshot, listener: &Listener, flow: &FlowKey) -> Option<Self> {
        let group = match &listener.kind {
            ListenerKind::Network(network) => draw(&network.forward, flow)?,
            ListenerKind::ClassicTcp { group } => *group,
            ListenerKind::Application { .. } | ListenerKind::ClassicHttp { .. } => return None,
        };
        let sticks = snapshot.group(group).is_some_and(|group| group.settings.flows.sticks_by_source);
        Some(Self { group, key: if sticks { flow.hash_of_source() } else { flow.hash() } })
    }
}

/// Whether `listener` sends flows to `group` no more: its weight is zero now.
pub fn has_no_weight(listener: &Listener, group: GroupIndex) -> bool {
    let ListenerKind::Network(network) = &listener.kind else { return false };
    network.forward.groups.contains(&(group, 0))
}

/// The group of a flow; that of its client's address where clients stay in their group.
fn draw(forward: &Forward<GroupIndex>, flow: &FlowKey) -> Option<GroupIndex> {
    let key = if forward.stickiness.is_some() { flow.hash_of_source() } else { flow.hash() };
    forward.of_key(key).copied()
}

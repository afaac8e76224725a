//! Where a flow goes: the group that its listener has for it, and the key that one of its targets is picked by.

use crate::definition::{HashOn, ListenerKind};
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
        let key = flow.hash();
        let group = match &listener.kind {
            ListenerKind::Network(network) => draw(&network.forward, flow, key)?,
            ListenerKind::Classic(classic) => classic.group,
            ListenerKind::Application { .. } => return None,
        };
        let sticks = snapshot.group(group).is_some_and(|group| {
            let hashing = group.settings.hashing.as_ref();
            group.settings.flows.sticks_by_source
                || hashing.is_some_and(|hashing| hashing.on == HashOn::Source)
        });
        Some(Self { group, key: if sticks { flow.hash_of_source() } else { key } })
    }
}

/// Whether `listener` sends flows to `group` no more: its weight is zero now.
pub fn has_no_weight(listener: &Listener, group: GroupIndex) -> bool {
    let ListenerKind::Network(network) = &listener.kind else { return false };
    let mut weights =
        network.forward.groups.iter().filter(|(other, _)| *other == group).map(|(_, weight)| *weight);
    // A group may be written twice. One that is not there any more keeps the flows that it has.
    weights.next().is_some_and(|first| first == 0 && weights.all(|weight| weight == 0))
}

/// The group of a flow, by its `key`; that of its client's address where clients stay in their group.
fn draw(forward: &Forward<GroupIndex>, flow: &FlowKey, key: u64) -> Option<GroupIndex> {
    let key = if forward.stickiness.is_some() { flow.hash_of_source() } else { key };
    forward.of_key(key).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::address::ListenAddr;
    use crate::definition::{HttpSettings, NetworkListener, NetworkProtocol};
    use crate::name::LoadBalancerName;
    use crate::rule::RuleIndex;
    use crate::snapshot::ListenerIndex;

    fn listener(weights: &[(u32, u16)]) -> Listener {
        let groups = weights.iter().map(|(group, weight)| (GroupIndex(*group), *weight)).collect();
        let forward = Forward { groups, stickiness: None };
        Listener {
            index: ListenerIndex(0),
            load_balancer: LoadBalancerName::parse("edge").unwrap(),
            idle_timeout: std::time::Duration::from_secs(350),
            logs: crate::logs::Logs::default(),
            http: HttpSettings::default(),
            bind: ListenAddr("127.0.0.1:80".parse().unwrap()),
            proxies: None,
            kind: ListenerKind::Network(NetworkListener::new(NetworkProtocol::Tcp, forward)),
            rule_index: RuleIndex::default(),
            logins: Arc::default(),
        }
    }

    // Conformance: B1.14
    #[test]
    fn a_group_has_no_weight_when_it_is_there_and_every_weight_of_it_is_zero() {
        for (weights, expected) in [
            (&[(1, 0), (2, 1)][..], true),
            (&[(1, 1), (2, 0)], false),
            (&[(1, 9), (1, 0)], false),
            (&[(1, 0), (1, 0)], true),
            (&[(2, 1)], false),
        ] {
            assert_eq!(has_no_weight(&listener(weights), GroupIndex(1)), expected, "{weights:?}");
        }
    }
}

//! Zones: which groups give only targets of weir's own.

use std::collections::BTreeMap;

use weir_core::definition::LoadBalancer;
use weir_core::name::GroupName;

use super::Groups;
use crate::read::{Fields, Reader};

/// Whether a network or classic load balancer uses targets of all zones, unless a group says otherwise. Source: Network Load
/// Balancer, Classic Load Balancer, "Cross-zone load balancing": off.
pub(super) fn crosses(fields: Fields<'_>, reader: &mut Reader<'_>) -> bool {
    fields.get("cross_zone").and_then(|node| reader.boolean(node)).unwrap_or(false)
}

/// Restricts the groups of load balancers that do not use all zones to targets of `zone`, weir's own; `crosses` is by load
/// balancer.
pub(super) fn restrict(
    zone: &str,
    load_balancers: &[(LoadBalancer, Option<bool>)],
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) {
    let mut crossing: BTreeMap<&GroupName, bool> = BTreeMap::new();
    for (load_balancer, crosses) in load_balancers {
        // Application load balancers always use all.
        let crosses = crosses.unwrap_or(true);
        for name in load_balancer.listeners.iter().flat_map(|listener| listener.kind.groups()) {
            let Some(group) = groups.named.get(name).filter(|group| group.crosses_zones.is_none()) else {
                continue;
            };
            if crossing.insert(name, crosses).is_some_and(|before| before != crosses) {
                let cause = format!(
                    "{:?} is used by load balancers that do and that do not cross zones",
                    name.as_str()
                );
                reader.problem(
                    group.node,
                    &cause,
                    Some("write `cross_zone: true` or `false` into the group"),
                );
            }
        }
    }
    let written = groups.named.iter().filter_map(|(name, group)| Some((name, group.crosses_zones?)));
    let crossing: BTreeMap<GroupName, bool> =
        crossing.into_iter().chain(written).map(|(name, crosses)| (name.clone(), crosses)).collect();
    for group in &mut groups.resolved {
        if crossing.get(&group.name) == Some(&false) {
            group.zone = Some(zone.to_owned());
        }
    }
}

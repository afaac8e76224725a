//! What must hold whatever has happened.

use std::collections::HashMap;

use super::*;
use crate::comparison::Side;

impl World {
    /// Remembers by when each target that has begun to drain must be gone.
    pub(super) fn note_drains(&mut self) {
        let mut leaves_at = HashMap::new();
        for (group, member) in self.snapshot.members().filter(|(_, m)| m.health == Health::Draining) {
            let serial = member.target.serial;
            let known = self.leaves_at.get(&serial).filter(|at| **at >= member.since);
            let at = known.copied().unwrap_or(member.since.after(group.settings.deregistration_delay));
            leaves_at.insert(serial, at);
        }
        self.leaves_at = leaves_at;
    }

    /// What holds at any moment.
    pub(super) fn check(&self) {
        for (group, member) in self.snapshot.members() {
            let target = &member.target;
            assert!(!target.has_left(), "{} has left and is still there", target.id);
            let TargetId::Task { task: id, .. } = &target.id else { panic!("every task has an id") };
            let tasks = self.tasks.iter().flat_map(|(source, tasks)| tasks.iter().map(move |t| (*source, t)));
            let found = tasks.into_iter().find(|(_, task)| task.id.as_ref() == Some(id));
            let is_defined = self.state.definitions().target_groups.iter().any(|g| g.name == target.group);
            let is_draining = member.health == Health::Draining;
            match found {
                Some((_, task)) if is_defined && task.state != TaskState::Stopping => {
                    assert!(!is_draining, "{} drains and should serve", target.id);
                    assert_eq!(target.addr, task.ports[0].addr);
                    assert_eq!(&*member.provenance, &*task.provenance);
                    let is_engine_s = task.state != TaskState::Running;
                    assert_eq!(member.health.is_said_by_engine(), is_engine_s, "{:?}", task.state);
                }
                Some(_) => assert!(is_draining, "{} is {}", target.id, member.health.state()),
                None => {
                    assert!(is_draining, "{} is gone and not draining", target.id);
                    let source = member.provenance.source;
                    let vanishes = source == "docker" && self.tasks.contains_key(&SourceKind::Docker);
                    assert!(!vanishes || group.settings.targets.is_empty(), "{} has vanished", target.id);
                }
            }
        }
        for at in self.leaves_at.values() {
            assert!(*at > self.now, "a target drains for too long");
            assert!(self.state.next_due().is_some_and(|due| due <= *at), "nobody is told when it is due");
        }
        self.check_all_served();
        self.snapshot.groups().for_each(|group| check_comparison(group));
    }

    /// Every task that should serve is in its group, once.
    fn check_all_served(&self) {
        for (source, tasks) in &self.tasks {
            for task in tasks.iter().filter(|task| task.state != TaskState::Stopping) {
                let groups = self.state.definitions().target_groups.iter();
                let served_by = groups.filter(|group| group.selects(*source, task)).count();
                let targets = self.snapshot.members().filter(|(_, member)| match &member.target.id {
                    TargetId::Task { task: id, .. } => task.id.as_ref() == Some(id),
                    TargetId::Address(_) => false,
                });
                let serving = targets.filter(|(_, member)| member.health != Health::Draining).count();
                assert_eq!(serving, served_by, "{} in {:?}", task.name, task.service);
            }
        }
    }
}

/// A group has a trial where it compares; while that goes on everybody is in an arm, and then nobody.
fn check_comparison(group: &Group) {
    assert_eq!(group.trial().is_some(), group.settings.comparison.is_some());
    let Some(trial) = group.trial() else { return };
    let arm = group.arm(ClientAddr(([10, 0, 0, 1], 1).into()));
    let (of_a, of_b) = (group.percentage(Side::A), group.percentage(Side::B));
    assert_eq!(of_a + of_b, 100);
    match &trial.stop {
        None => assert!(arm.is_some_and(|arm| arm.trial == trial.number) && (1..100).contains(&of_b)),
        Some(stop) => assert!(arm.is_none() && group.percentage(stop.worse) == 0),
    }
}

/// What holds between a group and its successor.
pub(super) fn check_succession(before: Option<&Arc<Group>>, after: Option<&Arc<Group>>, serial_max: u64) {
    let members = |group: Option<&Arc<Group>>| -> Vec<Member> {
        group.map_or_else(Vec::new, |group| group.members.clone())
    };
    let (old, new) = (members(before), members(after));
    if let (Some(before), Some(after)) = (before, after) {
        let is_same = old == new
            && before.settings == after.settings
            && before.is_used == after.is_used
            && before.trial() == after.trial();
        assert!(!is_same, "built again for nothing");
    }
    let same = |a: &Arc<Target>, b: &Arc<Target>| a.id == b.id && a.addr == b.addr;
    for member in &new {
        match old.iter().find(|old| same(&old.target, &member.target)) {
            Some(old) => assert!(Arc::ptr_eq(&old.target, &member.target), "its counts are lost"),
            None => {
                assert!(member.target.serial.0 > serial_max, "a number is used twice");
                assert_eq!(member.target.tally.picked(), 0, "a stranger has inherited");
                assert!(!member.health.is_healthy(), "nobody has probed it");
            }
        }
    }
    for member in old {
        let stays = new.iter().any(|new| Arc::ptr_eq(&new.target, &member.target));
        assert_eq!(member.target.has_left(), !stays, "its connections would not hear of it");
    }
}

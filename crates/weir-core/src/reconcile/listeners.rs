//! Listeners, and who takes the place of one that is gone.

use std::sync::Arc;

use super::State;
use crate::address::ListenAddr;
use crate::definition::Definitions;
use crate::name::LoadBalancerName;
use crate::rule::RuleIndex;
use crate::snapshot::{Listener, ListenerIndex};

impl State {
    /// The number that a listener has, or will have once it is defined: sockets are bound before the snapshot that
    /// serves them is published.
    pub fn listener_index(
        &mut self,
        load_balancer: &LoadBalancerName,
        bind: ListenAddr,
        kind: &'static str,
    ) -> ListenerIndex {
        let next = ListenerIndex(self.listener_indices.len() as u32);
        *self.listener_indices.entry((load_balancer.clone(), bind, kind)).or_insert(next)
    }

    /// Takes in new listeners; whether any has changed.
    pub(super) fn define_listeners(&mut self, definitions: &Definitions) -> bool {
        let mut listeners: Vec<Option<Arc<Listener>>> = Vec::new();
        for load_balancer in &definitions.load_balancers {
            for listener in &load_balancer.listeners {
                for name in listener.kind.groups() {
                    if let Some(group) = self.groups.get_mut(name) {
                        group.is_used = true;
                    }
                }
                let kind = listener.kind.map_groups(|name| {
                    self.group_indices.get(name).copied().expect("definitions name only groups they define")
                });
                let index = self.listener_index(&load_balancer.name, listener.bind, kind.protocol());
                let at = index.0 as usize;
                if listeners.len() <= at {
                    listeners.resize(at + 1, None);
                }
                listeners[at] = Some(Arc::new(Listener {
                    index,
                    load_balancer: load_balancer.name.clone(),
                    idle_timeout: load_balancer.idle_timeout,
                    logs: load_balancer.logs.clone(),
                    http: load_balancer.http,
                    bind: listener.bind,
                    proxies: listener.proxies.clone(),
                    rule_index: RuleIndex::new(kind.rules()),
                    logins: crate::authentication::logins(&kind),
                    kind,
                }));
            }
        }
        self.succeed(&mut listeners);
        let changed = self.listeners != listeners;
        self.listeners = listeners;
        changed
    }

    /// In the place of a listener that is gone puts one of its kind that takes the same connections, if there is one: what its
    /// sockets had accepted, or had waiting, is served by that.
    fn succeed(&self, listeners: &mut Vec<Option<Arc<Listener>>>) {
        listeners.resize(self.listener_indices.len(), None);
        let current: Vec<Arc<Listener>> = listeners.iter().flatten().cloned().collect();
        for ((_, bind, kind), index) in &self.listener_indices {
            let of_same_place = |listener: &&Arc<Listener>| {
                listener.bind.overlaps(*bind) && listener.kind.protocol() == *kind
            };
            let place = &mut listeners[index.0 as usize];
            if place.is_none() {
                *place = current.iter().find(of_same_place).cloned();
            }
        }
    }
}

//! Listeners, and who takes the place of one that is gone.

use std::sync::Arc;

use super::State;
use crate::address::ListenAddr;
use crate::definition::{Definitions, ListenerKind};
use crate::name::LoadBalancerName;
use crate::rule::RuleIndex;
use crate::snapshot::{Listener, ListenerIndex};

impl State {
    /// The number that a listener has, or will have once it is defined: sockets are bound before the snapshot that
    /// serves them is published.
    pub fn listener_index<G>(
        &mut self,
        load_balancer: &LoadBalancerName,
        bind: ListenAddr,
        kind: &ListenerKind<G>,
    ) -> ListenerIndex {
        let next = ListenerIndex(self.listener_indices.len() as u32);
        let identity = (load_balancer.clone(), bind, kind.service(), kind.protocol());
        *self.listener_indices.entry(identity).or_insert(next)
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
                let index = self.listener_index(&load_balancer.name, listener.bind, &kind);
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

    /// In the place of a listener that is gone puts one that takes the same connections and is served alike, if there is one: what its
    /// sockets had accepted, or had waiting, is served by that. One that speaks the same is better than one that does not.
    fn succeed(&self, listeners: &mut Vec<Option<Arc<Listener>>>) {
        listeners.resize(self.listener_indices.len(), None);
        let current: Vec<Arc<Listener>> = listeners.iter().flatten().cloned().collect();
        for ((_, bind, service, protocol), index) in &self.listener_indices {
            let place = &mut listeners[index.0 as usize];
            if place.is_none() {
                let is_like_it = |listener: &&Arc<Listener>| {
                    listener.bind.overlaps(*bind) && listener.kind.service() == *service
                };
                let speaks_otherwise = |listener: &&Arc<Listener>| {
                    (listener.kind.protocol() != *protocol, !listener.kind.has_tcp())
                };
                *place = current.iter().filter(is_like_it).min_by_key(speaks_otherwise).cloned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Algorithm, NetworkProtocol};
    use crate::reconcile::tests::definitions;
    use crate::reconcile::{Event, reconcile};
    use crate::snapshot::testing::settings;
    use crate::time::Timestamp;

    /// What is spoken by the listener that serves connections of one for TCP at 127.0.0.1:80, once another is there instead.
    fn spoken_instead(protocol: NetworkProtocol, bind: &str) -> Option<&'static str> {
        let mut state = State::new();
        let mut definitions = definitions(vec![settings("g", Algorithm::FlowHash)]);
        reconcile(&mut state, Event::Definitions(Arc::new(definitions.clone())), Timestamp::default());
        let listener = &mut definitions.load_balancers[0].listeners[0];
        listener.bind = ListenAddr(bind.parse().unwrap());
        let ListenerKind::Network(network) = &mut listener.kind else { unreachable!("as it was made") };
        network.protocol = protocol;
        let reconciled =
            reconcile(&mut state, Event::Definitions(Arc::new(definitions)), Timestamp::default());
        Some(reconciled.snapshot?.listener(ListenerIndex(0))?.kind.protocol())
    }

    #[test]
    fn connections_of_a_listener_that_is_gone_are_served_by_one_that_takes_its_place() {
        assert_eq!(spoken_instead(NetworkProtocol::Tcp, "0.0.0.0:80"), Some("tcp"));
        assert_eq!(
            spoken_instead(NetworkProtocol::TcpUdp, "127.0.0.1:80"),
            Some("tcp_udp"),
            "it takes TCP, too"
        );
        assert_eq!(spoken_instead(NetworkProtocol::Tcp, "127.0.0.1:81"), None, "at another port");
    }
}

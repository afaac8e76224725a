//! The listeners that speak TLS: written by the control thread, read by workers once for each connection or listener.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_core::snapshot::ListenerIndex;

use crate::server_side::{ServerSettings, ServerSide};

/// Where workers find what a listener serves with. Cloning gives another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Listeners(Arc<RwLock<BTreeMap<ListenerIndex, ServerSide>>>);

impl Listeners {
    /// What a listener serves with; `None` when it does not speak TLS. A worker may keep it: what is new comes into it.
    pub fn get(&self, listener: ListenerIndex) -> Option<ServerSide> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&listener).cloned()
    }

    /// Serves by `settings` from now on, and not at all at listeners that are not among them. Handshakes under way go
    /// on with what they have.
    pub fn set(&self, settings: BTreeMap<ListenerIndex, ServerSettings>) {
        let mut listeners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener, _| settings.contains_key(listener));
        for (listener, settings) in settings {
            match listeners.get(&listener) {
                Some(open) => open.swap(settings),
                None => drop(listeners.insert(listener, ServerSide::new(settings))),
            }
        }
    }
}

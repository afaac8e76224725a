//! The listeners that speak TLS, and the secrets of all: written by the control thread, read by workers once for each
//! connection, listener or question.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_core::snapshot::ListenerIndex;

use crate::secrets::{OwnSecret, Secrets};
use crate::server_side::{ServerSettings, ServerSide};

/// Where workers find what a listener serves with. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Listeners {
    sides: Arc<RwLock<BTreeMap<ListenerIndex, ServerSide>>>,
    secrets: Arc<RwLock<Secrets>>,
    own: OwnSecret,
}

impl Default for Listeners {
    /// No listener, and secrets that nobody else knows.
    fn default() -> Self {
        Self::new(OwnSecret::random())
    }
}

impl Listeners {
    /// No listener, and this secret where no other is written.
    pub fn new(own: OwnSecret) -> Self {
        Self { sides: Arc::default(), secrets: Arc::new(RwLock::new(Secrets::own(&own))), own }
    }

    /// The secret that is used where no other is written.
    pub fn own(&self) -> &OwnSecret {
        &self.own
    }

    /// What a listener serves with; `None` when it does not speak TLS. A worker may keep it: what is new comes into it.
    pub fn get(&self, listener: ListenerIndex) -> Option<ServerSide> {
        self.sides.read().unwrap_or_else(PoisonError::into_inner).get(&listener).cloned()
    }

    /// The secrets as they are now.
    pub fn secrets(&self) -> Secrets {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses these secrets from now on.
    pub fn set_secrets(&self, secrets: Secrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// Serves by `settings` from now on, and not at all at listeners that are not among them. Handshakes under way go
    /// on with what they have.
    pub fn set(&self, settings: BTreeMap<ListenerIndex, ServerSettings>) {
        let mut listeners = self.sides.write().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener, _| settings.contains_key(listener));
        for (listener, settings) in settings {
            match listeners.get(&listener) {
                Some(open) => open.swap(settings),
                None => drop(listeners.insert(listener, ServerSide::new(settings))),
            }
        }
    }
}

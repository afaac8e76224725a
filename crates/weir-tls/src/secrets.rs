//! Secrets that workers need besides certificates: what cookies are sealed with, what weir signs with, and by what
//! identity providers know it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rand;
use weir_core::seal::{CookieKeys, SECRET_BYTES_MIN};
use weir_core::tls::NamedFile;

use crate::signing::SigningKey;

/// A secret that stands in no file: a process makes it up, and hands it to the one that takes its place. It is used where no
/// other is written.
#[derive(Clone)]
pub struct OwnSecret([u8; SECRET_BYTES_MIN]);

/// What workers know that nobody else may. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Secrets {
    /// Seals and opens cookies.
    pub cookies: Arc<CookieKeys>,
    /// The first one signs; targets may still meet what the others have signed.
    signing: Arc<[SigningKey]>,
    /// By the file that has it.
    clients: BTreeMap<PathBuf, Arc<str>>,
}

impl OwnSecret {
    /// One that nobody else knows.
    pub fn random() -> Self {
        let mut secret = [0; SECRET_BYTES_MIN];
        rand::fill(&mut secret).expect("the system has random numbers");
        Self(secret)
    }

    /// One that another process has handed over; `None` when it is none.
    pub fn handed_over(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Itself, to be handed over.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for OwnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not have it.
        f.debug_struct("OwnSecret").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Made of `secrets`, of which the first seals and signs. There must be one.
    pub(crate) fn of(secrets: &[&[u8]]) -> Self {
        Self {
            cookies: Arc::new(CookieKeys::new(secrets)),
            signing: secrets.iter().map(|secret| SigningKey::of(secret)).collect(),
            clients: BTreeMap::new(),
        }
    }

    /// Made of what stands in no file.
    pub fn own(secret: &OwnSecret) -> Self {
        Self::of(&[secret.as_bytes()])
    }

    /// What nobody else knows.
    pub fn random() -> Self {
        Self::own(&OwnSecret::random())
    }

    /// The same, with these secrets of clients in place of others.
    #[must_use]
    pub(crate) fn with_clients(self, clients: BTreeMap<PathBuf, Arc<str>>) -> Self {
        Self { clients, ..self }
    }

    /// What weir signs with.
    pub fn signing(&self) -> &SigningKey {
        self.signing.first().expect("there is at least one secret")
    }

    /// The public key of that id, in PEM, for whoever checks what weir has signed.
    pub fn public_key(&self, id: &str) -> Option<String> {
        self.signing.iter().find(|key| key.id() == id).map(SigningKey::public_pem)
    }

    /// The ids of all keys that something may be signed with, the one that is used now first.
    pub fn key_ids(&self) -> Vec<String> {
        self.signing.iter().map(|key| key.id().to_owned()).collect()
    }

    /// By what a provider knows weir: what is in `file`.
    pub fn client(&self, file: &NamedFile) -> Option<Arc<str>> {
        self.clients.get(&file.path).cloned()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not have them.
        f.debug_struct("Secrets").field("clients", &self.clients.keys()).finish_non_exhaustive()
    }
}

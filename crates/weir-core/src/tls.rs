//! What a listener is asked to speak TLS with: files, a security policy, and whether clients show certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ssl_policy::SslPolicy;

/// Most certificates of one listener: AWS's quota of 25, and the default.
pub const CERTIFICATES_MAX: usize = 26;

/// Most revocation lists of a trust store: AWS's quota.
pub const REVOCATION_LISTS_MAX: usize = 30;

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one; the first is shown to clients that ask for no name, or one that no certificate has.
    pub certificates: Vec<CertificateFiles>,
    /// Versions, suites and groups.
    pub policy: SslPolicy,
    /// Whether clients show certificates, and what becomes of them.
    pub mutual_authentication: MutualAuthentication,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead from it to a root.
    pub certificate: NamedFile,
    /// PEM: its private key, PKCS #8, PKCS #1 or SEC 1.
    pub key: NamedFile,
}

/// A file that a configuration names.
#[derive(Clone, Debug)]
pub struct NamedFile {
    /// Where it is.
    pub path: PathBuf,
    /// The line of the configuration that names it, from 1.
    pub line: usize,
}

/// Where it is named does not matter.
impl PartialEq for NamedFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for NamedFile {}

/// Whether clients show certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MutualAuthentication {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and the target is told what they show, unchecked.
    Passthrough,
    /// They are asked, and only those with a certificate that the trust store vouches for are served.
    Verify(TrustStore),
}

/// Who vouches for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStore {
    /// PEM: certificates of authorities.
    pub authorities: NamedFile,
    /// PEM or DER, at most [`REVOCATION_LISTS_MAX`]: certificates that no longer count.
    pub revocation_lists: Vec<NamedFile>,
    /// Whether a client's certificate counts outside its own dates.
    pub ignore_client_certificate_expiry: bool,
    /// Whether clients are told the names of the authorities.
    pub advertise_trust_store_ca_names: bool,
}

/// How targets are spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTls {
    /// Whether they are asked for the host that the client wants.
    pub asks_for_host: bool,
    /// The keys of which a target has to have one; `None` takes everyone.
    pub public_keys: Option<Arc<[PublicKey]>>,
}

/// A public key as it stands in certificates: the DER of a `SubjectPublicKeyInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Box<[u8]>);

impl Default for TargetTls {
    fn default() -> Self {
        Self { asks_for_host: true, public_keys: None }
    }
}

impl Tls {
    /// Every file that it is made from.
    pub fn files(&self) -> Vec<&NamedFile> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        let trusted = match &self.mutual_authentication {
            MutualAuthentication::Off | MutualAuthentication::Passthrough => Vec::new(),
            MutualAuthentication::Verify(store) => {
                [&store.authorities].into_iter().chain(&store.revocation_lists).collect()
            }
        };
        pairs.chain(trusted).collect()
    }
}

impl NamedFile {
    /// A file that line `line` names.
    pub fn new(path: &Path, line: usize) -> Self {
        Self { path: path.to_owned(), line }
    }
}

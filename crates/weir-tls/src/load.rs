//! From the files that a configuration names to what a listener serves with: all of it, or the first mistake.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::time_provider::DefaultTimeProvider;
use rustls::{DistinguishedName, Error, InconsistentKeys};
use weir_core::seal::{SECRET_BYTES_MIN, SECRETS_MAX};
use weir_core::tls::{CertificateFiles, MutualAuthentication, NamedFile, Tls, TrustStore};

use crate::certificate::{self, ServerCertificate};
use crate::files::Files;
use crate::handshake::AlpnOffer;
use crate::mutual::{Mutual, Trust};
use crate::provider::provider;
use crate::secrets::Secrets;
use crate::server_side::{Certified, ServerSettings};
use crate::tickets::Tickets;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem} (line {line} of the configuration names it)", file.display())]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// The line of the configuration that names it, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub problem: LoadProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// The key is that of another certificate.
    #[error("is not the key of {}; name the two files of one pair", .0.display())]
    KeyOfAnother(PathBuf),
    /// No authority.
    #[error("has no certificate of an authority; write them in PEM, one after the other")]
    NoAuthority,
    /// No certificate.
    #[error("has no certificate; write it in PEM, its own certificate first")]
    NoCertificate,
    /// No secret of a client.
    #[error("has no secret; write what the provider has given, in one line")]
    NoClientSecret,
    /// No key.
    #[error("has no private key; write it in PEM, without a passphrase")]
    NoKey,
    /// No revocation list.
    #[error("has no revocation list; write it in PEM or DER")]
    NoRevocationList,
    /// A secret that could be guessed.
    #[error(
        "has a secret of fewer than {SECRET_BYTES_MIN} characters; make one with `openssl rand -base64 48`"
    )]
    SecretTooShort,
    /// More secrets than are tried.
    #[error("has more than {SECRETS_MAX} secrets; leave out the oldest")]
    TooManySecrets,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// A certificate that weir cannot use.
    #[error("has a certificate that cannot be used: {0}")]
    UnusableCertificate(Error),
    /// A key that weir cannot use.
    #[error(
        "has a key that cannot be used: {0}; RSA of at least 2048 bits, P-256, P-384, P-521 and Ed25519 can"
    )]
    UnusableKey(Error),
    /// An authority or revocation list that cannot be used.
    #[error("cannot be used: {0}")]
    UnusableTrust(#[source] webpki::Error),
}

impl LoadProblem {
    fn of(self, file: &NamedFile) -> LoadError {
        LoadError { file: file.path.clone(), line: file.line, problem: self }
    }
}

/// What a listener serves with, from the files of `tls`. Clients are offered `alpn`, the preferred first; sessions are
/// resumed by `tickets`, unless clients show certificates.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(
    tls: &Tls,
    alpn: &AlpnOffer,
    tickets: &Arc<Tickets>,
    files: &mut Files,
) -> Result<ServerSettings, LoadError> {
    let certificates = tls.certificates.iter().map(|pair| certified(pair, tls, files));
    let certificates = certificates.collect::<Result<Vec<Certified>, LoadError>>()?;
    let mutual = match &tls.mutual_authentication {
        MutualAuthentication::Off => Mutual::Off,
        MutualAuthentication::Passthrough => Mutual::Passthrough,
        MutualAuthentication::Verify(store) => Mutual::Verify(Arc::new(trust(store, files)?)),
    };
    Ok(ServerSettings::new(certificates, tls.policy, mutual, alpn, tickets))
}

/// Tickets by the secrets of a file, one on each line: the first makes tickets, the others still open theirs.
///
/// # Errors
/// It cannot be read, or has a secret that could be guessed.
pub fn load_tickets(file: &NamedFile, files: &mut Files) -> Result<Arc<Tickets>, LoadError> {
    Ok(Tickets::of(&secrets(file, files)?, Arc::new(DefaultTimeProvider)))
}

/// What workers know that nobody else may: made of the secrets in `cookies`, or else `own`; and what is in the files that
/// `clients` name.
///
/// # Errors
/// A file cannot be read, or has a secret that could be guessed, or none.
pub fn load_secrets(
    cookies: Option<&NamedFile>,
    clients: &[NamedFile],
    own: &Secrets,
    files: &mut Files,
) -> Result<Secrets, LoadError> {
    let ours = match cookies {
        Some(file) => Secrets::of(&secrets(file, files)?),
        None => own.clone(),
    };
    let mut loaded = BTreeMap::new();
    for file in clients {
        let content = std::str::from_utf8(read(file, files)?).map(str::trim).ok();
        let is_secret = |text: &&str| !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_control());
        let secret = content.filter(is_secret).ok_or_else(|| LoadProblem::NoClientSecret.of(file))?;
        loaded.insert(file.path.clone(), Arc::from(secret));
    }
    Ok(ours.with_clients(loaded))
}

/// The secrets of a file, one on each line.
fn secrets<'f>(file: &NamedFile, files: &'f mut Files) -> Result<Vec<&'f [u8]>, LoadError> {
    let content = read(file, files)?;
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let secrets: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    if secrets.len() > SECRETS_MAX {
        return Err(LoadProblem::TooManySecrets.of(file));
    }
    if secrets.is_empty() || secrets.iter().any(|secret| secret.len() < SECRET_BYTES_MIN) {
        return Err(LoadProblem::SecretTooShort.of(file));
    }
    Ok(secrets)
}

fn read<'f>(file: &NamedFile, files: &'f mut Files) -> Result<&'f [u8], LoadError> {
    files.read(&file.path).map_err(|error| LoadProblem::Unreadable(error.kind()).of(file))
}

fn certified(pair: &CertificateFiles, tls: &Tls, files: &mut Files) -> Result<Certified, LoadError> {
    let chain = certificates(read(&pair.certificate, files)?);
    let facts = chain.first().and_then(certificate::read);
    let facts = facts.ok_or_else(|| LoadProblem::NoCertificate.of(&pair.certificate))?;
    let key = PrivateKeyDer::from_pem_slice(read(&pair.key, files)?);
    let key = key.map_err(|_| LoadProblem::NoKey.of(&pair.key))?;
    let key = provider(tls.policy).key_provider.load_private_key(key);
    let key = key.map_err(|error| LoadProblem::UnusableKey(error).of(&pair.key))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => {}
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(LoadProblem::KeyOfAnother(pair.certificate.path.clone()).of(&pair.key));
        }
        Err(error) => return Err(LoadProblem::UnusableCertificate(error).of(&pair.certificate)),
    }
    let certificate = Arc::new(ServerCertificate::new(&pair.certificate.path, facts));
    Ok(Certified { certificate, key: Arc::new(certified) })
}

/// The certificates of a file in PEM; empty when there is none, or one that is cut.
fn certificates(content: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(content).collect::<Result<_, _>>().unwrap_or_default()
}

fn trust(store: &TrustStore, files: &mut Files) -> Result<Trust, LoadError> {
    let authorities = certificates(read(&store.authorities, files)?);
    if authorities.is_empty() {
        return Err(LoadProblem::NoAuthority.of(&store.authorities));
    }
    let anchors = authorities.iter().map(|authority| {
        let anchor = webpki::anchor_from_trusted_cert(authority);
        anchor.map(|anchor| anchor.to_owned())
    });
    let anchors = anchors.collect::<Result<Vec<_>, _>>();
    let anchors = anchors.map_err(|error| LoadProblem::UnusableTrust(error).of(&store.authorities))?;
    let mut revocation_lists = Vec::new();
    for file in &store.revocation_lists {
        for list in lists(read(file, files)?).ok_or_else(|| LoadProblem::NoRevocationList.of(file))? {
            let list = webpki::OwnedCertRevocationList::from_der(&list);
            revocation_lists.push(list.map_err(|error| LoadProblem::UnusableTrust(error).of(file))?.into());
        }
    }
    let names = || anchors.iter().map(|anchor| DistinguishedName::from(anchor.subject.to_vec()));
    let advertised = if store.advertise_trust_store_ca_names { names().collect() } else { Vec::new() };
    Ok(Trust {
        revocation_lists,
        ignores_expiry: store.ignore_client_certificate_expiry,
        advertised,
        authorities: anchors,
    })
}

/// The revocation lists of a file in PEM or DER.
fn lists(content: &[u8]) -> Option<Vec<CertificateRevocationListDer<'_>>> {
    if content.first() == Some(&crate::der::SEQUENCE) {
        return Some(vec![CertificateRevocationListDer::from(content)]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().ok()?;
    Some(lists).filter(|lists| !lists.is_empty())
}

//! Mutual TLS: what is asked of the certificate that a client shows.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, VerifiedPath,
};

use crate::certificate;
use crate::error::TooDeep;

/// Most certificates from a client's own to that of an authority, both counted: AWS's quota, in the counting of s2n.
const DEPTH_MAX: usize = 4;

/// Who vouches for clients, ready to ask.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) authorities: Vec<TrustAnchor<'static>>,
    pub(crate) revocation_lists: Vec<CertRevocationList<'static>>,
    pub(crate) ignores_expiry: bool,
    /// The names that clients are told, if they are told any.
    pub(crate) advertised: Vec<DistinguishedName>,
}

/// Whether clients show certificates.
#[derive(Clone, Debug)]
pub(crate) enum Mutual {
    Off,
    Passthrough,
    Verify(Arc<Trust>),
}

/// Asks clients for certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None` passes on whatever is shown.
    trust: Option<Arc<Trust>>,
}

impl Verifier {
    /// What asks clients; `None` when they are not to be asked.
    pub(crate) fn of(mutual: &Mutual, algorithms: WebPkiSupportedAlgorithms) -> Option<Arc<Self>> {
        let trust = match mutual {
            Mutual::Off => return None,
            Mutual::Passthrough => None,
            Mutual::Verify(trust) => Some(trust.clone()),
        };
        Some(Arc::new(Self { algorithms, trust }))
    }
}

impl Trust {
    /// Whether an authority vouches for `leaf`, by way of `others`.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let now = if self.ignores_expiry { within_dates(leaf, now) } else { now };
        let lists: Vec<&CertRevocationList<'_>> = self.revocation_lists.iter().collect();
        let revocation = if lists.is_empty() {
            None
        } else {
            let options = RevocationOptionsBuilder::new(&lists).expect("there is a list");
            // An authority without a list of its own has revoked nothing.
            let options = options.with_depth(RevocationCheckDepth::Chain);
            Some(options.with_status_policy(UnknownStatusPolicy::Allow).build())
        };
        let is_short = |path: &VerifiedPath<'_>| match path.intermediate_certificates().count() + 2 {
            ..=DEPTH_MAX => Ok(()),
            _ => Err(webpki::Error::MaximumPathDepthExceeded),
        };
        let leaf = EndEntityCert::try_from(leaf).map_err(refusal)?;
        let path = leaf.verify_for_usage(
            algorithms.all,
            &self.authorities,
            others,
            now,
            KeyUsage::client_auth(),
            revocation,
            Some(&is_short),
        );
        path.map(|_| ()).map_err(refusal)
    }
}

/// `now`, or the moment next to it that is within the dates of a certificate.
fn within_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Some(facts) = certificate::read(certificate) else { return now };
    let (first, last) = (facts.not_before.unix_seconds, facts.not_after.unix_seconds);
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).min(last).max(first);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// What rustls tells the client, and we tell the log.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match error {
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertRevoked => CertificateError::Revoked,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::MaximumPathDepthExceeded => CertificateError::Other(OtherError(Arc::new(TooDeep))),
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    })
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.trust.is_some()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.as_ref().map_or(&[], |trust| &trust.advertised)
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(trust) = &self.trust {
            trust.verify(end_entity, intermediates, now, &self.algorithms)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;

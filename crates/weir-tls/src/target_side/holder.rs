//! Targets that have to hold one of a few keys, whatever else their certificates say.
//!
//! Source: Classic Load Balancer, "Back-end server authentication".

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use weir_core::tls::PublicKey;

use super::verifying;
use crate::certificate;
use crate::handshake::Alpn;

/// What is asked of a target that has to hold one of `keys`.
pub(super) fn config(alpn: &[Alpn], keys: &[PublicKey]) -> ClientConfig {
    let provider = Arc::new(default_provider());
    let mut config =
        verifying(Arc::new(Holder { keys: keys.to_vec(), provider: provider.clone() }), alpn, &provider);
    // A ticket of somebody else's would get by without showing a key.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Takes certificates with one of the keys, and only from whoever can sign with it.
#[derive(Debug)]
struct Holder {
    keys: Vec<PublicKey>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Holder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = certificate::public_key(end_entity).ok_or(CertificateError::BadEncoding)?;
        if self.keys.iter().any(|known| *known.0 == *key) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! The side toward targets: TLS on a connection to one.
//!
//! Like AWS's load balancers, weir does not ask who the target is: its certificate may be anyone's, or have ended. Only classic
//! load balancers may name the public keys of their instances.

mod holder;

use std::os::fd::AsFd;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_core::tls::PublicKey;
use weir_net::stream::peer_addr;

use crate::HANDSHAKE_DEADLINE;
use crate::error::HandshakeError;
use crate::handshake::Alpn;

/// What connections to targets are secured with. Sessions are resumed, with the same server name or address: a target
/// that knows nothing of a session starts a new one. Cloning shares them.
#[derive(Clone)]
pub struct TargetSide(Arc<[TlsConnector; 4]>);

impl TargetSide {
    /// With no session to resume yet.
    pub fn new() -> Self {
        let sets: [&[Alpn]; 4] = [&[], &[Alpn::Http1], &[Alpn::Http2], &[Alpn::Http2, Alpn::Http1]];
        let provider = Arc::new(default_provider());
        Self(Arc::new(sets.map(|alpn| TlsConnector::from(Arc::new(config(alpn, &provider))))))
    }

    /// Shakes hands with a target on a connection to it. `server_name` is what it is asked for by name; without one, or
    /// with one that no host can have, it is asked for nothing. Of `alpn` it may take one, HTTP/2 preferred.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is closed.
    pub async fn connect<S: AsyncRead + AsyncWrite + AsFd + Unpin>(
        &self,
        stream: S,
        server_name: Option<&str>,
        alpn: &[Alpn],
    ) -> Result<(TlsStream<S>, Option<Alpn>), HandshakeError> {
        self.connect_to_holder(stream, server_name, alpn, None).await
    }

    /// The same with a target that has to hold one of `keys`, if there are any. No session is resumed then.
    ///
    /// # Errors
    /// [`HandshakeError`]; the connection is closed.
    pub async fn connect_to_holder<S: AsyncRead + AsyncWrite + AsFd + Unpin>(
        &self,
        stream: S,
        server_name: Option<&str>,
        alpn: &[Alpn],
        keys: Option<&[PublicKey]>,
    ) -> Result<(TlsStream<S>, Option<Alpn>), HandshakeError> {
        let name = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = match name {
            Some(name) => name,
            None => ServerName::from(peer_addr(&stream)?.ip()),
        };
        let set = usize::from(alpn.contains(&Alpn::Http1)) + 2 * usize::from(alpn.contains(&Alpn::Http2));
        let connector = match keys {
            Some(keys) => TlsConnector::from(Arc::new(holder::config(alpn, keys))),
            // Protocols of users' own are without number: nothing is kept for them, and no session is resumed.
            None if alpn.iter().any(|alpn| matches!(alpn, Alpn::Other(_))) => {
                TlsConnector::from(Arc::new(config(alpn, &Arc::new(default_provider()))))
            }
            None => self.0[set].clone(),
        };
        let shaken = timeout(HANDSHAKE_DEADLINE, connector.connect(name, stream)).await;
        let stream = shaken.map_err(|_| HandshakeError::Deadline)??;
        let agreed = Alpn::of(stream.get_ref().1.alpn_protocol());
        Ok((stream, agreed))
    }
}

impl Default for TargetSide {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for TargetSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetSide").finish_non_exhaustive()
    }
}

fn config(alpn: &[Alpn], provider: &Arc<CryptoProvider>) -> ClientConfig {
    let anyone = Anyone(provider.signature_verification_algorithms.supported_schemes());
    verifying(Arc::new(anyone), alpn, provider)
}

fn verifying(
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[Alpn],
    provider: &Arc<CryptoProvider>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has suites and groups for both versions");
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_str().as_bytes().to_vec()).collect();
    config
}

/// Takes every certificate. Whoever could show any may as well sign with any, so signatures are not looked at either:
/// certificates that only old software can read are taken, too.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests;

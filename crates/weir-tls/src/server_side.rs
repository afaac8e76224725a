//! The side of a listener: a handshake with whoever has connected.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::UnixTime;
use rustls::server::{Accepted, Acceptor, ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;
use weir_core::ssl_policy::SslPolicy;
use weir_net::stream::Stream;

use crate::HANDSHAKE_DEADLINE;
use crate::certificate::ServerCertificate;
use crate::client_certificate::ClientCertificate;
use crate::error::HandshakeError;
use crate::handshake::{AlpnOffer, Handshake, alpn_preferences};
use crate::mutual::{Mutual, Verifier};
use crate::names::{Names, preferred};
use crate::provider::{provider, versions};
use crate::tickets::Tickets;

/// Largest first message of a client, in bytes, with the heads of its records. One with post-quantum keys has 2 KB;
/// what an honest one might have is a long ticket of another server.
pub(crate) const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// What a listener speaks TLS with. Cloning gives another handle to the same; what is swapped into one is in all.
#[derive(Clone, Debug)]
pub struct ServerSide(Arc<RwLock<Arc<ServerSettings>>>);

/// Everything that a handshake is made from, immutable.
#[derive(Debug)]
pub struct ServerSettings {
    /// At least one; the first is the default.
    offers: Vec<Offer>,
    names: Names,
    suites: Vec<SupportedCipherSuite>,
    mutual: Mutual,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) certificate: Arc<ServerCertificate>,
    pub(crate) key: Arc<CertifiedKey>,
}

/// A certificate that clients may be shown, with the handshake that shows it.
#[derive(Debug)]
struct Offer {
    certified: Certified,
    config: Arc<ServerConfig>,
    /// The same for clients with whom nothing can be agreed on to speak, where they are not refused.
    without_alpn: Option<Arc<ServerConfig>>,
}

impl Offer {
    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let ours = &self.config.alpn_protocols;
        let agrees =
            || hello.alpn().is_none_or(|mut theirs| theirs.any(|name| ours.iter().any(|own| own == name)));
        match &self.without_alpn {
            Some(without) if !agrees() => without.clone(),
            _ => self.config.clone(),
        }
    }
}

impl ServerSide {
    /// Serves by `settings`.
    pub fn new(settings: ServerSettings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Serves by `settings` from now on. Handshakes under way go on with what they have.
    pub fn swap(&self, settings: ServerSettings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The certificates that clients may be shown; the first is the default.
    pub fn certificates(&self) -> Vec<Arc<ServerCertificate>> {
        self.current().certificates().cloned().collect()
    }

    /// Shakes hands with a client that has connected.
    ///
    /// # Errors
    /// [`HandshakeError`]; the client has been told why, as far as TLS has a word for it, and the connection is closed.
    pub async fn accept(&self, stream: Stream) -> Result<(TlsStream<Stream>, Handshake), HandshakeError> {
        let shaking = async {
            let (accepted, stream) = read_hello(stream).await?;
            // Not before: what has been swapped in while the client was silent counts.
            let settings = self.current();
            let offer = settings.offer_for(&accepted.client_hello());
            let config = offer.config_for(&accepted.client_hello());
            let preferences = alpn_preferences(&accepted.client_hello());
            let start = StartHandshake::from_parts(accepted, stream);
            let stream = start.into_stream(config).await?;
            let connection = stream.get_ref().1;
            let client_certificate = settings.client_certificate(connection)?;
            let handshake = Handshake::of(
                connection,
                offer.certified.certificate.clone(),
                client_certificate,
                preferences,
            );
            Ok((stream, handshake))
        };
        timeout(HANDSHAKE_DEADLINE, shaking).await.unwrap_or(Err(HandshakeError::Deadline))
    }

    fn current(&self) -> Arc<ServerSettings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerSettings {
    /// Serves with `certificates`, of which there is at least one.
    pub(crate) fn new(
        certificates: Vec<Certified>,
        policy: SslPolicy,
        mutual: Mutual,
        alpn: &AlpnOffer,
        tickets: &Arc<Tickets>,
    ) -> Self {
        let provider = provider(policy);
        let verifier = Verifier::of(&mutual, provider.signature_verification_algorithms);
        let config = |certified: &Certified| {
            let builder = ServerConfig::builder_with_provider(provider.clone());
            let builder = builder.with_protocol_versions(&versions(policy));
            let builder = builder.expect("every policy has suites and groups for its versions");
            let resolver = Arc::new(SingleCertAndKey::from(certified.key.clone()));
            let mut config = match &verifier {
                Some(verifier) => {
                    builder.with_client_cert_verifier(verifier.clone()).with_cert_resolver(resolver)
                }
                None => builder.with_no_client_auth().with_cert_resolver(resolver),
            };
            config.ignore_client_order = true;
            config.alpn_protocols =
                alpn.protocols.iter().map(|alpn| alpn.as_str().as_bytes().to_vec()).collect();
            // Sessions live in tickets, which every worker and every weir with the secret can open.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            if verifier.is_none() {
                config.ticketer = tickets.clone();
                config.send_tls13_tickets = 1;
            } else {
                // A certificate that has ended or was revoked must not live on in a session: AWS resumes none either.
                config.send_tls13_tickets = 0;
            }
            config
        };
        let offer = |certified: Certified| {
            let config = config(&certified);
            let without_alpn = (!alpn.is_required).then(|| {
                let mut without = config.clone();
                without.alpn_protocols.clear();
                Arc::new(without)
            });
            Offer { certified, config: Arc::new(config), without_alpn }
        };
        let names = Names::of(certificates.iter().map(|certified| &*certified.certificate));
        let offers = certificates.into_iter().map(offer).collect();
        Self { offers, names, suites: provider.cipher_suites.clone(), mutual }
    }

    /// The certificates that clients may be shown; the first is the default.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<ServerCertificate>> {
        self.offers.iter().map(|offer| &offer.certified.certificate)
    }

    fn offer_for(&self, hello: &ClientHello<'_>) -> &Offer {
        let matching = hello.server_name().map_or(&[][..], |name| self.names.matching(name));
        let chosen = match matching {
            [] => 0,
            [only] => *only,
            several => {
                let offers = several.iter().map(|at| {
                    let certified = &self.offers[*at].certified;
                    (*at, &*certified.certificate, self.can_be_used(certified, hello))
                });
                let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
                preferred(offers, now).expect("there are several")
            }
        };
        &self.offers[chosen]
    }

    /// Whether the client can check a signature by this key. In TLS 1.2 suites say that, too; the version is not known
    /// yet, but who offers a suite of TLS 1.3 speaks it.
    fn can_be_used(&self, certified: &Certified, hello: &ClientHello<'_>) -> bool {
        let is_offered = |suite: CipherSuite| hello.cipher_suites().contains(&suite);
        let can_sign = |suite: &SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls12(inner) => certified.key.key.choose_scheme(inner.sign).is_some(),
            SupportedCipherSuite::Tls13(_) => true,
        };
        certified.key.key.choose_scheme(hello.signature_schemes()).is_some()
            && self.suites.iter().any(|suite| is_offered(suite.suite()) && can_sign(suite))
    }

    /// What targets are told of the client's certificate.
    fn client_certificate(
        &self,
        connection: &rustls::ServerConnection,
    ) -> Result<Option<Arc<ClientCertificate>>, HandshakeError> {
        let Some([leaf, others @ ..]) = connection.peer_certificates() else { return Ok(None) };
        let certificate = match &self.mutual {
            Mutual::Off => None,
            Mutual::Passthrough => {
                let chain: Vec<_> = [leaf].into_iter().chain(others).cloned().collect();
                Some(ClientCertificate::passthrough(&chain))
            }
            Mutual::Verify(_) => {
                let unreadable = rustls::CertificateError::BadEncoding;
                let certificate = ClientCertificate::verified(leaf);
                Some(certificate.ok_or(HandshakeError::ClientCertificateInvalid(unreadable.into()))?)
            }
        };
        Ok(certificate.map(Arc::new))
    }
}

/// Reads a client's first message, whatever pieces it comes in.
async fn read_hello(mut stream: Stream) -> Result<(Accepted, Stream), HandshakeError> {
    let mut acceptor = Acceptor::default();
    let mut read_bytes = 0;
    loop {
        stream.readable().await?;
        match acceptor.read_tls(&mut Ready(&mut stream)) {
            Ok(0) => return Err(HandshakeError::Closed),
            Ok(bytes) => read_bytes += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok((accepted, stream)),
            Ok(None) if read_bytes > CLIENT_HELLO_BYTES_MAX => return Err(HandshakeError::HelloTooLarge),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                // Whether the client still wants to know does not matter.
                let _ = stream.write_all(&bytes).await;
                return Err(error.into());
            }
        }
    }
}

/// A stream that is read as far as it is there.
struct Ready<'s>(&'s mut Stream);

impl io::Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

#[cfg(test)]
mod tests;

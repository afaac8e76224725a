//! Certificates, clients and clocks for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    RsaKeySize, SerialNumber, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, SignatureScheme, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream;
use weir_core::ssl_policy::SslPolicy;
use weir_core::tls::{CertificateFiles, MutualAuthentication, NamedFile, Tls};
use weir_net::reactor::Reactor;
use weir_net::stream::Stream;

use crate::target_side::Anyone;
use crate::{Alpn, AlpnOffer, Files, Handshake, HandshakeError, ServerSettings, ServerSide, Tickets, load};

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self(seconds.into()))
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.0.store(seconds, Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Relaxed))))
    }
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("weir-tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyKind {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa4096,
}

/// A certificate with its key and what leads to its authority.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) pem: String,
    pub(crate) key: String,
}

impl Made {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        certificates_of(&self.pem)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// Writes both files.
    pub(crate) fn write(&self, folder: &Folder, name: &str) -> CertificateFiles {
        CertificateFiles {
            certificate: named(&folder.write(&format!("{name}.pem"), self.pem.as_bytes())),
            key: named(&folder.write(&format!("{name}.key"), self.key.as_bytes())),
        }
    }
}

pub(crate) fn certificates_of(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

pub(crate) fn named(path: &Path) -> NamedFile {
    NamedFile::new(path, 7)
}

fn key_pair(kind: KeyKind) -> KeyPair {
    match kind {
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::P521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA512, RsaKeySize::_4096),
    }
    .unwrap()
}

pub(crate) fn self_signed(names: &[&str], kind: KeyKind) -> Made {
    let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let key = key_pair(kind);
    Made { pem: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// What a client's certificate is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) serial: u64,
    /// The years in which it begins and ends to count.
    pub(crate) years: (i32, i32),
    /// Whether it is for servers instead.
    pub(crate) is_for_servers: bool,
    pub(crate) key: KeyKind,
}

impl Default for Wish {
    fn default() -> Self {
        Self { serial: 0x0003_a5b1, years: (2020, 2120), is_for_servers: false, key: KeyKind::P256 }
    }
}

/// Someone who issues certificates.
pub(crate) struct Authority {
    /// Its own certificate, and those that lead from it to the root.
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, KeyKind::P256)
    }

    pub(crate) fn root_with(name: &str, key: KeyKind) -> Self {
        let (params, key) = (Self::params(name), key_pair(key));
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// An authority that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), key_pair(KeyKind::P256));
        let own = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem: own + &self.pem, issuer: Issuer::new(params, key) }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "US");
        params.distinguished_name.push(DnType::OrganizationName, "mTLS");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// A certificate for a client, with what leads to this authority.
    pub(crate) fn client(&self, name: &str, wish: Wish) -> Made {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(wish.serial));
        params.not_before = date_time_ymd(wish.years.0, 1, 2);
        params.not_after = date_time_ymd(wish.years.1, 3, 4);
        let purpose = if wish.is_for_servers {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        };
        params.extended_key_usages = vec![purpose];
        let key = key_pair(wish.key);
        let own = params.signed_by(&key, &self.issuer).unwrap().pem();
        Made { pem: own + &self.pem, key: key.serialize_pem() }
    }

    /// A list that revokes these serial numbers.
    pub(crate) fn revocation_list(&self, serials: &[u64]) -> String {
        self.revocation_list_of(
            &serials.iter().map(|serial| SerialNumber::from(*serial).to_bytes()).collect::<Vec<_>>(),
        )
    }

    /// A list that revokes these serial numbers, written as bytes.
    pub(crate) fn revocation_list_of(&self, serials: &[Vec<u8>]) -> String {
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2022, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A listener's settings with these files and nothing else.
pub(crate) fn plain(certificates: Vec<CertificateFiles>) -> Tls {
    Tls { certificates, policy: SslPolicy::default(), mutual_authentication: MutualAuthentication::Off }
}

pub(crate) fn loaded(tls: &Tls, tickets: &Arc<Tickets>) -> ServerSettings {
    let alpn = AlpnOffer { protocols: [Alpn::Http2, Alpn::Http1].into(), is_required: true };
    load(tls, &alpn, tickets, &mut Files::new()).unwrap()
}

/// A listener that serves by `tls`, with tickets of its own.
pub(crate) fn serving(tls: &Tls) -> ServerSide {
    ServerSide::new(loaded(tls, &Tickets::random()))
}

/// A client that takes whoever answers.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) schemes: Vec<SignatureScheme>,
    pub(crate) certificate: Option<Made>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            name: "shop.example",
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: vec![],
            schemes: default_provider().signature_verification_algorithms.supported_schemes(),
            certificate: None,
        }
    }
}

impl Client {
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        // As browsers do, post-quantum first.
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        let provider = CryptoProvider { kx_groups, ..default_provider() };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&self.versions).unwrap();
        let builder =
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(self.schemes.clone())));
        let mut config = match &self.certificate {
            Some(made) => builder.with_client_auth_cert(made.chain(), made.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|alpn| alpn.to_vec()).collect();
        Arc::new(config)
    }

    /// Meets a listener once; what each side says of it.
    pub(crate) async fn meet(&self, server: &ServerSide) -> Meeting {
        meet(self.config(), self.name, server).await
    }

    /// Meets a listener once, which must work; what the listener says of it.
    pub(crate) async fn greet(&self, server: &ServerSide) -> Handshake {
        self.meet(server).await.server.unwrap().1
    }
}

/// What each side says of a handshake.
pub(crate) struct Meeting {
    pub(crate) server: Result<(TlsStream<Stream>, Handshake), HandshakeError>,
    pub(crate) client: std::io::Result<ClientStream<Stream>>,
}

pub(crate) async fn meet(config: Arc<ClientConfig>, name: &'static str, server: &ServerSide) -> Meeting {
    let (near, far) = connected().await;
    let connector = TlsConnector::from(config);
    let name = ServerName::try_from(name).unwrap();
    let (server, client) = tokio::join!(server.accept(far), connector.connect(name, near));
    Meeting { server, client }
}

/// Both ends of a connection on loopback.
pub(crate) async fn connected() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let far = listener.accept().await.unwrap().0;
    let reactor = Reactor::start().unwrap();
    let (near, far) = (near.into_std().unwrap(), far.into_std().unwrap());
    (Stream::dialled(near, &reactor), Stream::accepted(far, &reactor))
}

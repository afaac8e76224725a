//! A client's connection below HTTP: plain, or TLS 1.3 as cheap as it can be, so that the proxy is saturated before it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// The name that clients ask for.
const NAME: &str = "bench.localhost";

/// One connection that never blocks.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Transport {
    /// Over a connection; a handshake begins with what is first sent.
    pub(crate) fn over(socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME)?)?;
        Ok(Self::Tls(Box::new(connection), socket))
    }

    /// Reads once. Without an error there is something, or the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(connection, socket) => {
                if connection.read_tls(socket)? == 0 {
                    return Ok(0);
                }
                connection.process_new_packets().map_err(io::Error::other)?;
                flush(connection, socket)?;
                connection.reader().read(buffer)
            }
        }
    }

    /// Sends everything, after the handshake if there is one under way.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(connection, socket) => {
                connection.writer().write_all(bytes)?;
                flush(connection, socket)
            }
        }
    }

    /// Ends it as clients do: with a word of it, over TLS.
    pub(crate) fn close(self) {
        if let Self::Tls(mut connection, mut socket) = self {
            connection.send_close_notify();
            // A peer that is gone already need not be told.
            let _ = flush(&mut connection, &mut socket);
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) | Self::Tls(_, socket) => socket.as_fd(),
        }
    }
}

fn flush(connection: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes `cert.pem`, `key.pem` and both in `both.pem`: self-signed, ECDSA P-256.
pub(crate) fn write_certificate(folder: &Path) -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("a certificate")?;
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    std::fs::write(folder.join("both.pem"), format!("{certificate}{key}"))?;
    std::fs::write(folder.join("cert.pem"), certificate)?;
    Ok(std::fs::write(folder.join("key.pem"), key)?)
}

/// What every client offers, so that all proxies do the same work: TLS 1.3, AES-128-GCM, X25519; nothing is resumed.
///
/// Post-quantum groups are not among it, since OpenSSL 3.0 has none.
pub(crate) fn client_config() -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Believes everybody: the client's share of a handshake is not what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{HandshakeKind, ServerConfig, ServerConnection};

    use super::*;
    use crate::sockets::connect;

    fn server_config() -> Arc<ServerConfig> {
        let certified = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.into()], key)
            .unwrap();
        Arc::new(config)
    }

    /// Answers four bytes with the same, and says how the handshake went.
    fn echo(listener: &TcpListener, config: Arc<ServerConfig>) -> HandshakeKind {
        let mut socket = listener.accept().unwrap().0;
        let mut connection = ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        assert_eq!(stream.read(&mut bytes).unwrap(), 0, "the client says that it ends");
        connection.handshake_kind().unwrap()
    }

    #[test]
    fn every_handshake_is_a_full_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, server, client) =
            (listener.local_addr().unwrap(), server_config(), client_config().unwrap());
        let handshakes =
            thread::spawn(move || [echo(&listener, server.clone()), echo(&listener, server.clone())]);
        for _ in 0..2 {
            let mut transport = Transport::over(connect(addr).unwrap(), Some(&client)).unwrap();
            transport.send(b"ping").unwrap();
            let mut bytes = [0; 16];
            let count = loop {
                match transport.read(&mut bytes) {
                    Ok(count) => break count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            };
            assert_eq!(&bytes[..count], b"ping");
            transport.close();
        }
        assert_eq!(handshakes.join().unwrap(), [HandshakeKind::Full; 2]);
    }
}

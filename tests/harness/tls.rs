//! Certificates that nobody vouches for, and clients that take them.

use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_tls::{HandshakeError, TargetSide};

use crate::{Folder, run};

/// A certificate with its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The certificate as it is sent.
    pub der: Vec<u8>,
}

impl Pair {
    /// A new one for these host names.
    ///
    /// # Panics
    /// When a name is not one.
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("the names are host names");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a key can sign");
        Self { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }

    /// Writes both files, `NAME.pem` and `NAME.key`.
    pub fn write(&self, folder: &Folder, name: &str) {
        folder.write(&format!("{name}.pem"), &self.certificate);
        folder.write(&format!("{name}.key"), &self.key);
    }
}

/// A client that takes whoever answers, and remembers sessions.
#[derive(Debug, Default)]
pub struct TlsClient(TargetSide);

/// How a listener answered a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// The certificate that it showed.
    pub shown: Vec<u8>,
    /// Whether it went on with an earlier session.
    pub is_resumed: bool,
}

/// A connection.
///
/// # Panics
/// When nobody listens.
pub async fn dialled(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap_or_else(|error| panic!("connecting to {addr}: {error}"))
}

impl TlsClient {
    /// Shakes hands with a listener, asking for `name`, asks for a path, and hears it to the end.
    ///
    /// # Errors
    /// Why the handshake failed.
    ///
    /// # Panics
    /// When there is no listener.
    pub fn shake_hands(&self, addr: SocketAddr, name: &str) -> Result<Shaken, HandshakeError> {
        run(async {
            let (mut stream, _) = self.0.connect(dialled(addr).await, Some(name), &[]).await?;
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            // Sessions come with what follows the handshake, whatever that is.
            let _ = stream.write_all(request.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let connection = stream.get_ref().1;
            let shown = connection.peer_certificates().and_then(|chain| chain.first());
            Ok(Shaken {
                shown: shown.map(|certificate| certificate.to_vec()).unwrap_or_default(),
                is_resumed: format!("{:?}", connection.handshake_kind()).contains("Resumed"),
            })
        })
    }
}

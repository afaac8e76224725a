//! The line of one connection in the connection log.
//!
//! Source: Application Load Balancer, "Connection log entries".

use std::fmt::{self, Display};
use std::time::Duration;

use serde_json::json;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::logs::LogFormat;
use weir_tls::{ClientCertificate, Handshake, HandshakeError};

use super::line::{Quoted, seconds, write_fields};
use super::{Observer, wall_time};

/// What a connection is called in both logs: unlike any other's, but for chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionId(pub u64);

impl Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TID_{:016x}", self.0)
    }
}

/// A connection of a client, and how its handshake went.
#[derive(Debug)]
pub struct Connected<'a> {
    /// What it is called.
    pub id: ConnectionId,
    /// Its other end.
    pub client: ClientAddr,
    /// Its listener.
    pub listener: ListenAddr,
    /// `None` where the listener does not speak TLS.
    pub handshake: Option<Result<&'a Handshake, &'a HandshakeError>>,
    /// How long the handshake took.
    pub latency: Duration,
}

impl Observer {
    /// A client has connected; its line is written where there is a log for it.
    pub fn connected(&self, connected: &Connected<'_>) {
        if let Some((log, format)) = &self.connections {
            log.line(|line| match format {
                LogFormat::Elb => connected.append(line),
                LogFormat::Json => connected.append_json(self, line),
            });
        }
    }
}

impl Connected<'_> {
    fn settled(&self) -> Option<&Handshake> {
        self.handshake.and_then(Result::ok)
    }

    /// Serial number, subject and validity of a certificate that the client has shown and that was verified.
    fn certificate(&self) -> Option<[&str; 3]> {
        match self.settled()?.client_certificate.as_deref()? {
            ClientCertificate::Passthrough { .. } => None,
            ClientCertificate::Verified { serial_number, subject, validity, .. } => {
                Some([serial_number, subject, validity])
            }
        }
    }

    fn verify_status(&self) -> Option<&'static str> {
        Some(match self.handshake? {
            Ok(_) => "Success",
            Err(error) => error.verify_status(),
        })
    }

    /// The 13 fields of AWS's line.
    fn append(&self, line: &mut Vec<u8>) {
        let settled = self.settled();
        let [serial, subject, validity] = self.certificate().unwrap_or(["-"; 3]);
        let latency = self.handshake.map_or("-".to_owned(), |_| seconds(Some(self.latency), 3));
        let fields: [&dyn Display; 13] = [
            &humantime::format_rfc3339_micros(wall_time()),
            &self.client.ip(),
            &self.client.port(),
            &self.listener.port(),
            &settled.map_or("-", |handshake| handshake.version.as_str()),
            &settled.map_or("-", |handshake| handshake.suite),
            &latency,
            &Quoted(subject),
            &validity,
            &serial,
            &self.verify_status().unwrap_or("-"),
            &self.id,
            &settled.and_then(|handshake| handshake.key_exchange).unwrap_or("-"),
        ];
        write_fields(line, &fields);
    }

    /// One JSON object with the same facts, and why a handshake failed.
    fn append_json(&self, observer: &Observer, line: &mut Vec<u8>) {
        let settled = self.settled();
        let certificate = self.certificate();
        let object = json!({
            "time": humantime::format_rfc3339_micros(wall_time()).to_string(),
            "load_balancer": observer.load_balancer,
            "client": self.client.0.to_string(),
            "listener": self.listener.to_string(),
            "connection_trace_id": self.id.to_string(),
            "tls_version": settled.map(|handshake| handshake.version.as_str()),
            "tls_cipher": settled.map(|handshake| handshake.suite),
            "tls_key_exchange": settled.and_then(|handshake| handshake.key_exchange),
            "tls_resumed": settled.map(|handshake| handshake.is_resumed),
            "server_name": settled.and_then(|handshake| handshake.server_name.as_deref()),
            "tls_handshake_seconds": self.handshake.map(|_| self.latency.as_secs_f64()),
            "tls_verify_status": self.verify_status(),
            "error_reason": self.handshake.and_then(Result::err).map(HandshakeError::reason),
            "client_certificate_serial_number": certificate.map(|[serial, ..]| serial),
            "client_certificate_subject": certificate.map(|[_, subject, _]| subject),
            "client_certificate_validity": certificate.map(|[.., validity]| validity),
        });
        serde_json::to_writer(line, &object).expect("writing to memory succeeds");
    }
}

//! Why a handshake failed.

use std::io;

use rustls::{CertificateError, Error, OtherError, PeerIncompatible};

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client's certificate has ended.
    #[error("the client's certificate has expired")]
    ClientCertificateExpired,
    /// The client's certificate, or one that leads from it to an authority, cannot be used.
    #[error("the client's certificate cannot be used")]
    ClientCertificateInvalid(#[source] Error),
    /// A client that must show a certificate shows none.
    #[error("the client shows no certificate")]
    ClientCertificateMissing,
    /// The client's certificate does not count yet.
    #[error("the client's certificate is not valid yet")]
    ClientCertificateNotYetValid,
    /// The client's certificate is not for clients.
    #[error("the client's certificate is not for clients")]
    ClientCertificatePurpose,
    /// A revocation list names the client's certificate, or one that leads from it to an authority.
    #[error("the client's certificate has been revoked")]
    ClientCertificateRevoked,
    /// Too many certificates lead from the client's to an authority.
    #[error("the client's certificate is too far from an authority")]
    ClientCertificateTooDeep,
    /// No authority of the trust store vouches for the client's certificate.
    #[error("no authority of the trust store vouches for the client's certificate")]
    ClientCertificateUntrusted,
    /// The other side closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// It took longer than [`HANDSHAKE_DEADLINE`](crate::HANDSHAKE_DEADLINE).
    #[error("the handshake took longer than {} s", crate::HANDSHAKE_DEADLINE.as_secs())]
    Deadline,
    /// The client's first message is larger than any client needs.
    #[error("the client's first message has more than {} bytes", crate::server_side::CLIENT_HELLO_BYTES_MAX)]
    HelloTooLarge,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The two have no group in common.
    #[error("no group for the exchange of keys is common to both sides")]
    NoSharedGroup,
    /// The two have no application protocol in common.
    #[error("no application protocol is common to both sides")]
    NoSharedProtocol,
    /// The two have no cipher suite, or no kind of signature, in common.
    #[error("no cipher suite is common to both sides")]
    NoSharedSuite,
    /// The two have no version in common.
    #[error("no version of TLS is common to both sides")]
    NoSharedVersion,
    /// What came is not TLS.
    #[error("what came is not TLS")]
    NotTls(#[source] Error),
    /// The other side refused; the alert says why.
    #[error("the other side refused")]
    Refused(#[source] Error),
    /// What came breaks the rules of TLS.
    #[error("what came breaks the rules of TLS")]
    Violation(#[source] Error),
}

/// Why weir itself refuses a client's certificate that rustls would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more certificates than are allowed lead to an authority")]
pub(crate) struct TooDeep;

impl HandshakeError {
    /// The number of the alert by which the other side refused, if it did. Source: RFC 8446 section 6.
    pub fn alert(&self) -> Option<u8> {
        match self {
            Self::Refused(Error::AlertReceived(alert)) => Some((*alert).into()),
            _ => None,
        }
    }

    /// A word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClientCertificateExpired => "client_certificate_expired",
            Self::ClientCertificateInvalid(_) => "client_certificate_invalid",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateNotYetValid => "client_certificate_not_yet_valid",
            Self::ClientCertificatePurpose => "client_certificate_purpose",
            Self::ClientCertificateRevoked => "client_certificate_revoked",
            Self::ClientCertificateTooDeep => "client_certificate_too_deep",
            Self::ClientCertificateUntrusted => "client_certificate_untrusted",
            Self::Closed => "closed",
            Self::Deadline => "deadline",
            Self::HelloTooLarge => "hello_too_large",
            Self::Io(_) => "io",
            Self::NoSharedGroup => "no_shared_group",
            Self::NoSharedProtocol => "no_shared_protocol",
            Self::NoSharedSuite => "no_shared_suite",
            Self::NoSharedVersion => "no_shared_version",
            Self::NotTls(_) => "not_tls",
            Self::Refused(_) => "refused",
            Self::Violation(_) => "violation",
        }
    }

    /// What AWS's connection logs say of it in `tls_verify_status`.
    pub fn verify_status(&self) -> &'static str {
        match self {
            Self::ClientCertificateExpired => "Failed:ClientCertExpired",
            Self::ClientCertificateInvalid(_) => "Failed:ClientCertInvalid",
            Self::ClientCertificateMissing => "Failed:ClientCertRejected",
            Self::ClientCertificateNotYetValid => "Failed:ClientCertNotYetValid",
            Self::ClientCertificatePurpose => "Failed:ClientCertPurposeInvalid",
            Self::ClientCertificateRevoked => "Failed:ClientCertCrlHit",
            Self::ClientCertificateTooDeep => "Failed:ClientCertMaxChainDepthExceeded",
            Self::ClientCertificateUntrusted => "Failed:ClientCertUntrusted",
            Self::Closed
            | Self::Deadline
            | Self::HelloTooLarge
            | Self::Io(_)
            | Self::NoSharedGroup
            | Self::NoSharedProtocol
            | Self::NoSharedSuite
            | Self::NoSharedVersion
            | Self::NotTls(_)
            | Self::Refused(_)
            | Self::Violation(_) => "Failed:UnmappedConnectionError",
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match (error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()), error.kind()) {
            (Some(inner), _) => inner.clone().into(),
            (None, BrokenPipe | ConnectionReset | UnexpectedEof) => Self::Closed,
            (None, _) => Self::Io(error),
        }
    }
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(_) => Self::Refused(error),
            Error::InvalidCertificate(ref problem) => match certificate(problem) {
                Some(known) => known,
                None => Self::ClientCertificateInvalid(error),
            },
            Error::InvalidCertRevocationList(_) => Self::ClientCertificateInvalid(error),
            Error::InvalidMessage(_) => Self::NotTls(error),
            Error::NoApplicationProtocol => Self::NoSharedProtocol,
            Error::NoCertificatesPresented => Self::ClientCertificateMissing,
            Error::PeerIncompatible(ref problem) => match problem {
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoSignatureSchemesInCommon => {
                    Self::NoSharedSuite
                }
                PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
                    Self::NoSharedGroup
                }
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::NoSharedVersion,
                _ => Self::Violation(error),
            },
            _ => Self::Violation(error),
        }
    }
}

fn certificate(problem: &CertificateError) -> Option<HandshakeError> {
    Some(match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeError::ClientCertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeError::ClientCertificateNotYetValid
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            HandshakeError::ClientCertificatePurpose
        }
        CertificateError::Revoked => HandshakeError::ClientCertificateRevoked,
        CertificateError::UnknownIssuer => HandshakeError::ClientCertificateUntrusted,
        CertificateError::Other(OtherError(inner)) if inner.is::<TooDeep>() => {
            HandshakeError::ClientCertificateTooDeep
        }
        _ => return None,
    })
}

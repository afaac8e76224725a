//! What a target is told of a client's certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;

use crate::certificate;

/// Characters of base64 in a line of PEM: RFC 7468.
const LINE_CHARS: usize = 64;

/// What a client showed, as the headers toward the target say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Nobody has checked it.
    Passthrough {
        /// PEM of all that the client sent, its own certificate first, URL-encoded.
        chain: String,
    },
    /// The trust store vouches for it.
    Verified {
        /// Hexadecimal.
        serial_number: String,
        /// As RFC 2253 writes it.
        issuer: String,
        /// As RFC 2253 writes it.
        subject: String,
        /// `NotBefore=…;NotAfter=…`.
        validity: String,
        /// PEM of its own certificate, URL-encoded.
        leaf: String,
    },
}

impl ClientCertificate {
    /// What is passed on of an unchecked chain.
    pub(crate) fn passthrough(chain: &[CertificateDer<'_>]) -> Self {
        Self::Passthrough { chain: chain.iter().map(encoded_pem).collect() }
    }

    /// What is passed on of a verified certificate; `None` when it cannot be read.
    pub(crate) fn verified(leaf: &CertificateDer<'_>) -> Option<Self> {
        let facts = certificate::read(leaf)?;
        let validity = format!("NotBefore={};NotAfter={}", facts.not_before.written, facts.not_after.written);
        Some(Self::Verified {
            serial_number: facts.serial_number,
            issuer: facts.issuer,
            subject: facts.subject,
            validity,
            leaf: encoded_pem(leaf),
        })
    }

    /// The headers that targets get, by AWS's names and with AWS's values.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Passthrough { chain } => vec![("X-Amzn-Mtls-Clientcert", chain)],
            Self::Verified { serial_number, issuer, subject, validity, leaf } => vec![
                ("X-Amzn-Mtls-Clientcert-Serial-Number", serial_number),
                ("X-Amzn-Mtls-Clientcert-Issuer", issuer),
                ("X-Amzn-Mtls-Clientcert-Subject", subject),
                ("X-Amzn-Mtls-Clientcert-Validity", validity),
                ("X-Amzn-Mtls-Clientcert-Leaf", leaf),
            ],
        }
    }
}

/// A certificate in PEM, URL-encoded but for `+`, `=` and `/`.
fn encoded_pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = STANDARD.encode(certificate);
    let mut text = String::with_capacity(base64.len() + base64.len() / 16 + 80);
    text.push_str("-----BEGIN%20CERTIFICATE-----%0A");
    for (at, c) in base64.chars().enumerate() {
        if at > 0 && at % LINE_CHARS == 0 {
            text.push_str("%0A");
        }
        // Of base64 nothing needs to be encoded: letters, digits and the three.
        text.push(c);
    }
    text.push_str("%0A-----END%20CERTIFICATE-----%0A");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A9.18
    #[test]
    fn pem_is_url_encoded_but_for_three_characters() {
        let der = CertificateDer::from(vec![0xfb; 50]);
        let expected = "-----BEGIN%20CERTIFICATE-----%0A\
            +/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7%0A\
            +/s=%0A\
            -----END%20CERTIFICATE-----%0A";
        assert_eq!(encoded_pem(&der), expected);
        let twice = ClientCertificate::passthrough(&[der.clone(), der]);
        assert_eq!(twice.headers(), [("X-Amzn-Mtls-Clientcert", format!("{expected}{expected}").as_str())]);
    }

    #[test]
    fn a_certificate_of_full_lines_has_no_empty_one() {
        let text = encoded_pem(&CertificateDer::from(vec![0; 48]));
        assert_eq!(text.matches("%0A").count(), 3);
    }
}

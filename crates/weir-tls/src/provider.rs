//! From a security policy to what rustls is given.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};
use weir_core::ssl_policy::{KeyExchange, SslPolicy, Suite, TlsVersion};

/// The cryptography of `policy`: its suites and groups in its order.
pub(crate) fn provider(policy: SslPolicy) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: policy.suites().into_iter().map(suite).collect(),
        kx_groups: policy.key_exchanges().iter().map(|group| key_exchange(*group)).collect(),
        ..default_provider()
    })
}

/// The versions of `policy` that are spoken.
pub(crate) fn versions(policy: SslPolicy) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    all.into_iter().filter(|(version, _)| policy.allows(*version)).map(|(_, version)| version).collect()
}

/// What a suite that was negotiated is called.
pub(crate) fn suite_of(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        // Targets are offered these, too; policies of listeners are not.
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Suite::Aes128GcmSha256.as_str(),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Suite::Aes256GcmSha384.as_str(),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Suite::Chacha20Poly1305Sha256.as_str(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => Suite::EcdheEcdsaAes128GcmSha256.as_str(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => Suite::EcdheEcdsaAes256GcmSha384.as_str(),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Suite::EcdheRsaAes128GcmSha256.as_str(),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Suite::EcdheRsaAes256GcmSha384.as_str(),
        _ => "-",
    }
}

/// What a version that was negotiated is called here.
pub(crate) fn version_of(version: ProtocolVersion) -> TlsVersion {
    match version {
        ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
        // rustls speaks these two only.
        _ => TlsVersion::V1_2,
    }
}

fn suite(suite: Suite) -> SupportedCipherSuite {
    match suite {
        Suite::Aes128GcmSha256 => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256GcmSha384 => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::Chacha20Poly1305Sha256 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        Suite::EcdheEcdsaAes128GcmSha256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdheEcdsaAes256GcmSha384 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::EcdheRsaAes128GcmSha256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdheRsaAes256GcmSha384 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    }
}

fn key_exchange(group: KeyExchange) -> &'static dyn SupportedKxGroup {
    match group {
        KeyExchange::Secp256r1 => kx_group::SECP256R1,
        KeyExchange::Secp256r1MlKem768 => kx_group::SECP256R1MLKEM768,
        KeyExchange::Secp384r1 => kx_group::SECP384R1,
        KeyExchange::X25519 => kx_group::X25519,
        KeyExchange::X25519MlKem768 => kx_group::X25519MLKEM768,
    }
}

//! Security policies: which protocol versions, suites and groups a listener offers, by the names that AWS gives them.
//!
//! The rows are those of [AWS's tables](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html).
//! weir speaks TLS 1.2 and 1.3, with ephemeral keys and authenticated encryption only; a policy says what it allows
//! beyond that, so that the operator hears of it.

use std::fmt;

use Ask::{Aes256Only, EcdheCbcSha1, EcdheCbcSha2, RsaCbcSha1, RsaCbcSha2, RsaGcm, TripleDes};
use TlsVersion::{V1_0, V1_1, V1_2, V1_3};

/// What every name of a policy begins with.
const PREFIX: &str = "ELBSecurityPolicy-";

/// A version of TLS. The oldest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0, which weir does not speak.
    V1_0,
    /// TLS 1.1, which weir does not speak.
    V1_1,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    /// As OpenSSL and AWS's logs write it: `TLSv1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "TLSv1",
            Self::V1_1 => "TLSv1.1",
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }

    /// Whether weir speaks it.
    pub fn is_spoken(self) -> bool {
        self >= Self::V1_2
    }
}

/// A cipher suite that weir speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// TLS 1.3.
    Aes128GcmSha256,
    /// TLS 1.3.
    Aes256GcmSha384,
    /// TLS 1.3.
    Chacha20Poly1305Sha256,
    /// TLS 1.2.
    EcdheEcdsaAes128GcmSha256,
    /// TLS 1.2.
    EcdheEcdsaAes256GcmSha384,
    /// TLS 1.2.
    EcdheRsaAes128GcmSha256,
    /// TLS 1.2.
    EcdheRsaAes256GcmSha384,
}

impl Suite {
    /// As OpenSSL and AWS's logs write it: `ECDHE-RSA-AES128-GCM-SHA256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Self::Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Self::Chacha20Poly1305Sha256 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdheEcdsaAes128GcmSha256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::EcdheEcdsaAes256GcmSha384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::EcdheRsaAes128GcmSha256 => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::EcdheRsaAes256GcmSha384 => "ECDHE-RSA-AES256-GCM-SHA384",
        }
    }
}

/// A group in which keys are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// NIST P-256.
    Secp256r1,
    /// NIST P-256 with ML-KEM-768: post-quantum.
    Secp256r1MlKem768,
    /// NIST P-384.
    Secp384r1,
    /// Curve25519.
    X25519,
    /// Curve25519 with ML-KEM-768: post-quantum.
    X25519MlKem768,
}

/// What a policy asks for beyond ECDHE with AES-GCM, or less than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    EcdheCbcSha1,
    EcdheCbcSha2,
    RsaCbcSha1,
    RsaCbcSha2,
    RsaGcm,
    TripleDes,
    /// RFC 9151: neither AES-128 nor any curve but P-384.
    Aes256Only,
}

impl Ask {
    /// The suites that weir lacks, as OpenSSL names them.
    fn missing(self) -> &'static [&'static str] {
        match self {
            EcdheCbcSha1 => &[
                "ECDHE-ECDSA-AES128-SHA",
                "ECDHE-RSA-AES128-SHA",
                "ECDHE-ECDSA-AES256-SHA",
                "ECDHE-RSA-AES256-SHA",
            ],
            EcdheCbcSha2 => &[
                "ECDHE-ECDSA-AES128-SHA256",
                "ECDHE-RSA-AES128-SHA256",
                "ECDHE-ECDSA-AES256-SHA384",
                "ECDHE-RSA-AES256-SHA384",
            ],
            RsaCbcSha1 => &["AES128-SHA", "AES256-SHA"],
            RsaCbcSha2 => &["AES128-SHA256", "AES256-SHA256"],
            RsaGcm => &["AES128-GCM-SHA256", "AES256-GCM-SHA384"],
            TripleDes => &["DES-CBC3-SHA"],
            Aes256Only => &[],
        }
    }
}

const RES: &[Ask] = &[];
const PLAIN: &[Ask] = &[EcdheCbcSha2];
const EXT0: &[Ask] = &[EcdheCbcSha2, EcdheCbcSha1];
const EXT1: &[Ask] = &[EcdheCbcSha2, RsaGcm, RsaCbcSha2];
const ALL: &[Ask] = &[EcdheCbcSha2, EcdheCbcSha1, RsaGcm, RsaCbcSha2, RsaCbcSha1];
const ALL_3DES: &[Ask] = &[EcdheCbcSha2, EcdheCbcSha1, RsaGcm, RsaCbcSha2, RsaCbcSha1, TripleDes];
const CNSA: &[Ask] = &[Aes256Only];

/// Name without its prefix, oldest and newest version, suites.
type Row = (&'static str, TlsVersion, TlsVersion, &'static [Ask]);

const ROWS: &[Row] = &[
    ("TLS13-1-2-Res-PQ-2025-09", V1_2, V1_3, RES),
    ("TLS13-1-3-2021-06", V1_3, V1_3, RES),
    ("TLS13-1-2-2021-06", V1_2, V1_3, PLAIN),
    ("TLS13-1-2-Res-2021-06", V1_2, V1_3, RES),
    ("TLS13-1-2-Ext1-2021-06", V1_2, V1_3, EXT1),
    ("TLS13-1-2-Ext2-2021-06", V1_2, V1_3, ALL),
    ("TLS13-1-1-2021-06", V1_1, V1_3, ALL),
    ("TLS13-1-0-2021-06", V1_0, V1_3, ALL),
    ("TLS13-1-3-PQ-2025-09", V1_3, V1_3, RES),
    ("TLS13-1-2-PQ-2025-09", V1_2, V1_3, PLAIN),
    ("TLS13-1-2-Ext1-PQ-2025-09", V1_2, V1_3, EXT1),
    ("TLS13-1-2-Ext2-PQ-2025-09", V1_2, V1_3, ALL),
    ("TLS13-1-0-PQ-2025-09", V1_0, V1_3, ALL),
    ("TLS13-1-3-FIPS-2023-04", V1_3, V1_3, RES),
    ("TLS13-1-2-FIPS-2023-04", V1_2, V1_3, PLAIN),
    ("TLS13-1-2-Res-FIPS-2023-04", V1_2, V1_3, RES),
    ("TLS13-1-2-Ext0-FIPS-2023-04", V1_2, V1_3, EXT0),
    ("TLS13-1-2-Ext1-FIPS-2023-04", V1_2, V1_3, EXT1),
    ("TLS13-1-2-Ext2-FIPS-2023-04", V1_2, V1_3, ALL),
    ("TLS13-1-1-FIPS-2023-04", V1_1, V1_3, ALL),
    ("TLS13-1-0-FIPS-2023-04", V1_0, V1_3, ALL),
    ("TLS13-1-3-FIPS-PQ-2025-09", V1_3, V1_3, RES),
    ("TLS13-1-2-FIPS-PQ-2025-09", V1_2, V1_3, PLAIN),
    ("TLS13-1-2-Res-FIPS-PQ-2025-09", V1_2, V1_3, RES),
    ("TLS13-1-2-Ext0-FIPS-PQ-2025-09", V1_2, V1_3, EXT0),
    ("TLS13-1-2-Ext1-FIPS-PQ-2025-09", V1_2, V1_3, EXT1),
    ("TLS13-1-2-Ext2-FIPS-PQ-2025-09", V1_2, V1_3, ALL),
    ("TLS13-1-0-FIPS-PQ-2025-09", V1_0, V1_3, ALL),
    ("TLS13-1-3-RFC9151-FIPS-2023-07", V1_3, V1_3, CNSA),
    ("TLS13-1-2-RFC9151-FIPS-2023-07", V1_2, V1_3, CNSA),
    ("2016-08", V1_0, V1_2, ALL),
    ("2015-05", V1_0, V1_2, ALL),
    ("TLS-1-0-2015-04", V1_0, V1_2, ALL_3DES),
    ("TLS-1-1-2017-01", V1_1, V1_2, ALL),
    ("TLS-1-2-2017-01", V1_2, V1_2, EXT1),
    ("TLS-1-2-Ext-2018-06", V1_2, V1_2, ALL),
    ("FS-2018-06", V1_0, V1_2, EXT0),
    ("FS-1-1-2019-08", V1_1, V1_2, EXT0),
    ("FS-1-2-2019-08", V1_2, V1_2, EXT0),
    ("FS-1-2-Res-2019-08", V1_2, V1_2, PLAIN),
    ("FS-1-2-Res-2020-10", V1_2, V1_2, RES),
];

/// A security policy. Every one allows TLS 1.2 or 1.3, with suites that weir speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SslPolicy(&'static Row);

impl SslPolicy {
    /// Every policy; the default comes first.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(Self)
    }

    /// The policy of this name, with or without `ELBSecurityPolicy-`.
    pub fn named(name: &str) -> Option<Self> {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        Self::all().find(|policy| policy.short_name() == short)
    }

    /// The name without `ELBSecurityPolicy-`.
    pub fn short_name(self) -> &'static str {
        self.0.0
    }

    /// The name in full.
    pub fn name(self) -> String {
        format!("{PREFIX}{}", self.short_name())
    }

    /// Whether it allows `version`.
    pub fn allows(self, version: TlsVersion) -> bool {
        (self.0.1..=self.0.2).contains(&version)
    }

    /// The suites that weir offers, the preferred first.
    pub fn suites(self) -> Vec<Suite> {
        const ORDER: [(TlsVersion, Suite); 7] = [
            (V1_3, Suite::Aes128GcmSha256),
            (V1_3, Suite::Aes256GcmSha384),
            (V1_3, Suite::Chacha20Poly1305Sha256),
            (V1_2, Suite::EcdheEcdsaAes128GcmSha256),
            (V1_2, Suite::EcdheRsaAes128GcmSha256),
            (V1_2, Suite::EcdheEcdsaAes256GcmSha384),
            (V1_2, Suite::EcdheRsaAes256GcmSha384),
        ];
        let is_offered = |version, suite: Suite| {
            let is_strong_enough = !self.is_aes256_only()
                || suite.as_str().contains("256_GCM_")
                || suite.as_str().contains("AES256-GCM");
            let is_approved = !self.is_fips() || suite != Suite::Chacha20Poly1305Sha256;
            self.allows(version) && is_strong_enough && is_approved
        };
        let offered = ORDER.into_iter().filter(|(version, suite)| is_offered(*version, *suite));
        offered.map(|(_, suite)| suite).collect()
    }

    /// The groups that weir offers, the preferred first.
    pub fn key_exchanges(self) -> &'static [KeyExchange] {
        use KeyExchange::{Secp256r1, Secp256r1MlKem768, Secp384r1, X25519, X25519MlKem768};
        match (self.is_aes256_only(), self.is_post_quantum(), self.is_fips()) {
            (true, ..) => &[Secp384r1],
            (_, true, true) => &[X25519MlKem768, Secp256r1MlKem768, Secp256r1, Secp384r1],
            (_, true, false) => &[X25519MlKem768, Secp256r1MlKem768, X25519, Secp256r1, Secp384r1],
            (_, false, true) => &[Secp256r1, Secp384r1],
            (_, false, false) => &[X25519, Secp256r1, Secp384r1],
        }
    }

    /// Versions that it allows and weir refuses.
    pub fn missing_versions(self) -> Vec<TlsVersion> {
        [V1_0, V1_1].into_iter().filter(|version| self.allows(*version)).collect()
    }

    /// Suites that it allows and weir lacks, as OpenSSL names them.
    pub fn missing_suites(self) -> Vec<&'static str> {
        self.0.3.iter().flat_map(|ask| ask.missing()).copied().collect()
    }

    /// Whether it asks for a cryptographic module that is validated by FIPS 140, which weir's is not.
    pub fn is_fips(self) -> bool {
        self.short_name().contains("-FIPS-")
    }

    /// Whether it offers post-quantum key exchange.
    pub fn is_post_quantum(self) -> bool {
        self.short_name().contains("-PQ-")
    }

    fn is_aes256_only(self) -> bool {
        self.0.3.contains(&Aes256Only)
    }
}

impl Default for SslPolicy {
    /// That of AWS's console: `ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09`.
    fn default() -> Self {
        Self(&ROWS[0])
    }
}

impl fmt::Debug for SslPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A9.4, A9.12
    #[test]
    fn the_default_is_that_of_aws_s_console() {
        let policy = SslPolicy::default();
        assert_eq!(policy.name(), "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09");
        assert!(policy.missing_suites().is_empty() && policy.missing_versions().is_empty());
        assert_eq!(policy.key_exchanges()[0], KeyExchange::X25519MlKem768);
    }

    #[test]
    fn every_policy_leaves_something_to_speak_and_names_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for policy in SslPolicy::all() {
            assert!(seen.insert(policy.name()), "{policy:?} twice");
            assert!(!policy.suites().is_empty(), "{policy:?}");
            assert!(policy.allows(V1_2) || policy.allows(V1_3), "{policy:?}");
            assert_eq!(SslPolicy::named(&policy.name()), Some(policy));
        }
    }

    // Conformance: A9.8, A9.10, A9.11, A9.14
    #[test]
    fn a_policy_says_what_it_allows_and_weir_lacks() {
        let policy = SslPolicy::named("ELBSecurityPolicy-2016-08").unwrap();
        assert_eq!(policy.missing_versions(), [V1_0, V1_1]);
        assert!(policy.missing_suites().contains(&"AES128-SHA"));
        assert!(!policy.allows(V1_3) && !policy.is_post_quantum());
        let names: Vec<&str> = policy.suites().into_iter().map(Suite::as_str).collect();
        let expected = [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ];
        assert_eq!(names, expected);
    }

    // Conformance: A9.12
    #[test]
    fn rfc_9151_leaves_aes_256_and_p_384() {
        let policy = SslPolicy::named("TLS13-1-2-RFC9151-FIPS-2023-07").unwrap();
        let names: Vec<&str> = policy.suites().into_iter().map(Suite::as_str).collect();
        let expected =
            ["TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"];
        assert_eq!(names, expected);
        assert_eq!(policy.key_exchanges(), [KeyExchange::Secp384r1]);
    }

    // Conformance: A9.6, A9.7, A9.9
    #[test]
    fn the_name_of_a_policy_says_its_versions() {
        for (name, oldest, newest) in [
            ("TLS13-1-3-2021-06", V1_3, V1_3),
            ("TLS13-1-2-2021-06", V1_2, V1_3),
            ("TLS13-1-2-Res-2021-06", V1_2, V1_3),
            ("TLS13-1-2-Ext1-2021-06", V1_2, V1_3),
            ("TLS13-1-2-Ext2-2021-06", V1_2, V1_3),
            ("TLS13-1-2-PQ-2025-09", V1_2, V1_3),
            ("TLS-1-2-2017-01", V1_2, V1_2),
            ("TLS-1-2-Ext-2018-06", V1_2, V1_2),
            ("FS-1-2-2019-08", V1_2, V1_2),
            ("FS-1-2-Res-2019-08", V1_2, V1_2),
            ("FS-1-2-Res-2020-10", V1_2, V1_2),
        ] {
            let policy = SslPolicy::named(name).unwrap();
            for version in [V1_0, V1_1, V1_2, V1_3] {
                let is_named = (oldest..=newest).contains(&version);
                assert_eq!(policy.allows(version), is_named, "{name} {version:?}");
            }
        }
    }

    // Conformance: A9.13, A9.15
    #[test]
    fn the_strictest_suites_are_ephemeral_and_authenticated() {
        let policy = SslPolicy::named("TLS13-1-2-Res-2021-06").unwrap();
        let names: Vec<&str> = policy.suites().into_iter().map(Suite::as_str).collect();
        let expected = [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
        ];
        assert_eq!(names, expected);
        assert!(policy.missing_suites().is_empty());
    }
}

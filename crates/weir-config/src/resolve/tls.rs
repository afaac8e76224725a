//! What listeners speak TLS with, and the secrets for it.

use std::sync::Arc;

use weir_core::ssl_policy::{SslPolicy, TlsVersion};
use weir_core::tls::{
    CERTIFICATES_MAX, CertificateFiles, MutualAuthentication, NamedFile, REVOCATION_LISTS_MAX, Tls,
    TrustStore,
};

use crate::keys;
use crate::read::{Fields, Reader, items, nearest};
use crate::tree::Node;

/// Keys of a listener that mean something with TLS only.
const TLS_KEYS: [&str; 4] = ["alpn_policy", "certificates", "mutual_authentication", "ssl_policy"];

/// Modes of mutual authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Passthrough,
    Verify,
}

/// What a listener of `protocol` speaks TLS with, if that is `secured`; `protocol` is `None` when it is not known what it
/// speaks.
pub(super) fn read(
    fields: Fields<'_>,
    protocol: Option<&str>,
    secured: &str,
    reader: &mut Reader<'_>,
) -> Option<Arc<Tls>> {
    if protocol.is_some_and(|protocol| protocol != secured) {
        for name in TLS_KEYS {
            if let Some(node) = fields.get(name) {
                let cause = format!("`{name}` goes with `protocol: {secured}`");
                let remedy = format!("write `protocol: {secured}`, or take it out");
                reader.problem(node, &cause, Some(&remedy));
            }
        }
        return None;
    }
    let certificates = match protocol {
        Some(_) => fields.require(reader, "certificates", "[{ certificate: edge.pem, key: edge.key }]"),
        None => fields.get("certificates"),
    };
    let certificates = certificates.map(|node| read_certificates(node, reader)).unwrap_or_default();
    let policy = fields.get("ssl_policy").map(|node| read_policy(node, reader));
    let mutual = fields.get("mutual_authentication").and_then(|node| read_mutual(node, reader));
    Some(Arc::new(Tls {
        certificates,
        policy: policy.flatten().unwrap_or_default(),
        mutual_authentication: mutual.unwrap_or_default(),
    }))
}

/// The files with secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) cookies: Option<NamedFile>,
    pub(super) tls_tickets: Option<NamedFile>,
}

/// The files with the secrets of cookies and of tickets.
pub(super) fn secrets(fields: Fields<'_>, reader: &mut Reader<'_>) -> Secrets {
    let fields = fields.get("secrets").and_then(|node| reader.fields(node, &keys::SECRETS));
    let Some(fields) = fields else { return Secrets::default() };
    let mut named = |name| fields.get(name).and_then(|node| file(node, reader));
    Secrets { cookies: named("cookies"), tls_tickets: named("tls_tickets") }
}

/// A file, from the folder of the configuration.
pub(super) fn file(node: &Node, reader: &mut Reader<'_>) -> Option<NamedFile> {
    let path = reader.text(node)?;
    Some(NamedFile::new(&reader.folder().join(path), node.position.line))
}

fn read_certificates(node: &Node, reader: &mut Reader<'_>) -> Vec<CertificateFiles> {
    let pairs = items(node);
    if pairs.is_empty() {
        let remedy = "write `[{ certificate: edge.pem, key: edge.key }]`; the first is the default";
        reader.problem(node, "a listener needs a certificate", Some(remedy));
    }
    if pairs.len() > CERTIFICATES_MAX {
        let cause = format!("a listener has at most {CERTIFICATES_MAX} certificates");
        reader.problem(node, &cause, Some("put several names into one certificate"));
    }
    let mut read = |node: &Node| {
        let fields = reader.fields(node, &keys::CERTIFICATE)?;
        let certificate = fields.require(reader, "certificate", "edge.pem");
        let certificate = certificate.and_then(|node| file(node, reader));
        let key = fields.require(reader, "key", "edge.key").and_then(|node| file(node, reader));
        Some(CertificateFiles { certificate: certificate?, key: key? })
    };
    pairs.iter().filter_map(&mut read).collect()
}

fn read_policy(node: &Node, reader: &mut Reader<'_>) -> Option<SslPolicy> {
    let text = reader.text(node)?;
    let Some(policy) = SslPolicy::named(text) else {
        let cause = format!("there is no security policy {text:?}");
        reader.problem(node, &cause, Some(&near_policies(text)));
        return None;
    };
    let versions: Vec<&str> = policy.missing_versions().into_iter().map(TlsVersion::as_str).collect();
    let suites = policy.missing_suites();
    let mut missing = Vec::new();
    if !versions.is_empty() {
        missing.push(format!("{}, which are refused", versions.join(" and ")));
    }
    if !suites.is_empty() {
        missing.push(format!("suites that weir lacks: {}", suites.join(", ")));
    }
    if !missing.is_empty() {
        let cause = format!("the policy allows {}", missing.join("; and "));
        let remedy = "clients that need them cannot connect; ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09 allows nothing that weir lacks";
        reader.warning(node, &cause, Some(remedy));
    }
    if policy.is_fips() {
        let cause = "weir's cryptography is not validated by FIPS 140; of the policy only versions, suites and groups are kept";
        reader.warning(node, cause, None);
    }
    Some(policy)
}

/// The policies whose names are most like `text`.
fn near_policies(text: &str) -> String {
    let mut names: Vec<String> = SslPolicy::all().map(SslPolicy::name).collect();
    let mut near = Vec::new();
    while near.len() < 3
        && let Some(name) = nearest(text, names.iter().map(String::as_str)).map(ToOwned::to_owned)
    {
        names.retain(|other| *other != name);
        near.push(format!("`{name}`"));
    }
    match near.as_slice() {
        [] => format!("write a name of AWS's, like `{}`", SslPolicy::default().name()),
        near => format!("did you mean {}?", near.join(", ")),
    }
}

fn read_mutual(node: &Node, reader: &mut Reader<'_>) -> Option<MutualAuthentication> {
    const MODES: [(&str, Mode); 3] =
        [("off", Mode::Off), ("passthrough", Mode::Passthrough), ("verify", Mode::Verify)];
    let fields = reader.fields(node, &keys::MUTUAL_AUTHENTICATION)?;
    let mode = fields.require(reader, "mode", "verify").and_then(|node| reader.choice(node, &MODES))?;
    if mode != Mode::Verify {
        for name in keys::MUTUAL_AUTHENTICATION.keys.iter().filter(|name| **name != "mode") {
            if let Some(node) = fields.get(name) {
                let cause = format!("`{name}` goes with `mode: verify`");
                reader.problem(node, &cause, Some("write `mode: verify`, or take it out"));
            }
        }
    }
    match mode {
        Mode::Off => Some(MutualAuthentication::Off),
        Mode::Passthrough => Some(MutualAuthentication::Passthrough),
        Mode::Verify => trust_store(fields, reader).map(MutualAuthentication::Verify),
    }
}

fn trust_store(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<TrustStore> {
    let authorities = fields.require(reader, "trust_store", "authorities.pem");
    let authorities = authorities.and_then(|node| file(node, reader));
    let lists = fields.get("revocation_lists");
    let revocation_lists: Vec<NamedFile> =
        lists.map_or(&[][..], items).iter().filter_map(|node| file(node, reader)).collect();
    if let Some(node) = lists.filter(|_| revocation_lists.len() > REVOCATION_LISTS_MAX) {
        let cause = format!("a trust store has at most {REVOCATION_LISTS_MAX} revocation lists");
        reader.problem(node, &cause, Some("put several lists into one file"));
    }
    let mut is_set = |name: &str| fields.get(name).and_then(|node| reader.boolean(node)).unwrap_or(false);
    let ignore_client_certificate_expiry = is_set("ignore_client_certificate_expiry");
    let advertise_trust_store_ca_names = is_set("advertise_trust_store_ca_names");
    Some(TrustStore {
        authorities: authorities?,
        revocation_lists,
        ignore_client_certificate_expiry,
        advertise_trust_store_ca_names,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::parse;

    /// A configuration whose one listener has these lines.
    fn listener(lines: &str) -> String {
        format!(
            "load_balancers:\n  - name: edge\n    type: application\n    listeners:\n      - bind: 127.0.0.1:8443\n        \
             default_action: {{ fixed_response: {{ status_code: 200 }} }}\n{lines}"
        )
    }

    fn mistake(lines: &str) -> String {
        parse(&listener(lines), Path::new("/etc/weir.yaml")).unwrap_err().to_string()
    }

    fn tls(lines: &str) -> (Tls, Vec<String>) {
        let loaded = parse(&listener(lines), Path::new("/etc/weir.yaml")).unwrap();
        let kind = &loaded.config.definitions.load_balancers[0].listeners[0].kind;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        (Tls::clone(kind.tls().unwrap()), warnings)
    }

    const HTTPS: &str =
        "        protocol: https\n        certificates: [{ certificate: a.pem, key: keys/a.key }]\n";

    #[test]
    fn files_are_found_from_the_configuration_s_folder_with_their_lines() {
        let (tls, warnings) = tls(HTTPS);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(tls.certificates[0].certificate.path, Path::new("/etc/a.pem"));
        assert_eq!(tls.certificates[0].key.path, Path::new("/etc/keys/a.key"));
        assert_eq!(tls.certificates[0].key.line, 8);
        assert_eq!(tls.policy, SslPolicy::default());
        assert_eq!(tls.mutual_authentication, MutualAuthentication::Off);
    }

    // Conformance: A9.25
    #[test]
    fn mutual_authentication_is_read_whole() {
        let (tls, _) = tls(&format!(
            "{HTTPS}        mutual_authentication: {{ mode: verify, trust_store: ca.pem, revocation_lists: [a.crl, b.crl], ignore_client_certificate_expiry: true }}\n"
        ));
        let MutualAuthentication::Verify(store) = tls.mutual_authentication else {
            panic!("verify was written")
        };
        assert_eq!(store.authorities.path, Path::new("/etc/ca.pem"));
        assert_eq!(store.revocation_lists.len(), 2);
        assert!(store.ignore_client_certificate_expiry && !store.advertise_trust_store_ca_names);
    }

    // Conformance: A9.11, A9.12
    #[test]
    fn a_policy_that_allows_more_than_weir_speaks_is_taken_with_a_warning() {
        let (tls, warnings) = tls(&format!("{HTTPS}        ssl_policy: ELBSecurityPolicy-2016-08\n"));
        assert_eq!(tls.policy.short_name(), "2016-08");
        assert!(warnings[0].contains("TLSv1 and TLSv1.1, which are refused"), "{warnings:?}");
        assert!(warnings[0].contains("AES128-SHA256"), "{warnings:?}");
        let (_, warnings) =
            self::tls(&format!("{HTTPS}        ssl_policy: ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04\n"));
        assert!(warnings[0].contains("FIPS 140"), "{warnings:?}");
    }

    // Conformance: A1.10, A1.16, A9.25
    #[test]
    fn mistakes_about_tls_are_told_where_they_stand() {
        for (lines, expected) in [
            ("        protocol: https\n", "`certificates` is missing"),
            ("        protocol: HTTPS\n", "did you mean `https`?"),
            ("        protocol: https\n        certificates: []\n", "a listener needs a certificate"),
            ("        protocol: https\n        certificates: { certificate: a.pem }\n", "`key` is missing"),
            (
                "        certificates: { certificate: a.pem, key: a.key }\n",
                "`certificates` goes with `protocol: https`",
            ),
            ("        ssl_policy: ELBSecurityPolicy-2016-08\n", "`ssl_policy` goes with `protocol: https`"),
            (
                &format!("{HTTPS}        ssl_policy: ELBSecurityPolicy-TLS13-1-2-2021-07\n"),
                "did you mean `ELBSecurityPolicy-TLS13-1-2-2021-06`",
            ),
            (&format!("{HTTPS}        ssl_policy: modern\n"), "write a name of AWS's"),
            (
                &format!("{HTTPS}        mutual_authentication: {{ mode: verify }}\n"),
                "`trust_store` is missing",
            ),
            (&format!("{HTTPS}        mutual_authentication: {{ trust_store: a }}\n"), "`mode` is missing"),
            (
                &format!("{HTTPS}        mutual_authentication: {{ mode: passthrough, trust_store: a }}\n"),
                "`trust_store` goes with `mode: verify`",
            ),
        ] {
            let told = mistake(lines);
            assert!(told.contains(expected) && told.contains("weir.yaml:"), "{lines}\n{told}");
        }
        let lists = (0..=REVOCATION_LISTS_MAX).map(|at| format!("{at}.crl")).collect::<Vec<_>>().join(", ");
        let told = mistake(&format!(
            "{HTTPS}        mutual_authentication: {{ mode: verify, trust_store: a, revocation_lists: [{lists}] }}\n"
        ));
        assert!(told.contains("at most 30 revocation lists"), "{told}");
        let pairs = vec!["{ certificate: a, key: b }"; CERTIFICATES_MAX + 1].join(", ");
        let told = mistake(&format!("        protocol: https\n        certificates: [{pairs}]\n"));
        assert!(told.contains("at most 26 certificates"), "{told}");
    }

    // Conformance: A1.17, A4.1.1, A4.1.3, A4.1.9
    #[test]
    fn targets_may_speak_https_and_any_version_of_http() {
        let text = |group: &str| format!("{}target_groups:\n  - {{ name: web, {group} }}\n", listener(""));
        let parsed = |group: &str| parse(&text(group), Path::new("weir.yaml"));
        let loaded = parsed("protocol: https, protocol_version: grpc").unwrap();
        let group = &loaded.config.definitions.target_groups[0];
        assert_eq!(group.protocol, weir_core::definition::TargetProtocol::Https);
        assert_eq!(group.protocol_version, weir_core::definition::ProtocolVersion::Grpc);
        let is_asked_over_tls =
            |group: &str| match parsed(group).unwrap().config.definitions.target_groups[0].health_check.probe
            {
                weir_core::health::Probe::Http { is_tls, .. } => is_tls,
                weir_core::health::Probe::Tcp | weir_core::health::Probe::Tls => panic!("{group} is HTTP"),
            };
        assert!(is_asked_over_tls("protocol: https"));
        assert!(!is_asked_over_tls("protocol: https, health_check: { protocol: http }"));
        assert!(is_asked_over_tls("health_check: { protocol: https }"));
        let probe = |group: &str| {
            parsed(group).unwrap().config.definitions.target_groups[0].health_check.probe.clone()
        };
        let weir_core::health::Probe::Http { path, matcher, .. } = probe("protocol_version: grpc") else {
            panic!("gRPC is HTTP")
        };
        assert_eq!(path, "/AWS.ALB/healthcheck");
        assert!(matcher.matches(12) && !matcher.matches(0) && !matcher.matches(200));
        let told = parsed("protocol_version: grpc, health_check: { matcher: 200 }").unwrap_err().to_string();
        assert!(told.contains("write it like `12`"), "{told}");
        let told = parsed("protocol: tcp, protocol_version: http2").unwrap_err().to_string();
        assert!(told.contains("have no version of HTTP"), "{told}");
    }

    #[test]
    fn secrets_are_files() {
        let text = format!("{}secrets: {{ cookies: cookies.key, tls_tickets: tickets.key }}\n", listener(""));
        let definitions = parse(&text, Path::new("/etc/weir.yaml")).unwrap().config.definitions;
        assert_eq!(definitions.tls_tickets.unwrap().path, Path::new("/etc/tickets.key"));
        assert_eq!(definitions.cookie_secrets.unwrap().path, Path::new("/etc/cookies.key"));
    }
}

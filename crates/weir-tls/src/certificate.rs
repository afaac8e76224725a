//! What a certificate says: names, dates, key.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;

use crate::der::{BIT_STRING, Der, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, UTC_TIME};
use crate::distinguished_name::{common_name, hex, written};

const SECONDS_OF_DAY: i64 = 86_400;

/// What weir asks of a certificate, whoever's it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Hexadecimal, in upper case, without a sign.
    pub(crate) serial_number: String,
    /// As RFC 2253 writes it.
    pub(crate) issuer: String,
    /// As RFC 2253 writes it.
    pub(crate) subject: String,
    /// When it begins to count.
    pub(crate) not_before: Moment,
    /// When it ends to count.
    pub(crate) not_after: Moment,
    /// Its key.
    pub(crate) key: Key,
    /// How strong the hash of its signature is, in bits; 0 is MD5.
    pub(crate) hash_bits: u16,
    /// The host names that it is for, in lower case; `*.` stands for one label.
    pub(crate) names: Vec<String>,
}

/// A point in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Seconds since 1970, negative before.
    pub(crate) unix_seconds: i64,
    /// `2023-09-21T01:50:17Z`.
    pub(crate) written: String,
}

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An elliptic curve, of so many bits.
    Ecdsa(usize),
    /// RSA, of so many bits.
    Rsa(usize),
    /// Something else, like Ed25519.
    Other,
}

/// A certificate that a listener shows to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The host names that it is for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// Hexadecimal, in upper case.
    pub serial_number: String,
    /// The first second in which it counts, since 1970.
    pub not_before: i64,
    /// The last second in which it counts, since 1970.
    pub not_after: i64,
    pub(crate) key: Key,
    pub(crate) hash_bits: u16,
}

impl ServerCertificate {
    pub(crate) fn new(file: &Path, facts: Facts) -> Self {
        Self {
            file: file.to_owned(),
            names: facts.names,
            serial_number: facts.serial_number,
            not_before: facts.not_before.unix_seconds,
            not_after: facts.not_after.unix_seconds,
            key: facts.key,
            hash_bits: facts.hash_bits,
        }
    }

    /// Whether it counts at `now`, seconds since 1970.
    pub fn is_valid(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// Reads a certificate; `None` when it is not one.
pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Facts> {
    const VERSION: u8 = 0xa0;
    const EXTENSIONS: u8 = 0xa3;
    let mut outer = Der::new(certificate).enter(SEQUENCE)?;
    let mut inner = outer.enter(SEQUENCE)?;
    inner.take_if(VERSION);
    let serial = inner.take(INTEGER)?;
    inner.take(SEQUENCE)?; // the algorithm, again below
    let issuer = inner.take(SEQUENCE)?;
    let mut validity = inner.enter(SEQUENCE)?;
    let subject = inner.take(SEQUENCE)?;
    let key = key(inner.enter(SEQUENCE)?)?;
    let mut extensions = None;
    while let Some(element) = inner.element() {
        if element.tag == EXTENSIONS {
            extensions = Some(Der::new(element.value).enter(SEQUENCE)?);
        }
    }
    let algorithm = outer.enter(SEQUENCE)?.take(OBJECT_IDENTIFIER)?;
    let mut names = extensions.map(alternative_names).unwrap_or_default();
    if names.is_empty() {
        // Certificates without alternative names are out of date, and still about.
        names.extend(common_name(subject).map(|name| name.to_ascii_lowercase()));
    }
    Some(Facts {
        serial_number: hex(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial)),
        issuer: written(issuer)?,
        subject: written(subject)?,
        not_before: moment(&mut validity)?,
        not_after: moment(&mut validity)?,
        key,
        hash_bits: hash_bits(algorithm),
        names,
    })
}

/// The public key of a certificate, as a whole `SubjectPublicKeyInfo`; `None` when it is not a certificate.
pub(crate) fn public_key<'c>(certificate: &'c CertificateDer<'_>) -> Option<&'c [u8]> {
    const VERSION: u8 = 0xa0;
    let mut inner = Der::new(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    inner.take_if(VERSION);
    inner.take(INTEGER)?;
    for _before_the_key in ["algorithm", "issuer", "validity", "subject"] {
        inner.take(SEQUENCE)?;
    }
    inner.element().filter(|element| element.tag == SEQUENCE).map(|element| element.whole)
}

fn key(mut info: Der<'_>) -> Option<Key> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const ELLIPTIC_CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let algorithm = info.enter(SEQUENCE)?.take(OBJECT_IDENTIFIER)?;
    // The first byte counts unused bits.
    let key = info.take(BIT_STRING)?.get(1..)?;
    Some(match algorithm {
        RSA => {
            let modulus = Der::new(key).enter(SEQUENCE)?.take(INTEGER)?;
            Key::Rsa(modulus.strip_prefix(&[0]).unwrap_or(modulus).len() * 8)
        }
        // An uncompressed point: a mark and two coordinates.
        ELLIPTIC_CURVE => Key::Ecdsa(key.len() / 2 * 8),
        _ => Key::Other,
    })
}

/// The host names among the alternative names.
fn alternative_names(mut extensions: Der<'_>) -> Vec<String> {
    const ALTERNATIVE_NAMES: &[u8] = &[0x55, 29, 17];
    const BOOLEAN: u8 = 0x01;
    const OCTET_STRING: u8 = 0x04;
    const DNS_NAME: u8 = 0x82;
    let mut names = Vec::new();
    while let Some(mut extension) = extensions.enter(SEQUENCE) {
        if extension.take(OBJECT_IDENTIFIER) != Some(ALTERNATIVE_NAMES) {
            continue;
        }
        extension.take_if(BOOLEAN); // whether it is critical
        let mut inside = extension.enter(OCTET_STRING).and_then(|mut value| value.enter(SEQUENCE));
        while let Some(name) = inside.as_mut().and_then(Der::element) {
            if name.tag == DNS_NAME && name.value.is_ascii() {
                names.push(String::from_utf8_lossy(name.value).to_ascii_lowercase());
            }
        }
    }
    names
}

/// Of the algorithms that are in use; a stranger counts as SHA-256.
fn hash_bits(algorithm: &[u8]) -> u16 {
    match algorithm {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4] => 0,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] => 160,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => 384,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]
        | [0x2b, 0x65, 0x70] => 512,
        _ => 256,
    }
}

fn moment(validity: &mut Der<'_>) -> Option<Moment> {
    let element = validity.element()?;
    let text = std::str::from_utf8(element.value).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            // RFC 5280: two digits mean 1950 to 2049.
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i64>();
    let (month, day, hour, minute, second) =
        (two(0).ok()?, two(2).ok()?, two(4).ok()?, two(6).ok()?, two(8).ok()?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_time = hour < 24 && minute < 60 && second < 60;
    (is_date && is_time).then(|| Moment {
        unix_seconds: days(year, month, day) * SECONDS_OF_DAY + hour * 3600 + minute * 60 + second,
        written: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that a leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, KeyKind};

    #[test]
    fn dates_become_seconds() {
        let at = |tag: u8, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            moment(&mut Der::new(&bytes))
        };
        assert_eq!(at(UTC_TIME, "700101000000Z").unwrap().unix_seconds, 0);
        assert_eq!(at(UTC_TIME, "230921015017Z").unwrap().written, "2023-09-21T01:50:17Z");
        assert_eq!(at(UTC_TIME, "230921015017Z").unwrap().unix_seconds, 1_695_261_017);
        assert_eq!(at(GENERALIZED_TIME, "20240229235959Z").unwrap().unix_seconds, 1_709_251_199);
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z").unwrap().unix_seconds, 2_524_608_000);
        for wrong in ["230921015017", "231321015017Z", "23092101501xZ", "2309210150Z"] {
            assert_eq!(at(UTC_TIME, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_certificate_tells_names_key_and_serial() {
        let made = testing::self_signed(&["Shop.example", "*.shop.example"], KeyKind::P384);
        let facts = read(&made.chain()[0]).unwrap();
        assert_eq!(facts.names, ["shop.example", "*.shop.example"]);
        assert_eq!(facts.key, Key::Ecdsa(384));
        assert_eq!(facts.hash_bits, 384);
        assert!(facts.not_before < facts.not_after);
        assert_eq!(facts.issuer, facts.subject);
        let rsa = testing::self_signed(&["shop.example"], KeyKind::Rsa2048);
        assert_eq!(read(&rsa.chain()[0]).unwrap().key, Key::Rsa(2048));
    }

    /// Made by OpenSSL 3.0: `req -x509 -utf8 -multivalue-rdn -subj '/C=DE/…'`.
    const STRANGE: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIC9jCCApygAwIBAgIUeJBbTXQRE39AQfCf2jula9BR0EcwCgYIKoZIzj0EAwIw\n\
        gckxCzAJBgNVBAYTAkRFMRwwGgYDVQQIDBNOb3JkcmhlaW4tV2VzdGZhbGVuMR8w\n\
        HQYDVQQKDBZCw6Rja2VyLCAiU8O2aG5lIiBHbWJIMRQwCAYDVQQLDAFhMAgGA1UE\n\
        CwwBYjEVMBMGA1UEAwwMICN4O3k8ej49XHEgMRQwEgYJKoZIhvcNAQkBFgVhQGIu\n\
        YzELMAkGA1UEBRMCNDIxFzAVBgoJkiaJk/IsZAEZFgdleGFtcGxlMRIwEAYKCZIm\n\
        iZPyLGQBAQwCbWUwHhcNMjYxMTI1MTkzNzE0WhcNMjcwMjIzMTkzNzE0WjCByTEL\n\
        MAkGA1UEBhMCREUxHDAaBgNVBAgME05vcmRyaGVpbi1XZXN0ZmFsZW4xHzAdBgNV\n\
        BAoMFkLDpGNrZXIsICJTw7ZobmUiIEdtYkgxFDAIBgNVBAsMAWEwCAYDVQQLDAFi\n\
        MRUwEwYDVQQDDAwgI3g7eTx6Pj1ccSAxFDASBgkqhkiG9w0BCQEWBWFAYi5jMQsw\n\
        CQYDVQQFEwI0MjEXMBUGCgmSJomT8ixkARkWB2V4YW1wbGUxEjAQBgoJkiaJk/Is\n\
        ZAEBDAJtZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLjIVKrS22mxPxe3OvUq\n\
        WN0Tn40+Sw8WZNVVzDffeye73yshqs9cwCdcaV2yJmM+8AKNjZn66Gs4k8cfnUIy\n\
        yMajYDBeMB0GA1UdDgQWBBR6dua07uC3UCBIIluaqWJAnBy3nDAfBgNVHSMEGDAW\n\
        gBR6dua07uC3UCBIIluaqWJAnBy3nDAPBgNVHRMBAf8EBTADAQH/MAsGA1UdDwQE\n\
        AwIBBjAKBggqhkjOPQQDAgNIADBFAiBzB1QNbQqKfmnjZ4bNI0jQm59spHFBGFNG\n\
        TpCUnHYoEwIhAJk0aPBQrB33bCirYiBwFxgry8k1baZMlo2lUYAdGUKr\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn a_strange_name_is_written_as_openssl_writes_it() {
        let facts = read(&testing::certificates_of(STRANGE)[0]).unwrap();
        // `openssl x509 -noout -subject -nameopt RFC2253`
        let openssl = "UID=me,DC=example,serialNumber=42,emailAddress=a@b.c,CN=\\ #x\\;y\\<z\\>=\\\\q\\ ,\
            OU=b+OU=a,O=B\\C3\\A4cker\\, \\\"S\\C3\\B6hne\\\" GmbH,ST=Nordrhein-Westfalen,C=DE";
        assert_eq!(facts.subject, openssl);
        assert_eq!(facts.issuer, openssl);
        assert_eq!(facts.names, [" #x;y<z>=\\q "], "without alternative names the common one");
    }

    #[test]
    fn every_cut_of_a_certificate_is_survived() {
        let made = testing::self_signed(&["shop.example"], KeyKind::P256);
        let whole = made.chain()[0].to_vec();
        for length in 0..whole.len() {
            assert_eq!(read(&CertificateDer::from(whole[..length].to_vec())), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            // Whatever comes of it: not a panic.
            let _ = read(&CertificateDer::from(changed));
        }
    }
}

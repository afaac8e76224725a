//! Keys that weir signs with, by ES256: derived from a secret, so that every weir with the secret signs as one.
//!
//! Source: RFC 7518 section 3.4.

use std::fmt::{self, Write as _};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Separates keys for signing from whatever else a secret is used for.
const SALT: &[u8] = b"weir signatures 1";

/// Bytes of a private key.
const SCALAR_BYTES: usize = 32;

/// What stands in DER before the point of a public key on P-256. Source: RFC 5480 section 2.
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Characters of a line in PEM.
const PEM_LINE: usize = 64;

/// Bytes of a public key's hash that are its id.
const ID_BYTES: usize = 16;

/// A key that weir signs with.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl SigningKey {
    /// The key of a secret: always the same.
    pub(crate) fn of(secret: &[u8]) -> Self {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(secret);
        // A number that is no private key comes once in four thousand million times; then the next one is taken.
        let pair = (0..=u8::MAX).find_map(|attempt| {
            let mut scalar = [0; SCALAR_BYTES];
            secret.expand(&[&[attempt]], HKDF_SHA256).ok()?.fill(&mut scalar).ok()?;
            let public = PrivateKey::from_private_key(&ECDH_P256, &scalar).ok()?.compute_public_key().ok()?;
            let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_private_key_and_public_key(scheme, &scalar, public.as_ref()).ok()
        });
        let pair = pair.expect("of 256 numbers one is a private key");
        let hash = digest(&SHA256, pair.public_key().as_ref());
        let mut id = String::with_capacity(2 * ID_BYTES);
        for byte in &hash.as_ref()[..ID_BYTES] {
            write!(id, "{byte:02x}").expect("writing to a string succeeds");
        }
        Self { pair, id }
    }

    /// Its id: the beginning of its public key's hash, in hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Signs a message: both numbers of the signature, one after the other.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.expect("the system has random numbers").as_ref().to_vec()
    }

    /// Its public key in PEM.
    pub fn public_pem(&self) -> String {
        let text = STANDARD.encode([&PUBLIC_KEY_HEAD, self.pair.public_key().as_ref()].concat());
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            pem.push('\n');
        }
        pem + "-----END PUBLIC KEY-----\n"
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not have the key.
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn whoever_has_the_secret_has_the_key_and_no_other() {
        let (one, same, other) =
            (SigningKey::of(&[1; 32]), SigningKey::of(&[1; 32]), SigningKey::of(&[2; 32]));
        assert_eq!((one.id(), one.public_pem()), (same.id(), same.public_pem()));
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn a_signature_is_checked_with_the_public_key() {
        let key = SigningKey::of(&[1; 32]);
        let signature = key.sign(b"message");
        let check = |public: &[u8], message: &[u8]| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message, &signature).is_ok()
        };
        let pem: String = key.public_pem().lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(pem).unwrap();
        assert!(check(&der[PUBLIC_KEY_HEAD.len()..], b"message"));
        assert!(!check(&der[PUBLIC_KEY_HEAD.len()..], b"massage"));
        assert!(!check(SigningKey::of(&[2; 32]).pair.public_key().as_ref(), b"message"));
    }
}

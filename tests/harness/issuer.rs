//! An issuer of tokens, with an endpoint that publishes its keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
use serde_json::{Value, json};

use crate::FakeTarget;
use crate::target::respond;

/// A key that tokens are signed with.
#[derive(Debug)]
pub struct Key {
    id: String,
    pair: KeyPair,
}

/// An issuer whose endpoint says what a test wants it to.
#[derive(Clone)]
pub struct Issuer {
    endpoint: FakeTarget,
    says: Arc<Mutex<(u16, String)>>,
}

impl Key {
    /// A new one of this id.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key can be made");
        Self { id: id.to_owned(), pair }
    }

    /// The key as a key set has it.
    pub fn jwk(&self) -> Value {
        let (modulus, exponent) = numbers(self.pair.public_key_raw());
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "n": text(modulus), "e": text(exponent) })
    }

    /// The public key as it is sent, for whoever would misuse it.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// When the key cannot sign.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }).to_string();
        let unsigned = unsigned(&header, claims);
        let signature = self.pair.sign(unsigned.as_bytes()).expect("a key can sign");
        format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The first two parts of a token.
pub fn unsigned(header: &str, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Wall time in seconds since 1970.
///
/// # Panics
/// Before 1970.
#[allow(clippy::disallowed_methods, reason = "tokens carry wall time")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

impl Issuer {
    /// One that publishes these keys.
    pub fn publishing(keys: &[&Key]) -> Self {
        let says = Arc::new(Mutex::new((200, String::new())));
        let said = says.clone();
        let endpoint = FakeTarget::behaving(move |_, stream| {
            let (status, text) = lock(&said).clone();
            respond(stream, status, &text)
        });
        let issuer = Self { endpoint, says };
        issuer.publish(keys);
        issuer
    }

    /// Publishes these keys from now on, in place of others.
    pub fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.say(200, &json!({ "keys": keys }).to_string());
    }

    /// Answers with this from now on.
    pub fn say(&self, status: u16, text: &str) {
        *lock(&self.says) = (status, text.to_owned());
    }

    /// Answers nobody any more.
    pub fn end(&self) {
        self.endpoint.kill();
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> usize {
        self.endpoint.received().len()
    }

    /// The URL of its keys.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.endpoint.addr())
    }
}

/// Modulus and exponent of an `RSAPublicKey` in DER: a sequence of two integers.
fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
    let element = |der: &[u8]| match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        length => (2, usize::from(length)),
    };
    let inside = &der[element(der).0..];
    let (head, length) = element(inside);
    let (modulus, rest) = (&inside[head..head + length], &inside[head + length..]);
    let (head, length) = element(rest);
    (&modulus[usize::from(modulus[0] == 0)..], &rest[head..head + length])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

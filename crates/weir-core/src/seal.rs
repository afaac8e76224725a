//! Sealed cookies: what a client brings back, and neither reads nor makes.
//!
//! A value is `base64(nonce, ciphertext, tag)` with AES-256-GCM-SIV, whose keys are derived from a secret, one for each
//! [`Purpose`]: what was sealed for one purpose does not open for another. Several secrets may be in use: the first one
//! seals, all of them open, so that a new secret can be put before an old one.
//!
//! Nonces are arguments. One that comes twice tells at most that two values are the same (RFC 8452): no key is lost.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shortest secret, in bytes: as long as the keys that are made of it.
pub const SECRET_BYTES_MIN: usize = 32;

/// Most secrets: the one that seals, and those before it.
pub const SECRETS_MAX: usize = 8;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = aws_lc_rs::aead::NONCE_LEN;

/// Bytes of a tag.
const TAG_BYTES: usize = 16;

/// Bytes that sealing adds, before base64 makes four characters of three bytes.
pub const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Separates keys of cookies from whatever else a secret is used for; changes with the form of a sealed value.
const SALT: &[u8] = b"weir cookies 1";

/// What a value is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The target of a client, by duration: `AWSALB`.
    Target,
    /// The target of a client, for as long as its application's cookie: `AWSALBAPP-0`.
    ApplicationTarget,
    /// The target group of a client: `AWSALBTG`.
    Group,
    /// Who a client is, once it has logged in.
    Session,
    /// What a client was about when it was sent to log in.
    Login,
    /// The instance of a client of a classic listener: `AWSELB`.
    Instance,
}

impl Purpose {
    /// All, in the order of their keys.
    const ALL: [Self; 6] =
        [Self::Target, Self::ApplicationTarget, Self::Group, Self::Session, Self::Login, Self::Instance];

    /// What its keys are derived with. Never changes: other weirs know it.
    fn info(self) -> &'static [u8] {
        match self {
            Self::Target => b"target",
            Self::ApplicationTarget => b"application target",
            Self::Group => b"target group",
            Self::Session => b"session",
            Self::Login => b"login",
            Self::Instance => b"instance",
        }
    }
}

/// A number that is drawn for each value that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; NONCE_BYTES]);

impl Nonce {
    /// The next nonce of a random stream.
    pub fn draw(random: &mut fastrand::Rng) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        Self(nonce)
    }
}

/// Seals and opens values.
pub struct CookieKeys {
    /// By secret, the first one seals; then by [`Purpose`].
    secrets: Vec<[LessSafeKey; Purpose::ALL.len()]>,
    /// What each secret makes of nothing: the same for the same secret, and of no use to whoever sees it.
    signs: Vec<[u8; TAG_BYTES]>,
}

/// Equal when they were made of the same secrets.
impl PartialEq for CookieKeys {
    fn eq(&self, other: &Self) -> bool {
        self.signs == other.signs
    }
}

impl CookieKeys {
    /// Keys from secrets: the first one seals, all of them open. Whoever has the same secrets has the same keys.
    ///
    /// There must be one, and none shorter than [`SECRET_BYTES_MIN`]: whoever reads them sees to it.
    pub fn new(secrets: &[&[u8]]) -> Self {
        let salt = Salt::new(HKDF_SHA256, SALT);
        let keys = |secret: &&[u8]| {
            let secret = salt.extract(secret);
            Purpose::ALL.map(|purpose| key(&secret, purpose))
        };
        let secrets: Vec<_> = secrets.iter().map(keys).collect();
        let signs = secrets.iter().map(|keys| seal_in_place(&keys[0], Nonce([0; NONCE_BYTES]), &mut []));
        Self { signs: signs.collect(), secrets }
    }

    /// Seals `plain` for `purpose`: base64 with the standard alphabet, padded.
    pub fn seal(&self, purpose: Purpose, nonce: Nonce, plain: &[u8]) -> String {
        let mut sealed = Vec::with_capacity(SEAL_BYTES + plain.len());
        sealed.extend_from_slice(&nonce.0);
        sealed.extend_from_slice(plain);
        let tag = seal_in_place(self.sealing(purpose), nonce, &mut sealed[NONCE_BYTES..]);
        sealed.extend_from_slice(&tag);
        STANDARD.encode(sealed)
    }

    /// As [`Self::seal`], without allocation: into the front of `text`, whose length must do. The characters written.
    ///
    /// `sealed` is as long as `plain` and [`SEAL_BYTES`]; what it holds does not matter.
    pub fn seal_into<'t>(
        &self,
        purpose: Purpose,
        nonce: Nonce,
        plain: &[u8],
        sealed: &mut [u8],
        text: &'t mut [u8],
    ) -> &'t [u8] {
        let (head, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (body, tag) = rest.split_at_mut(plain.len());
        head.copy_from_slice(&nonce.0);
        body.copy_from_slice(plain);
        tag.copy_from_slice(&seal_in_place(self.sealing(purpose), nonce, body));
        let length = STANDARD.encode_slice(sealed, text).expect("the caller's text is long enough");
        &text[..length]
    }

    /// The key that seals for `purpose`.
    fn sealing(&self, purpose: Purpose) -> &LessSafeKey {
        &self.secrets.first().expect("there is at least one secret")[purpose as usize]
    }

    /// What was sealed for `purpose` with one of the secrets; `None` for anything else.
    pub fn open(&self, purpose: Purpose, text: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = vec![0; base64::decoded_len_estimate(text.len())];
        self.open_into(purpose, text, &mut buffer).map(<[u8]>::to_vec)
    }

    /// As [`Self::open`], without allocation: in `buffer`. A text that does not fit it is none of ours.
    pub fn open_into<'b>(&self, purpose: Purpose, text: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut opened = None;
        for keys in &self.secrets {
            // A failure leaves nothing in the buffer that another key could open: it is read again for each.
            let length = STANDARD.decode_slice(text, buffer).ok()?;
            let (nonce, sealed) = buffer[..length].split_first_chunk_mut::<NONCE_BYTES>()?;
            let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
            if let Ok(plain) = keys[purpose as usize].open_in_place(nonce, Aad::empty(), sealed) {
                opened = Some(plain.len());
                break;
            }
        }
        Some(&buffer[NONCE_BYTES..NONCE_BYTES + opened?])
    }
}

fn seal_in_place(key: &LessSafeKey, nonce: Nonce, plain: &mut [u8]) -> [u8; TAG_BYTES] {
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce.0);
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::empty(), plain);
    let tag = sealed.expect("a cookie is shorter than what the cipher takes");
    tag.as_ref().try_into().expect("the tag of this cipher has 16 bytes")
}

fn key(secret: &Prk, purpose: Purpose) -> LessSafeKey {
    let info = [purpose.info()];
    let material = secret.expand(&info, &AES_256_GCM_SIV).expect("a key is shorter than what can be derived");
    LessSafeKey::new(UnboundKey::from(material))
}

impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not have the keys.
        f.debug_struct("CookieKeys").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = &[1; SECRET_BYTES_MIN];
    const NEW: &[u8] = &[2; SECRET_BYTES_MIN];
    const NONCE: Nonce = Nonce([7; NONCE_BYTES]);

    #[test]
    fn whoever_has_the_secret_opens_what_was_sealed_with_it() {
        let text = CookieKeys::new(&[OLD]).seal(Purpose::Session, NONCE, b"who");
        let open = |secrets: &[&[u8]]| CookieKeys::new(secrets).open(Purpose::Session, text.as_bytes());
        assert_eq!(open(&[OLD]).as_deref(), Some(&b"who"[..]));
        assert_eq!(open(&[NEW, OLD]).as_deref(), Some(&b"who"[..]), "an earlier secret");
        assert_eq!(open(&[NEW]), None);
    }

    #[test]
    fn the_first_secret_seals() {
        let text = CookieKeys::new(&[NEW, OLD]).seal(Purpose::Target, NONCE, b"t");
        assert!(CookieKeys::new(&[NEW]).open(Purpose::Target, text.as_bytes()).is_some());
        assert_eq!(CookieKeys::new(&[OLD]).open(Purpose::Target, text.as_bytes()), None);
    }

    #[test]
    fn what_was_sealed_for_one_purpose_does_not_open_for_another() {
        let keys = CookieKeys::new(&[OLD]);
        for sealed_for in Purpose::ALL {
            let text = keys.seal(sealed_for, NONCE, b"x");
            let opens = |purpose: &Purpose| keys.open(*purpose, text.as_bytes()).is_some();
            assert_eq!(Purpose::ALL.into_iter().filter(opens).collect::<Vec<_>>(), [sealed_for]);
        }
    }

    #[test]
    fn the_order_of_keys_is_that_of_purposes() {
        assert!(Purpose::ALL.iter().enumerate().all(|(at, purpose)| *purpose as usize == at));
    }

    #[test]
    fn both_ways_of_sealing_and_opening_agree() {
        let keys = CookieKeys::new(&[OLD]);
        let plain = [5; 68];
        let (mut sealed, mut text) = ([0; 96], [0; 128]);
        let text = keys.seal_into(Purpose::Group, NONCE, &plain, &mut sealed, &mut text);
        assert_eq!(text, keys.seal(Purpose::Group, NONCE, &plain).as_bytes());
        let mut buffer = [0; 96];
        assert_eq!(keys.open_into(Purpose::Group, text, &mut buffer), Some(&plain[..]));
        assert_eq!(keys.open_into(Purpose::Group, text, &mut [0; 95]), None, "it does not fit");
    }

    #[test]
    fn a_value_that_was_changed_or_cut_does_not_open() {
        let keys = CookieKeys::new(&[NEW, OLD]);
        let text = keys.seal(Purpose::Target, NONCE, b"some target");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open(Purpose::Target, &changed), None, "character {at}");
            assert_eq!(keys.open(Purpose::Target, &text.as_bytes()[..at]), None, "the first {at}");
        }
    }

    #[test]
    fn other_weirs_make_the_same_of_the_same() {
        let text = CookieKeys::new(&[OLD]).seal(Purpose::Target, NONCE, b"target");
        assert_eq!(text, "BwcHBwcHBwcHBwcHDQZEvf4pjIo6IlDBNND0ZxoxyjVZ5g==");
    }

    #[test]
    fn keys_of_the_same_secrets_are_equal() {
        assert_eq!(CookieKeys::new(&[NEW, OLD]), CookieKeys::new(&[NEW, OLD]));
        assert_ne!(CookieKeys::new(&[NEW, OLD]), CookieKeys::new(&[OLD, NEW]));
        assert_ne!(CookieKeys::new(&[NEW]), CookieKeys::new(&[NEW, OLD]));
    }

    #[test]
    fn a_debug_print_has_no_key() {
        assert_eq!(format!("{:?}", CookieKeys::new(&[OLD])), "CookieKeys { secrets: 1, .. }");
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(CookieKeys::new(&[OLD]).open(Purpose::Target, &text), None);
        }

        #[test]
        fn whatever_was_sealed_opens(plain in prop::collection::vec(any::<u8>(), 0..300)) {
            let keys = CookieKeys::new(&[OLD]);
            let text = keys.seal(Purpose::Login, NONCE, &plain);
            prop_assert_eq!(keys.open(Purpose::Login, text.as_bytes()), Some(plain));
        }
    }
}

//! Tickets of sessions: what a client brings back to go on where it was, at any worker and any weir with the secret.
//!
//! A ticket is sealed with a key that is derived from the secret and the period in which it was made. Keys are never
//! kept: an older period's key is forgotten by deriving it no more. Who has the secret can derive them all, so forward
//! secrecy of resumed TLS 1.2 sessions lasts as long as the secret is kept; with TLS 1.3 the exchange of keys is new each
//! time.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use crate::secrets::OwnSecret;

/// How long a key makes tickets; they are good for one period more. rustls's own choice.
const PERIOD_SECONDS: u64 = 6 * 3600;

/// Bytes of a period's number at the head of a ticket.
const PERIOD_BYTES: usize = 4;

/// Separates keys of tickets from whatever else a secret is used for; changes with the form of a ticket.
const PURPOSE: &[u8] = b"weir TLS tickets 1";

/// Seals and opens tickets.
pub struct Tickets {
    /// The first one makes tickets.
    secrets: Vec<Prk>,
    clock: Arc<dyn TimeProvider>,
}

impl Tickets {
    /// Tickets of what stands in no file.
    pub fn own(secret: &OwnSecret) -> Arc<Self> {
        Self::of(&[secret.as_bytes()], Arc::new(DefaultTimeProvider))
    }

    /// Tickets that nobody else can open.
    pub fn random() -> Arc<Self> {
        Self::own(&OwnSecret::random())
    }

    /// Tickets that whoever has the first of `secrets` can open. There must be one, and none shorter than
    /// [`weir_core::seal::SECRET_BYTES_MIN`].
    pub(crate) fn of(secrets: &[&[u8]], clock: Arc<dyn TimeProvider>) -> Arc<Self> {
        let salt = Salt::new(HKDF_SHA256, PURPOSE);
        Arc::new(Self { secrets: secrets.iter().map(|secret| salt.extract(secret)).collect(), clock })
    }

    fn period(&self) -> Option<u32> {
        let now = self.clock.current_time()?.as_secs();
        u32::try_from(now / PERIOD_SECONDS).ok()
    }
}

fn key(secret: &Prk, period: [u8; PERIOD_BYTES]) -> Option<LessSafeKey> {
    let info: [&[u8]; 1] = [&period];
    let material = secret.expand(&info, &AES_256_GCM_SIV).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(material)))
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD_SECONDS as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let period = self.period()?.to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket =
            Vec::with_capacity(PERIOD_BYTES + NONCE_LEN + plain.len() + AES_256_GCM_SIV.tag_len());
        ticket.extend_from_slice(&period);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[PERIOD_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = key(self.secrets.first()?, period)?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(period), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (period, rest) = ticket.split_first_chunk::<PERIOD_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // The next period is that of another weir whose clock is ahead.
        if self.period()?.abs_diff(u32::from_be_bytes(*period)) > 1 {
            return None;
        }
        self.secrets.iter().find_map(|secret| {
            let mut plain = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length =
                key(secret, *period)?.open_in_place(nonce, Aad::from(*period), &mut plain).ok()?.len();
            plain.truncate(length);
            Some(plain)
        })
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not have the secrets.
        f.debug_struct("Tickets").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    const OLD: &[u8] = &[1; 32];
    const NEW: &[u8] = &[2; 32];

    #[test]
    fn a_ticket_is_opened_by_whoever_has_the_secret() {
        let clock = Clock::at(1_000_000);
        let ticket = Tickets::of(&[OLD], clock.clone()).encrypt(b"session").unwrap();
        assert_eq!(Tickets::of(&[OLD], clock.clone()).decrypt(&ticket).unwrap(), b"session");
        assert_eq!(Tickets::of(&[NEW], clock.clone()).decrypt(&ticket), None);
        assert_eq!(
            Tickets::of(&[NEW, OLD], clock).decrypt(&ticket).unwrap(),
            b"session",
            "an earlier secret"
        );
    }

    #[test]
    fn a_ticket_lives_for_one_to_two_periods() {
        let clock = Clock::at(10 * PERIOD_SECONDS);
        let tickets = Tickets::of(&[OLD], clock.clone());
        let ticket = tickets.encrypt(b"session").unwrap();
        clock.set(12 * PERIOD_SECONDS - 1);
        assert!(tickets.decrypt(&ticket).is_some());
        clock.set(12 * PERIOD_SECONDS);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_that_was_changed_is_not_opened() {
        let tickets = Tickets::random();
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "the first {at} bytes");
        }
    }
}

//! What a cookie says: up to three pins, in a form of fixed length.

use std::num::NonZeroU32;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::cookie::{VALUE_CHARS, Value};
use crate::name::GroupName;
use crate::seal::{CookieKeys, Nonce, Purpose, SEAL_BYTES};
use crate::target::TargetId;

/// Changes with what is hashed, and how. Never else: cookies outlive the process, and other weirs read them.
const SEED: u64 = 0x7765_6972_2070_696e;

/// The form of what is sealed.
const VERSION: u8 = 1;

/// Groups, or actions, that one cookie remembers: those asked last. AWS remembers each sticky group of a client, too.
const PINS_MAX: usize = 3;

/// Bytes of a pin: two fingerprints and an end.
const PIN_BYTES: usize = 8 + 8 + 4;

/// Bytes of a value once it is opened: a version, the pins, and zeros. Sealed it has AWS's 128 characters.
const PLAIN_BYTES: usize = SEALED_BYTES - SEAL_BYTES;

const SEALED_BYTES: usize = VALUE_CHARS / 4 * 3;

const _: () = assert!(PINS_MAX * PIN_BYTES < PLAIN_BYTES);

/// A target or a group by what makes it the same as before, on every platform and in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Nobody's.
    pub(super) const NONE: Self = Self(0);

    /// Of a group, by its name.
    pub fn of_group(name: &GroupName) -> Self {
        Self::of(&[b"group", name.as_str().as_bytes()])
    }

    /// Of a target within its group, by its identity: never by the port that its task happens to have.
    pub fn of_target(id: &TargetId) -> Self {
        match id {
            TargetId::Address(addr) => Self::of(&[b"address", addr.to_string().as_bytes()]),
            TargetId::Task { task, container_port } => {
                let port = container_port.to_be_bytes();
                Self::of(&[b"task", task.id.as_bytes(), task.generation.as_bytes(), &port])
            }
        }
    }

    /// The number that it is.
    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(super) fn number(number: u64) -> Self {
        Self(number)
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            // With its length, so that no two lists of parts are the same bytes.
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(xxh3_64_with_seed(&bytes, SEED))
    }
}

/// One thing that a client sticks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) group: Fingerprint,
    /// [`Fingerprint::NONE`] where only the group is pinned.
    pub(super) target: Fingerprint,
    /// Wall time in seconds since 1970, until 2106.
    ends_at: NonZeroU32,
}

/// Pins of a cookie that the response only passes on.
pub(super) type Others = [Option<Pin>; PINS_MAX - 1];

/// The pins of a cookie, the one used last first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pins([Option<Pin>; PINS_MAX]);

impl Pin {
    /// A pin that ends `duration` after `wall_seconds`.
    pub(super) fn new(
        group: Fingerprint,
        target: Fingerprint,
        wall_seconds: u64,
        duration: Duration,
    ) -> Self {
        let ends_at = u32::try_from(wall_seconds.saturating_add(duration.as_secs())).unwrap_or(u32::MAX);
        Self { group, target, ends_at: NonZeroU32::new(ends_at).unwrap_or(NonZeroU32::MIN) }
    }

    fn to_bytes(self) -> [u8; PIN_BYTES] {
        let mut bytes = [0; PIN_BYTES];
        bytes[..8].copy_from_slice(&self.group.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.target.0.to_be_bytes());
        bytes[16..].copy_from_slice(&self.ends_at.get().to_be_bytes());
        bytes
    }

    /// `None` of zeros: there is no pin.
    fn from_bytes(bytes: [u8; PIN_BYTES]) -> Option<Self> {
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|n| bytes[at + n]));
        let ends_at = u32::from_be_bytes(std::array::from_fn(|n| bytes[16 + n]));
        Some(Self {
            group: Fingerprint(number(0)),
            target: Fingerprint(number(8)),
            ends_at: NonZeroU32::new(ends_at)?,
        })
    }
}

impl Pins {
    /// The newest pin before others.
    pub(super) fn of(newest: Pin, [second, third]: Others) -> Self {
        Self([Some(newest), second, third])
    }

    /// Those that have not ended at `wall_seconds`.
    pub(super) fn live(&self, wall_seconds: u64) -> impl Iterator<Item = Pin> {
        self.0.into_iter().flatten().filter(move |pin| u64::from(pin.ends_at.get()) > wall_seconds)
    }

    /// The first of those that have not ended and are wanted, as many as fit beside a new one.
    pub(super) fn others(&self, wall_seconds: u64, mut is_wanted: impl FnMut(&Pin) -> bool) -> Others {
        let mut wanted = self.live(wall_seconds).filter(|pin| is_wanted(pin));
        [wanted.next(), wanted.next()]
    }

    /// The value of a cookie that says so.
    pub(super) fn seal(&self, keys: &CookieKeys, purpose: Purpose, nonce: Nonce) -> Value {
        let mut plain = [0; PLAIN_BYTES];
        plain[0] = VERSION;
        for (place, pin) in plain[1..].as_chunks_mut::<PIN_BYTES>().0.iter_mut().zip(self.0.iter().flatten())
        {
            *place = pin.to_bytes();
        }
        let mut value = [0; VALUE_CHARS];
        keys.seal_into(purpose, nonce, &plain, &mut [0; SEALED_BYTES], &mut value);
        value
    }

    /// What the value of a cookie says; `None` of what was not sealed by whoever has the keys.
    pub(super) fn open(keys: &CookieKeys, purpose: Purpose, value: &[u8]) -> Option<Self> {
        if value.len() != VALUE_CHARS {
            return None;
        }
        let mut buffer = [0; SEALED_BYTES];
        let plain = keys.open_into(purpose, value, &mut buffer)?;
        let (VERSION, places) = plain.split_first().map(|(version, rest)| (*version, rest))? else {
            return None;
        };
        let (places, _) = places.as_chunks::<PIN_BYTES>();
        let mut pins = places.iter().map(|place| Pin::from_bytes(*place));
        Some(Self(std::array::from_fn(|_| pins.next().flatten())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::TargetAddr;
    use crate::task::TaskId;

    const HOUR: Duration = Duration::from_secs(3600);
    const NONCE: Nonce = Nonce([3; 12]);

    fn pin(group: u64, target: u64, ends_at: u64) -> Pin {
        Pin::new(Fingerprint(group), Fingerprint(target), ends_at, Duration::ZERO)
    }

    fn keys() -> CookieKeys {
        CookieKeys::new(&[&[1; 32]])
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_process_and_on_every_platform() {
        let group = Fingerprint::of_group(&GroupName::parse("web").unwrap());
        let address = Fingerprint::of_target(&TargetId::Address(TargetAddr("127.0.0.1:80".parse().unwrap())));
        let task = TaskId { id: "3f2a91c07b1d".into(), generation: "2026-11-25T10:00:00Z".into() };
        let task = Fingerprint::of_target(&TargetId::Task { task, container_port: 80 });
        assert_eq!(
            [group.0, address.0, task.0],
            [16_650_858_081_089_405_264, 4_641_256_828_770_889_231, 13_581_702_724_596_005_823]
        );
    }

    #[test]
    fn another_start_and_another_port_of_a_container_are_other_targets() {
        let of = |id: &str, generation: &str, container_port| {
            let task = TaskId { id: id.into(), generation: generation.into() };
            Fingerprint::of_target(&TargetId::Task { task, container_port })
        };
        let all = [of("a", "b", 1), of("a", "c", 1), of("a", "b", 2), of("ab", "", 1), of("", "ab", 1)];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    // Conformance: A3.4.1
    #[test]
    fn a_cookie_has_128_characters_and_says_what_was_sealed() {
        let pins = Pins::of(pin(1, 2, 10), [Some(pin(3, 4, 20)), None]);
        let value = pins.seal(&keys(), Purpose::Target, NONCE);
        assert!(value.iter().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(c)));
        assert_eq!(Pins::open(&keys(), Purpose::Target, &value), Some(pins));
        assert_eq!(Pins::open(&keys(), Purpose::Group, &value), None, "another kind of cookie");
    }

    #[test]
    fn a_sealed_text_of_another_form_is_none() {
        let mut plain = [0; PLAIN_BYTES];
        plain[0] = VERSION + 1;
        let sealed = keys().seal(Purpose::Target, NONCE, &plain);
        assert_eq!(Pins::open(&keys(), Purpose::Target, sealed.as_bytes()), None);
        let sealed = keys().seal(Purpose::Target, NONCE, &[VERSION]);
        assert_eq!(Pins::open(&keys(), Purpose::Target, sealed.as_bytes()), None);
    }

    #[test]
    fn a_pin_counts_until_it_ends_and_no_longer() {
        let pins = Pins::of(Pin::new(Fingerprint(1), Fingerprint(2), 1000, HOUR), [None; 2]);
        assert_eq!(pins.live(4599).count(), 1);
        assert_eq!(pins.live(4600).count(), 0);
    }

    #[test]
    fn of_others_those_used_last_are_kept() {
        let all = Pins::of(pin(1, 0, 9), [Some(pin(2, 0, 9)), Some(pin(3, 0, 9))]);
        let groups = |others: Others| others.map(|pin| pin.map(|pin| pin.group.0));
        assert_eq!(groups(all.others(1, |_| true)), [Some(1), Some(2)]);
        assert_eq!(groups(all.others(1, |pin| pin.group.0 != 1)), [Some(2), Some(3)]);
        assert_eq!(groups(all.others(9, |_| true)), [None, None], "they have ended");
    }
}

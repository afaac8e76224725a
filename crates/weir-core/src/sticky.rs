//! Stickiness: a client that brings back its cookie is sent where it was before.
//!
//! A cookie pins its client to a target within a group, or to a group within an action. Both are named by what makes them
//! the same everywhere and for good ([`Fingerprint`]), so that weirs with the same secrets honour each other's cookies, and
//! their own after a restart. What a cookie pins is only ever a wish: the group must have a weight, the target must be
//! eligible. Otherwise the pick is made as if there were no cookie.
//!
//! Source: Application Load Balancer, "Sticky sessions" and "Sticky sessions and weighted target groups".
//!
//! What this module lacks: clock, locks, allocation.

mod cookie;
mod pins;

use std::sync::Arc;
use std::time::Duration;

pub use self::cookie::{Cookie, Cookies, VALUE_CHARS, with_cookie};
pub use self::pins::Fingerprint;

use self::cookie::Found;
use self::pins::{Others, Pin, Pins};
use crate::head::HeaderLines;
use crate::rule::Forward;
use crate::seal::{CookieKeys, Nonce, Purpose};
use crate::snapshot::{Group, GroupIndex, Snapshot};
use crate::target::Target;

/// Shortest time for which a client sticks. Source: Application Load Balancer, "Target group attributes".
pub const DURATION_MIN: Duration = Duration::from_secs(1);

/// Longest time for which a client sticks: 7 days. A browser keeps every cookie for as long.
pub const DURATION_MAX: Duration = Duration::from_secs(604_800);

/// For how long a cookie of a classic listener counts: its browser alone forgets it. Seconds are counted until 2106.
pub const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// For how long a client sticks to its target unless it is said otherwise.
pub const DURATION: Duration = Duration::from_secs(86_400);

/// Names that applications leave to the load balancer begin so.
pub const RESERVED: &str = "AWSALB";

/// Longest name of an application's cookie, in bytes. Ours: AWS names none.
pub const COOKIE_NAME_BYTES_MAX: usize = 256;

/// How clients stick to the targets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stickiness {
    /// Which cookie it takes.
    pub kind: StickinessKind,
    /// For how long after its last request a client sticks: [`DURATION_MIN`] to [`DURATION_MAX`], whole seconds; behind classic
    /// listeners [`FOR_EVER`].
    pub duration: Duration,
}

/// Which cookie it takes to stick to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickinessKind {
    /// The application's cookie of this name, with the one that the load balancer adds to it.
    ApplicationCookie(Arc<str>),
    /// The load balancer's own.
    LoadBalancerCookie,
    /// Behind a classic listener: the load balancer's, with the application's cookie of this name.
    ClassicApplicationCookie(Arc<str>),
    /// Behind a classic listener: the load balancer's own, which a browser gets once, and keeps for so long or for its session.
    ClassicCookie(Option<Duration>),
}

impl StickinessKind {
    /// As AWS and the configuration call it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ApplicationCookie(_) | Self::ClassicApplicationCookie(_) => "app_cookie",
            Self::LoadBalancerCookie | Self::ClassicCookie(_) => "lb_cookie",
        }
    }

    fn purpose(&self) -> Purpose {
        match self {
            Self::ApplicationCookie(_) => Purpose::ApplicationTarget,
            Self::LoadBalancerCookie => Purpose::Target,
            Self::ClassicApplicationCookie(_) | Self::ClassicCookie(_) => Purpose::Instance,
        }
    }

    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::ApplicationCookie(_) => &cookie::OF_APPLICATION_TARGETS,
            Self::LoadBalancerCookie => &cookie::OF_TARGETS,
            Self::ClassicApplicationCookie(_) | Self::ClassicCookie(_) => &cookie::OF_INSTANCES,
        }
    }
}

/// What a request's cookies came to, and what its response's cookies are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    group: Option<GroupAffinity>,
    target: Option<TargetAffinity>,
}

/// Of an action whose clients stick to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GroupAffinity {
    duration: Duration,
    /// What the cookie says of other actions.
    others: Others,
    is_unreadable: bool,
}

/// Of a group whose clients stick to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TargetAffinity {
    /// The target that the client is pinned to in this group.
    pinned: Option<Fingerprint>,
    /// What the cookie says of other groups.
    others: Others,
}

impl Affinity {
    /// The target that the client wants, by its fingerprint.
    pub fn pinned(&self) -> Option<Fingerprint> {
        self.target?.pinned
    }

    /// Whether the client's group has it stick to a target, and it goes to another one than it was pinned to, if it was.
    pub fn misses(&self, target: &Target) -> bool {
        self.target.is_some_and(|affinity| affinity.pinned != Some(target.fingerprint))
    }

    /// Whether the client brought a group cookie that nobody can read.
    pub fn has_unreadable_group_cookie(&self) -> bool {
        self.group.is_some_and(|affinity| affinity.is_unreadable)
    }

    /// The cookies of a response of `target`, a target of `group`: every response renews them, but for classic ones. `sets`
    /// tells whether the target sets a cookie of that name by itself.
    pub fn cookies(
        &self,
        group: &Group,
        target: &Target,
        sets: impl FnOnce(&str) -> bool,
        sealing: &mut Sealing<'_>,
    ) -> Cookies {
        let Sealing { keys, nonces, wall_seconds } = sealing;
        let mut cookies = Cookies::default();
        if let Some(affinity) = self.group {
            let pin = Pin::new(group.fingerprint, Fingerprint::NONE, *wall_seconds, affinity.duration);
            let value = Pins::of(pin, affinity.others).seal(keys, Purpose::Group, Nonce::draw(nonces));
            cookies.add(&cookie::OF_GROUPS, &value);
        }
        // A reload may just have ended the stickiness of the group.
        if let (Some(affinity), Some(stickiness)) = (self.target, &group.settings.stickiness) {
            let is_issued = match &stickiness.kind {
                StickinessKind::ApplicationCookie(name) => affinity.pinned.is_some() || sets(name),
                StickinessKind::LoadBalancerCookie => true,
                StickinessKind::ClassicApplicationCookie(name) => sets(name),
                StickinessKind::ClassicCookie(_) => affinity.pinned != Some(target.fingerprint),
            };
            if is_issued {
                let pin = Pin::new(group.fingerprint, target.fingerprint, *wall_seconds, stickiness.duration);
                let purpose = stickiness.kind.purpose();
                let value = Pins::of(pin, affinity.others).seal(keys, purpose, Nonce::draw(nonces));
                cookies.add(stickiness.kind.names(), &value);
                if let StickinessKind::ClassicCookie(kept) = stickiness.kind {
                    cookies.kept = kept;
                }
            }
        }
        cookies
    }
}

/// Which of the groups of `forward` a request goes to: the one that its cookie pins it to, if that has a weight, else one
/// that is drawn. What the cookie came to is noted in `affinity`.
pub(crate) fn draw(
    forward: &Forward<GroupIndex>,
    duration: Duration,
    request: Request<'_>,
    random: &mut fastrand::Rng,
    affinity: &mut Option<Affinity>,
) -> Option<GroupIndex> {
    let Request { snapshot, headers, wall_seconds } = request;
    let found = cookie::find(headers, &cookie::OF_GROUPS, Purpose::Group, snapshot.cookie_keys());
    let group = |pin: &Pin| {
        let is_it = |(index, _): &&(GroupIndex, u16)| {
            snapshot.group(*index).is_some_and(|group| group.fingerprint == pin.group)
        };
        forward.groups.iter().find(is_it)
    };
    let pins = found.pins();
    let pinned = pins.live(wall_seconds).filter_map(|pin| group(&pin)).find(|(_, weight)| *weight > 0);
    let others = pins.others(wall_seconds, |pin| group(pin).is_none());
    let of_group = GroupAffinity { duration, others, is_unreadable: matches!(found, Found::Unreadable) };
    affinity.get_or_insert_default().group = Some(of_group);
    pinned.map(|(index, _)| index).or_else(|| forward.draw(random)).copied()
}

/// The target of a sticky group that a request is pinned to. What its cookie came to is noted in `affinity`.
pub(crate) fn pinned(
    stickiness: &Stickiness,
    group: &Group,
    request: Request<'_>,
    affinity: &mut Option<Affinity>,
) -> Option<Fingerprint> {
    let Request { snapshot, headers, wall_seconds } = request;
    let kind = &stickiness.kind;
    let found = cookie::find(headers, kind.names(), kind.purpose(), snapshot.cookie_keys());
    let pins = found.pins();
    let counts = match kind {
        StickinessKind::ApplicationCookie(name) | StickinessKind::ClassicApplicationCookie(name) => {
            cookie::has(headers, name)
        }
        StickinessKind::LoadBalancerCookie | StickinessKind::ClassicCookie(_) => true,
    };
    let pin = pins.live(wall_seconds).find(|pin| pin.group == group.fingerprint).filter(|_| counts);
    let pinned = pin.map(|pin| pin.target);
    let others = pins.others(wall_seconds, |pin| pin.group != group.fingerprint);
    affinity.get_or_insert_default().target = Some(TargetAffinity { pinned, others });
    pinned
}

/// What cookies of a response are sealed with.
#[derive(Debug)]
pub struct Sealing<'a> {
    /// The keys.
    pub keys: &'a CookieKeys,
    /// The random stream that nonces come from.
    pub nonces: &'a mut fastrand::Rng,
    /// Wall time in seconds since 1970.
    pub wall_seconds: u64,
}

/// What cookies of a request are read with.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) headers: &'a dyn HeaderLines,
    /// Wall time in seconds since 1970.
    pub(crate) wall_seconds: u64,
}

#[cfg(test)]
mod tests;

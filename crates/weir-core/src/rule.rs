//! Rules of an application listener: priority, conditions, action.
//!
//! Source: Application Load Balancer, "Listener rules". A request must meet every condition of a
//! rule, and a condition when it meets any of its values; the first rule that matches wins.

mod condition;
mod index;
mod transform;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use condition::{Condition, QueryPattern};
pub use index::RuleIndex;
pub use transform::{REWRITE_BYTES_MAX, Rewrite, RewriteError, Transforms};

use crate::address::ClientAddr;
use crate::authentication::Authenticated;
use crate::head::Head;
use crate::name::LoadBalancerName;
use crate::redirect::Redirect;
use crate::task::Provenance;

/// Where a rule stands among the rules of its listener: 1 to 50000, lowest first, unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u16);

impl Priority {
    /// The largest priority.
    pub const MAX: u16 = 50_000;

    /// Checks the range 1 to 50000.
    pub fn new(priority: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&priority).then_some(Self(priority))
    }

    /// The priority as a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One rule. `G` names a target group: [`crate::name::GroupName`] as written in a definition,
/// [`crate::snapshot::GroupIndex`] inside a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<G> {
    /// Its place among the rules of its listener.
    pub priority: Priority,
    /// All must match.
    pub conditions: Vec<Condition>,
    /// What is done with a request that matches.
    pub action: Action<G>,
    /// What targets are asked for instead, of a rule that forwards.
    pub transforms: Option<Arc<Transforms>>,
    /// Whose labels it is made of; `None` when it is written in the configuration.
    pub provenance: Option<Arc<Provenance>>,
}

/// A rule that a task asks for: `weir.listener`, `weir.priority`, `weir.host`, `weir.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRule {
    /// The load balancer whose listener gets the rule.
    pub load_balancer: LoadBalancerName,
    /// The port of that listener; `None` where the load balancer has only one application listener.
    pub port: Option<u16>,
    /// Its place among the rules of the listener.
    pub priority: Priority,
    /// A host, a path or both. At least one.
    pub conditions: Vec<Condition>,
}

impl LabelRule {
    /// The listener as the label names it: `edge:8080`, or `edge`.
    pub fn listener(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.load_balancer),
            None => self.load_balancer.to_string(),
        }
    }
}

impl<G> Rule<G> {
    /// Whether both are made of labels and do the same: two tasks of one service ask for one rule.
    pub fn is_same_label_rule(&self, other: &Self) -> bool
    where
        G: PartialEq,
    {
        self.provenance.is_some()
            && other.provenance.is_some()
            && (self.priority, &self.conditions, &self.action)
                == (other.priority, &other.conditions, &other.action)
    }

    /// Whether every condition matches.
    pub fn matches(&self, head: &Head<'_>, client: ClientAddr) -> bool {
        self.conditions.iter().all(|condition| condition.matches(head, client))
    }
}

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<G> {
    /// Asks first who it is, then does something else.
    Authenticate(Arc<Authenticated<G>>),
    /// Answers with a fixed response.
    FixedResponse(Arc<FixedResponse>),
    /// Sends the request to a target of one of these groups.
    Forward(Forward<G>),
    /// Sends the client elsewhere.
    Redirect(Arc<Redirect>),
}

impl<G> Action<G> {
    /// The same action with every group replaced by what `resolve` gives for it.
    pub fn map_groups<H>(&self, mut resolve: impl FnMut(&G) -> H) -> Action<H> {
        match self {
            Self::Authenticate(asked) => Action::Authenticate(Arc::new(Authenticated {
                by: asked.by.clone(),
                // Not in this very function, whose type would have no end.
                then: asked.then.map_groups(&mut resolve as &mut dyn FnMut(&G) -> H),
            })),
            Self::FixedResponse(fixed) => Action::FixedResponse(fixed.clone()),
            Self::Forward(forward) => Action::Forward(forward.map_groups(resolve)),
            Self::Redirect(redirect) => Action::Redirect(redirect.clone()),
        }
    }
}

/// One to five weighted groups.
///
/// The weight is applied to each request, independently of health: a group without a usable target keeps its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward<G> {
    /// The groups with their weights, 0 to 999. At least one weight is above zero, or the whole action answers 503.
    pub groups: Vec<(G, u16)>,
    /// For how long after its last request a client stays in the group that was drawn for it, if it does.
    pub stickiness: Option<Duration>,
}

impl<G> Forward<G> {
    /// Everything to one group.
    pub fn to(group: G) -> Self {
        Self { groups: vec![(group, 1)], stickiness: None }
    }

    /// Draws a group by weight; `None` when every weight is zero. One draw of `random` when there is a choice.
    pub fn draw(&self, random: &mut fastrand::Rng) -> Option<&G> {
        self.at(|total| random.u32(0..total))
    }

    /// The group of a flow, by the hash of its key: the same on every machine, in shares by weight. `None` when every weight
    /// is zero.
    pub fn of_key(&self, key: u64) -> Option<&G> {
        // The upper half: targets are chosen by the remainder, which depends on the lower one.
        self.at(|total| (((key >> 32) * u64::from(total)) >> 32) as u32)
    }

    /// The group at a place between zero and the sum of all weights, which `place` is given.
    fn at(&self, place: impl FnOnce(u32) -> u32) -> Option<&G> {
        if let [(group, weight)] = self.groups.as_slice() {
            return (*weight > 0).then_some(group);
        }
        let total: u32 = self.groups.iter().map(|(_, weight)| u32::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut place = place(total);
        for (group, weight) in &self.groups {
            match place.checked_sub(u32::from(*weight)) {
                Some(rest) => place = rest,
                None => return Some(group),
            }
        }
        None
    }

    /// The same action with every group replaced by what `resolve` gives for it.
    pub fn map_groups<H>(&self, mut resolve: impl FnMut(&G) -> H) -> Forward<H> {
        let groups = self.groups.iter().map(|(group, weight)| (resolve(group), *weight)).collect();
        Forward { groups, stickiness: self.stickiness }
    }
}

/// A response that weir gives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// 2xx, 4xx or 5xx.
    pub status: u16,
    /// One of AWS's five content types; `None` sends no body and no type.
    pub content_type: Option<&'static str>,
    /// At most 1024 bytes.
    pub body: String,
}

impl FixedResponse {
    /// The content types that AWS allows.
    pub const CONTENT_TYPES: [&'static str; 5] =
        ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];
    /// Longest body in bytes.
    pub const BODY_BYTES_MAX: usize = 1024;
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A2.3.3
    #[test]
    fn a_draw_follows_the_weights_and_never_takes_weight_zero() {
        let forward = Forward { groups: vec![("a", 9), ("b", 1), ("c", 0)], stickiness: None };
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            match forward.draw(&mut random) {
                Some(&"a") => counts[0] += 1,
                Some(&"b") => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        assert_eq!(counts[2], 0);
        assert!((8_900..9_100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn all_weights_zero_draw_nothing() {
        let forward = Forward { groups: vec![("a", 0), ("b", 0)], stickiness: None };
        assert_eq!(forward.draw(&mut fastrand::Rng::with_seed(1)), None);
    }
}

//! Why a request goes where it goes: the decision of [`decide`], with all that led to it.
//!
//! The decision is made by the very code that serves; this module only shows what that code saw. What it lacks: clock, I/O,
//! text.

use std::sync::Arc;
use std::time::Duration;

use crate::address::ClientAddr;
use crate::balance::{WorkerState, estimate, load, share_of_turns};
use crate::comparison::Arm;
use crate::decide::{Acted, Decision, Outcome, act, decide};
use crate::definition::{HashOn, ListenerKind};
use crate::head::Head;
use crate::rule::{Action, FixedResponse, Rule, Transforms};
use crate::snapshot::{Group, GroupIndex, Listener, Member, Snapshot, Unavailable};
use crate::sticky::Affinity;
use crate::target::Target;
use crate::time::{Moment, Timestamp};

/// What becomes of a request, and why.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// The rules that were tried, by priority, down to the one that matched.
    pub tried: Vec<Tried<'a>>,
    /// Rules behind that one, at which nobody looks.
    pub untried: usize,
    /// The rule that matched; `None` is the default rule, and listeners that have no rules.
    pub rule: Option<&'a Rule<GroupIndex>>,
    /// How it asks who it is before that. What follows is what becomes of a request that passes.
    pub authentication: Option<&'static str>,
    /// What that does with requests; `None` on listeners without rules, which forward.
    pub action: Option<&'a Action<GroupIndex>>,
    /// What targets are asked for instead.
    pub transforms: Option<Arc<Transforms>>,
    /// What the request's cookies came to.
    pub affinity: Option<Affinity>,
    /// The arm that it is in, where its group compares algorithms.
    pub arm: Option<Arm>,
    /// What its target is picked by, where that is hashed.
    pub hashed: Option<Hashed<'a>>,
    /// What becomes of it.
    pub fate: Fate<'a>,
}

/// What a target is picked by that is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    /// What is hashed.
    pub on: &'a HashOn,
    /// Whether the request has it; one that has not goes to any target.
    pub is_there: bool,
}

/// A rule that was tried.
#[derive(Debug)]
pub struct Tried<'a> {
    /// The rule.
    pub rule: &'a Rule<GroupIndex>,
    /// Whether each of its conditions matches, in order.
    pub conditions: Vec<bool>,
}

impl Tried<'_> {
    /// Whether all of them do.
    pub fn matches(&self) -> bool {
        self.conditions.iter().all(|matches| *matches)
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Fate<'a> {
    /// A provider has sent the client back from its login, which is finished.
    Callback,
    /// It goes to a target.
    Forward {
        /// The group that was drawn.
        group: &'a Arc<Group>,
        /// The target that was picked. It does not count as picked.
        target: Arc<Target>,
    },
    /// It waits for a target of the group, at most for so long.
    Hold {
        /// The group that was drawn.
        group: &'a Arc<Group>,
        /// The longest wait.
        limit: Duration,
    },
    /// It gets 503: whoever may be picked has as much to do as it may have.
    Busy {
        /// The group that was drawn.
        group: &'a Arc<Group>,
    },
    /// It gets 503: no target may be picked.
    NoTarget {
        /// The group that was drawn; `None` when every weight is zero.
        group: Option<&'a Arc<Group>>,
    },
    /// The client is sent elsewhere; without a location that was too long.
    Redirect {
        /// 301 or 302.
        status: u16,
        /// The whole `Location`.
        location: Option<String>,
    },
    /// It gets this response.
    Respond(Arc<FixedResponse>),
}

impl<'a> Fate<'a> {
    /// The group that was drawn, where one was.
    pub fn group(&self) -> Option<&'a Arc<Group>> {
        match self {
            Self::Busy { group } | Self::Forward { group, .. } | Self::Hold { group, .. } => Some(group),
            Self::NoTarget { group } => *group,
            Self::Callback | Self::Redirect { .. } | Self::Respond(_) => None,
        }
    }
}

/// What a group's algorithm sees of a member.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The member.
    pub member: &'a Member,
    /// Whether it may be picked.
    pub is_eligible: bool,
    /// Whether it may have one more request.
    pub has_room: bool,
    /// Whether it has no more under way than what is hashed to it may have.
    pub is_within_bounds: bool,
    /// The part of its turns that it takes while it starts slowly: 0.1 to 1.
    pub share_of_turns: Option<f64>,
    /// Where the algorithm asks for it: requests in flight relative to its weight, with this one, or milliseconds until it would be
    /// answered. The least of all, or of two, is picked.
    pub load: Option<f64>,
    /// Where probes decide: what one more request would take by what weir counts.
    pub estimate: Option<Duration>,
}

/// Decides what is to be done with a request, as [`decide`] does for `worker`, and says why. Counts nothing.
pub fn explain<'a>(
    snapshot: &'a Snapshot,
    listener: &'a Listener,
    head: &Head<'_>,
    client: ClientAddr,
    worker: &mut WorkerState,
    moment: Moment,
) -> Explanation<'a> {
    let Decision { rule, mut outcome, transforms, mut affinity, mut arm, .. } =
        decide(snapshot, listener, head, client, worker, moment);
    let mut authentication = None;
    if let Outcome::Authenticate(asked) = &outcome {
        let asked = asked.clone();
        authentication = Some(asked.by.as_str());
        Acted { outcome, affinity, arm, .. } = act(snapshot, &asked.then, head, client, worker, moment);
    }
    let rules = listener.kind.rules();
    let matched = rule.and_then(|priority| rules.iter().position(|rule| rule.priority == priority));
    let tried = rules[..matched.map_or(rules.len(), |at| at + 1)].iter().map(|rule| {
        let conditions = rule.conditions.iter().map(|condition| condition.matches(head, client));
        Tried { rule, conditions: conditions.collect() }
    });
    let tried: Vec<Tried<'_>> = tried.collect();
    let default = match &listener.kind {
        ListenerKind::Application { default_action, .. } => Some(default_action),
        _ => None,
    };
    let fate = fate(outcome, snapshot);
    let hashing = fate.group().and_then(|group| group.hashing(arm));
    let hashed =
        hashing.map(|hashing| Hashed { on: &hashing.on, is_there: hashing.key(head, client).is_some() });
    Explanation {
        untried: rules.len() - tried.len(),
        tried,
        rule: matched.map(|at| &rules[at]),
        authentication,
        action: matched.map(|at| &rules[at].action).or(default).map(|action| match action {
            Action::Authenticate(asked) => &asked.then,
            action => action,
        }),
        transforms,
        affinity,
        arm,
        hashed,
        fate,
    }
}

fn fate(outcome: Outcome, snapshot: &Snapshot) -> Fate<'_> {
    match outcome {
        Outcome::Forward { group, lease } => match snapshot.group(group) {
            Some(group) => Fate::Forward { group, target: lease.withdraw() },
            None => Fate::NoTarget { group: None },
        },
        // No authentication stands behind another.
        Outcome::Callback(_) | Outcome::Authenticate(_) => Fate::Callback,
        Outcome::Redirect { status, location } => Fate::Redirect { status, location },
        Outcome::Respond(fixed) => Fate::Respond(fixed),
        Outcome::Unavailable { group, why } => match (group.and_then(|group| snapshot.group(group)), why) {
            (Some(group), Unavailable::Busy) => Fate::Busy { group },
            (Some(group), Unavailable::Hold(limit)) => Fate::Hold { group, limit },
            (group, _) => Fate::NoTarget { group },
        },
    }
}

/// Every member of a group, as the algorithm of an arm sees it at `now`, or its own where nothing is compared.
pub fn candidates(group: &Group, arm: Option<Arm>, now: Timestamp) -> impl Iterator<Item = Candidate<'_>> {
    let (settings, algorithm) = (&group.settings, group.algorithm(arm));
    group.members.iter().enumerate().map(move |(at, member)| {
        let tally = &member.target.tally;
        let age = if settings.slow_start.is_zero() { None } else { tally.slow_start_age(now) };
        Candidate {
            member,
            is_eligible: group.is_eligible(at),
            has_room: group.has_room(member),
            is_within_bounds: group.is_within_bounds(arm, at),
            share_of_turns: age.map(|age| share_of_turns(age, settings.slow_start)),
            load: load(algorithm, member, now),
            estimate: estimate(algorithm, member, now),
        }
    })
}

#[cfg(test)]
mod tests;

//! The decision about one request: which rule, which action, which group, which target.
//!
//! Listener, `explain` and replay call the same function. What this module lacks: clock, I/O, locks, allocation (but
//! for a redirect's `Location`).

use std::sync::Arc;

use crate::address::ClientAddr;
use crate::authentication::{Authenticated, CALLBACK_PATH, Oidc};
use crate::balance::{PickContext, WorkerState};
use crate::comparison::Arm;
use crate::definition::ListenerKind;
use crate::head::Head;
use crate::lease::Lease;
use crate::rule::{Action, FixedResponse, Priority, Transforms};
use crate::snapshot::{Group, GroupIndex, Listener, Snapshot, Unavailable};
use crate::sticky::{self, Affinity, Fingerprint};
use crate::time::Moment;

/// What is to be done with a request.
#[derive(Debug)]
pub struct Decision {
    /// The rule that matched; `None` is the default rule, and classic listeners, which have no rules.
    pub rule: Option<Priority>,
    /// What its action came to.
    pub outcome: Outcome,
    /// What its target is asked for instead.
    pub transforms: Option<Arc<Transforms>>,
    /// What its cookies came to, where clients stick to a group or to a target.
    pub affinity: Option<Affinity>,
    /// What its target is picked by, where it is hashed.
    pub key: u64,
    /// The arm that it is in, where its group compares algorithms.
    pub arm: Option<Arm>,
    /// Whether the listener tells targets who has logged in, so that no client may say so itself.
    pub tells_identity: bool,
}

/// What an action came to, with what the request's cookies had to do with it.
#[derive(Debug)]
pub struct Acted {
    /// What it came to.
    pub outcome: Outcome,
    /// What the request's cookies came to, where clients stick to a group or to a target.
    pub affinity: Option<Affinity>,
    /// What its target is picked by, where it is hashed.
    pub key: u64,
    /// The arm that it is in, where its group compares algorithms.
    pub arm: Option<Arm>,
}

/// What an action came to.
#[derive(Debug)]
pub enum Outcome {
    /// Ask who it is; who passes goes on with [`act`]. No target has been picked yet.
    Authenticate(Arc<Authenticated<GroupIndex>>),
    /// A provider has sent the client back, after one of these logins.
    Callback(Arc<[Arc<Oidc>]>),
    /// Send the request to the leased target.
    Forward {
        /// The group that was drawn, for another pick should this target fail.
        group: GroupIndex,
        /// The picked target.
        lease: Lease,
    },
    /// Answer with this.
    Respond(Arc<FixedResponse>),
    /// Send the client elsewhere; without a location it was too long (507).
    Redirect {
        /// 301 or 302.
        status: u16,
        /// The whole `Location`; `None` when it would be longer than allowed.
        location: Option<String>,
    },
    /// No target of the group may be picked; see [`Unavailable`].
    Unavailable {
        /// The group that was drawn; `None` when every group has weight zero.
        group: Option<GroupIndex>,
        /// Why, and whether waiting may help.
        why: Unavailable,
    },
}

impl Outcome {
    /// The action's name in AWS's access log.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Authenticate(_) | Self::Callback(_) => "authenticate",
            Self::Forward { .. } | Self::Unavailable { .. } => "forward",
            Self::Redirect { .. } => "redirect",
            Self::Respond(_) => "fixed-response",
        }
    }
}

/// Decides what is to be done with a request that arrived at `listener`.
///
/// Time is proportional to the number of rules under the request's host and path (see [`crate::rule::RuleIndex`]), and to
/// that of targets; no allocation except for a redirect.
pub fn decide(
    snapshot: &Snapshot,
    listener: &Listener,
    head: &Head<'_>,
    client: ClientAddr,
    worker: &mut WorkerState,
    moment: Moment,
) -> Decision {
    let tells_identity = !listener.logins.is_empty();
    let (rule, action, transforms) = match &listener.kind {
        ListenerKind::Application { rules, default_action, .. } => {
            if tells_identity && head.path == CALLBACK_PATH {
                let outcome = Outcome::Callback(listener.logins.clone());
                return Decision {
                    rule: None,
                    outcome,
                    transforms: None,
                    affinity: None,
                    key: 0,
                    arm: None,
                    tells_identity,
                };
            }
            match listener.rule_index.first_match(rules, head, client) {
                Some(rule) => (Some(rule.priority), &rule.action, rule.transforms.clone()),
                None => (None, default_action, None),
            }
        }
        ListenerKind::Classic(classic) => {
            let mut affinity = None;
            let request =
                sticky::Request { snapshot, headers: head.headers, wall_seconds: moment.wall_seconds };
            let group = snapshot.group(classic.group);
            let pinned = group.and_then(|group| pin(group, request, &mut affinity));
            let context = PickContext { key: 0, now: moment.now, avoid: &[], pinned, arm: None };
            let outcome = forward(snapshot, classic.group, worker, &context);
            return Decision {
                rule: None,
                outcome,
                transforms: None,
                affinity,
                key: 0,
                arm: None,
                tells_identity,
            };
        }
        // A flow has no request; see [`crate::route`].
        ListenerKind::Network(_) => {
            let outcome = Outcome::Unavailable { group: None, why: Unavailable::NoTarget };
            return Decision {
                rule: None,
                outcome,
                transforms: None,
                affinity: None,
                key: 0,
                arm: None,
                tells_identity,
            };
        }
    };
    let Acted { outcome, affinity, key, arm } = act(snapshot, action, head, client, worker, moment);
    Decision { rule, outcome, transforms, affinity, key, arm, tells_identity }
}

/// What an action comes to: the last step of [`decide`], or what follows an authentication.
pub fn act(
    snapshot: &Snapshot,
    action: &Action<GroupIndex>,
    head: &Head<'_>,
    client: ClientAddr,
    worker: &mut WorkerState,
    Moment { now, wall_seconds }: Moment,
) -> Acted {
    let (mut affinity, mut key, mut arm) = (None, 0, None);
    let outcome = match action {
        Action::Authenticate(asked) => Outcome::Authenticate(asked.clone()),
        Action::FixedResponse(fixed) => Outcome::Respond(fixed.clone()),
        Action::Redirect(redirect) => {
            Outcome::Redirect { status: redirect.status, location: redirect.location(head) }
        }
        Action::Forward(groups) => {
            let request = sticky::Request { snapshot, headers: head.headers, wall_seconds };
            let drawn = match groups.stickiness {
                None => groups.draw(&mut worker.random).copied(),
                Some(time) => sticky::draw(groups, time, request, &mut worker.random, &mut affinity),
            };
            match drawn.and_then(|group| snapshot.group(group)) {
                Some(group) => {
                    let pinned = pin(group, request, &mut affinity);
                    arm = group.arm(client);
                    key = group.key(arm, head, client, worker);
                    lease(group, worker, &PickContext { key, now, avoid: &[], pinned, arm })
                }
                None => Outcome::Unavailable { group: drawn, why: Unavailable::NoTarget },
            }
        }
    };
    Acted { outcome, affinity, key, arm }
}

/// The target of `group` that a request sticks to, if its clients do.
fn pin(group: &Group, request: sticky::Request<'_>, affinity: &mut Option<Affinity>) -> Option<Fingerprint> {
    sticky::pinned(group.stickiness()?, group, request, affinity)
}

/// Picks a target of `group`: the last step of [`act`], and the whole decision for a flow or another attempt.
pub fn forward(
    snapshot: &Snapshot,
    group: GroupIndex,
    worker: &mut WorkerState,
    context: &PickContext<'_>,
) -> Outcome {
    match snapshot.group(group) {
        Some(group) => lease(group, worker, context),
        None => Outcome::Unavailable { group: Some(group), why: Unavailable::NoTarget },
    }
}

fn lease(group: &Group, worker: &mut WorkerState, context: &PickContext<'_>) -> Outcome {
    match group.lease(worker, context) {
        Ok(lease) => Outcome::Forward { group: group.index, lease },
        Err(why) => Outcome::Unavailable { group: Some(group.index), why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::{Authentication, JwtValidation, OnUnauthenticated};
    use crate::definition::Algorithm;
    use crate::name::LoadBalancerName;
    use crate::pattern::{Case, Pattern};
    use crate::rule::{Condition, Forward, Rule};
    use crate::snapshot::ListenerIndex;
    use crate::snapshot::testing;

    fn rule(priority: u16, path: &str, action: Action<GroupIndex>) -> Rule<GroupIndex> {
        let pattern = Pattern::parse(path, Case::Sensitive).unwrap();
        Rule {
            priority: Priority::new(priority).unwrap(),
            conditions: vec![Condition::PathPattern(vec![pattern])],
            action,
            transforms: None,
            provenance: None,
        }
    }

    fn fixed(status: u16) -> Action<GroupIndex> {
        Action::FixedResponse(Arc::new(FixedResponse { status, content_type: None, body: String::new() }))
    }

    fn decide_path(rules: Vec<Rule<GroupIndex>>, path: &str) -> Decision {
        let group = testing::group(Algorithm::RoundRobin, testing::members(&[(1, 1)]));
        let mut listener = Listener {
            index: ListenerIndex(0),
            load_balancer: LoadBalancerName::parse("edge").unwrap(),
            idle_timeout: std::time::Duration::from_secs(60),
            logs: crate::logs::Logs::default(),
            http: crate::definition::HttpSettings::default(),
            bind: crate::address::ListenAddr("127.0.0.1:80".parse().unwrap()),
            proxies: None,
            rule_index: crate::rule::RuleIndex::new(&rules),
            logins: Arc::default(),
            kind: ListenerKind::Application {
                headers: Arc::default(),
                tls: None,
                rules,
                default_action: Action::Forward(Forward::to(GroupIndex(0))),
            },
        };
        listener.logins = crate::authentication::logins(&listener.kind);
        let snapshot = Snapshot::new(1, Vec::new(), vec![Some(Arc::new(group))]);
        let headers = Vec::new();
        let head = Head {
            scheme: "http",
            method: "GET",
            host: "h",
            port: 80,
            path,
            normal_path: path,
            query: None,
            headers: &headers,
        };
        let client = ClientAddr("127.0.0.1:9".parse().unwrap());
        decide(&snapshot, &listener, &head, client, &mut WorkerState::seeded(1), Moment::default())
    }

    // Conformance: A2.0.2
    #[test]
    fn the_lower_priority_number_wins() {
        let rules = vec![rule(1, "/a*", fixed(404)), rule(2, "/a/b", fixed(403))];
        let decision = decide_path(rules, "/a/b");
        assert_eq!(decision.rule, Priority::new(1));
        assert!(matches!(decision.outcome, Outcome::Respond(fixed) if fixed.status == 404));
    }

    // Conformance: A1.1, A2.0.3
    #[test]
    fn the_default_action_takes_what_no_rule_matches() {
        let decision = decide_path(vec![rule(1, "/a", fixed(404))], "/b");
        assert_eq!(decision.rule, None);
        assert!(matches!(decision.outcome, Outcome::Forward { group: GroupIndex(0), .. }));
    }

    fn asking(by: Authentication) -> Action<GroupIndex> {
        let then = Action::Forward(Forward::to(GroupIndex(0)));
        Action::Authenticate(Arc::new(Authenticated { by, then }))
    }

    // Conformance: A6.2
    #[test]
    fn who_it_is_is_asked_before_a_target_is_picked() {
        let url = "https://id.example/keys".parse().unwrap();
        let wanted =
            JwtValidation { issuer: String::new(), jwks_endpoint: url, additional_claims: Vec::new() };
        let rules = vec![rule(1, "/a", asking(Authentication::Jwt(Arc::new(wanted))))];
        let decision = decide_path(rules.clone(), "/a");
        assert!(matches!(decision.outcome, Outcome::Authenticate(_)) && !decision.tells_identity);
        assert!(matches!(decide_path(rules, CALLBACK_PATH).outcome, Outcome::Forward { .. }));
    }

    // Conformance: A2.3.29
    #[test]
    fn a_listener_with_a_login_takes_clients_back_before_any_rule() {
        let url = || "https://id.example/".parse().unwrap();
        let oidc = Oidc {
            issuer: String::new(),
            authorization_endpoint: url(),
            token_endpoint: url(),
            user_info_endpoint: url(),
            client_id: String::new(),
            client_secret: crate::tls::NamedFile::new(std::path::Path::new("s"), 1),
            scope: "openid".to_owned(),
            session_cookie_name: String::new(),
            session_timeout: Oidc::SESSION_TIMEOUT_MAX,
            on_unauthenticated_request: OnUnauthenticated::Authenticate,
            authentication_request_extra_params: Vec::new(),
        };
        let rules = vec![
            rule(1, "/oauth2/*", fixed(404)),
            rule(2, "/a", asking(Authentication::Oidc(Arc::new(oidc)))),
        ];
        for (path, is_callback) in [(CALLBACK_PATH, true), ("/oauth2/other", false), ("/a", false)] {
            let decision = decide_path(rules.clone(), path);
            assert_eq!(matches!(decision.outcome, Outcome::Callback(_)), is_callback, "{path}");
            assert!(decision.tells_identity, "{path}");
        }
    }

    #[test]
    fn a_group_that_is_gone_gives_no_target() {
        let rules = vec![rule(1, "/a", Action::Forward(Forward::to(GroupIndex(7))))];
        let outcome = decide_path(rules, "/a").outcome;
        assert!(matches!(outcome, Outcome::Unavailable { why: Unavailable::NoTarget, .. }));
    }
}

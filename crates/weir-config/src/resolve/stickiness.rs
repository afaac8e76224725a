//! Stickiness of target groups and of forward actions, and what goes with what.

use std::time::Duration;

use weir_core::definition::Algorithm;
use weir_core::name::GroupName;
use weir_core::sticky::{
    COOKIE_NAME_BYTES_MAX, DURATION, DURATION_MAX, DURATION_MIN, FOR_EVER, RESERVED, Stickiness,
    StickinessKind,
};

use super::Groups;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

/// How clients of a classic listener stick to its instances.
pub(super) fn of_classic(node: &Node, reader: &mut Reader<'_>) -> Option<Stickiness> {
    let fields = reader.fields(node, &keys::STICKINESS)?;
    let types = [("lb_cookie", Type::LoadBalancer), ("app_cookie", Type::Application)];
    let kind = match fields.get("type") {
        Some(node) => reader.choice(node, &types),
        None => Some(Type::LoadBalancer),
    };
    let (duration, name) = (fields.get("duration"), fields.get("cookie_name"));
    let kind = match kind? {
        Type::Application => {
            if let Some(node) = duration {
                let cause = "a cookie that accompanies the application's lasts as long as that";
                reader.problem(node, cause, Some("take it out"));
            }
            let node = name.or_else(|| fields.require(reader, "cookie_name", "session"))?;
            StickinessKind::ClassicApplicationCookie(cookie_name(node, reader)?.into())
        }
        Type::LoadBalancer => {
            if let Some(node) = name {
                reader.problem(node, COOKIE_NAME_IS_OF_APPLICATIONS, Some(WRITE_APP_COOKIE));
            }
            let kept = duration.and_then(|node| reader.duration(node, Duration::ZERO..=FOR_EVER));
            StickinessKind::ClassicCookie(kept.filter(|kept| !kept.is_zero()))
        }
    };
    Some(Stickiness { kind, duration: FOR_EVER })
}

/// The two types as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Application,
    LoadBalancer,
}

const COOKIE_NAME_IS_OF_APPLICATIONS: &str = "`cookie_name` goes with `type: app_cookie`";
const WRITE_APP_COOKIE: &str = "write `type: app_cookie`, or take it out";

/// How clients stick to the targets of a group that speaks HTTP and picks by `algorithm`.
pub(super) fn of_group(node: &Node, algorithm: Algorithm, reader: &mut Reader<'_>) -> Option<Stickiness> {
    let fields = reader.fields(node, &keys::STICKINESS)?;
    if algorithm == Algorithm::WeightedRandom {
        let cause = "stickiness does not go with weighted_random";
        reader.problem(node, cause, Some("take it out, or use round_robin or least_outstanding_requests"));
    }
    let types = [("lb_cookie", Type::LoadBalancer), ("app_cookie", Type::Application)];
    let kind = match fields.get("type") {
        Some(node) => reader.choice(node, &types),
        None => Some(Type::LoadBalancer),
    };
    let duration = fields.get("duration").map(|node| duration(node, reader));
    let kind = match kind? {
        Type::Application => {
            let node = fields.require(reader, "cookie_name", "session")?;
            StickinessKind::ApplicationCookie(cookie_name(node, reader)?.into())
        }
        Type::LoadBalancer => {
            if let Some(node) = fields.get("cookie_name") {
                reader.problem(node, COOKIE_NAME_IS_OF_APPLICATIONS, Some(WRITE_APP_COOKIE));
            }
            StickinessKind::LoadBalancerCookie
        }
    };
    Some(Stickiness { kind, duration: duration.unwrap_or(Some(DURATION))? })
}

fn duration(node: &Node, reader: &mut Reader<'_>) -> Option<Duration> {
    let duration = reader.duration(node, DURATION_MIN..=DURATION_MAX)?;
    if duration.subsec_millis() != 0 {
        reader.problem(node, "a client sticks for whole seconds", Some("write `1s` or more"));
    }
    Some(duration)
}

fn cookie_name<'n>(node: &'n Node, reader: &mut Reader<'_>) -> Option<&'n str> {
    let text = reader.text(node)?;
    if text.starts_with(RESERVED) {
        let cause = format!("{text:?} begins like the load balancer's own cookies, {RESERVED}");
        reader.problem(node, &cause, Some("name the cookie that the application sets"));
    }
    if text.is_empty() || text.len() > COOKIE_NAME_BYTES_MAX || !text.bytes().all(is_of_token) {
        let remedy =
            format!("it has 1 to {COOKIE_NAME_BYTES_MAX} letters, digits and signs, like `JSESSIONID`");
        reader.problem(node, &format!("{text:?} is not the name of a cookie"), Some(&remedy));
    }
    Some(text)
}

/// Whether a name may have this byte. Source: RFC 6265 section 4.1.1, RFC 9110 section 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// For how long clients stay in the group of a forward action, if they do; `groups` are those that it names.
pub(super) fn of_action(
    fields: Fields<'_>,
    weighted: &[(GroupName, u16)],
    groups: &Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let written = fields.get("stickiness");
    let time = written.and_then(|node| {
        let fields = reader.fields(node, &keys::FORWARD_STICKINESS)?;
        duration(fields.require(reader, "duration", "1h")?, reader)
    });
    if let [_] = weighted {
        if let Some(node) = written {
            let cause = "with one target group there is no other for a client to go to";
            reader.warning(node, cause, Some("take it out"));
        }
        return None;
    }
    for (name, _) in weighted {
        let Some(kind) = groups.named.get(name).and_then(|group| group.stickiness.as_ref()) else { continue };
        match kind {
            StickinessKind::ApplicationCookie(_) => {
                let cause = format!(
                    "target group {:?} has clients stick by app_cookie, which does not go with weighted groups",
                    name.as_str()
                );
                reader.problem(fields.node(), &cause, Some("give the group `type: lb_cookie`"));
            }
            StickinessKind::LoadBalancerCookie if written.is_none() => {
                let cause = format!(
                    "clients stick to targets of {:?}, and nothing keeps them in that group",
                    name.as_str()
                );
                reader.problem(
                    fields.node(),
                    &cause,
                    Some("add `stickiness: { duration: 1h }` to the action"),
                );
            }
            // Nobody else names the groups of classic listeners.
            StickinessKind::LoadBalancerCookie
            | StickinessKind::ClassicApplicationCookie(_)
            | StickinessKind::ClassicCookie(_) => {}
        }
    }
    time
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::definition::ListenerKind;
    use weir_core::rule::Action;

    use super::*;
    use crate::Loaded;

    /// A configuration of two groups, the second one plain, with an action.
    fn parse(group: &str, action: &str) -> Result<Loaded, String> {
        let text = format!(
            "target_groups: [{{ name: web, {group} }}, {{ name: api }}]\n\
             load_balancers: [{{ type: application, name: edge, listeners: [{{ bind: \"127.0.0.1:0\", \
             rules: [{{ priority: 1, conditions: [{{ path_pattern: [/api] }}], actions: [{{ forward: api }}] }}], \
             default_action: {{ forward: {action} }} }}] }}]\n"
        );
        crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())
    }

    fn group(group: &str) -> Result<Option<Stickiness>, String> {
        Ok(parse(group, "web")?.config.definitions.target_groups[0].stickiness.clone())
    }

    const WEIGHTED: &str = "target_groups: [{ name: web, weight: 9 }, { name: api }]";

    // Conformance: A3.1.2, A3.1.3, A3.1.4, A3.1.6
    #[test]
    fn stickiness_is_off_or_has_aws_s_defaults() {
        assert_eq!(group("protocol: http"), Ok(None));
        let of_day = |kind| Ok(Some(Stickiness { kind, duration: Duration::from_secs(86_400) }));
        assert_eq!(group("stickiness: {}"), of_day(StickinessKind::LoadBalancerCookie));
        assert_eq!(group("stickiness: { type: lb_cookie }"), of_day(StickinessKind::LoadBalancerCookie));
        let named = of_day(StickinessKind::ApplicationCookie("JSESSIONID".into()));
        assert_eq!(group("stickiness: { type: app_cookie, cookie_name: JSESSIONID }"), named);
        let week = group("stickiness: { duration: 7d }").map(|stickiness| stickiness.unwrap().duration);
        assert_eq!(week, Ok(DURATION_MAX));
    }

    // Conformance: A3.1.3, A3.1.4, A3.1.5, A3.3.10
    #[test]
    fn what_does_not_go_together_is_refused_at_its_line_with_a_remedy() {
        for (settings, expected) in [
            ("stickiness: { duration: 0s }", "out of range"),
            ("stickiness: { duration: 8d }", "write a duration from 1s to 604800s"),
            ("stickiness: { duration: 1500ms }", "sticks for whole seconds"),
            ("stickiness: { type: cookie }", "did you mean `lb_cookie`?"),
            ("stickiness: { type: app_cookie }", "cookie_name"),
            ("stickiness: { type: app_cookie, cookie_name: AWSALBX }", "begins like the load balancer's own"),
            ("stickiness: { type: app_cookie, cookie_name: \"a b\" }", "is not the name of a cookie"),
            ("stickiness: { type: app_cookie, cookie_name: \"\" }", "cookie_name"),
            ("stickiness: { cookie_name: session }", "goes with `type: app_cookie`"),
            ("stickiness: {}, load_balancing_algorithm: weighted_random", "use round_robin"),
        ] {
            let told = group(settings).unwrap_err();
            assert!(
                told.contains(expected) && told.contains("target_groups[0].stickiness"),
                "{settings}: {told}"
            );
            assert!(told.contains("weir.yaml:1:"), "{told}");
        }
    }

    // Conformance: A2.3.7
    #[test]
    fn an_action_has_clients_stay_in_their_group() {
        let loaded =
            parse("stickiness: {}", &format!("{{ {WEIGHTED}, stickiness: {{ duration: 1h }} }}")).unwrap();
        assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
        let kind = &loaded.config.definitions.load_balancers[0].listeners[0].kind;
        let ListenerKind::Application { default_action: Action::Forward(forward), .. } = kind else {
            panic!("{kind:?}")
        };
        assert_eq!(forward.stickiness, Some(Duration::from_secs(3600)));
    }

    // Conformance: A2.3.7, A2.3.8, A3.4.13
    #[test]
    fn aws_s_rules_for_weighted_groups_are_kept() {
        let refused = |group: &str, stickiness: &str| {
            parse(group, &format!("{{ {WEIGHTED}{stickiness} }}")).map(|_| ()).unwrap_err()
        };
        let told = refused("stickiness: {}", "");
        assert!(
            told.contains("nothing keeps them in that group") && told.contains("default_action"),
            "{told}"
        );
        let told =
            refused("stickiness: { type: app_cookie, cookie_name: s }", ", stickiness: { duration: 1h }");
        assert!(told.contains("does not go with weighted groups"), "{told}");
        let told = refused("protocol: http", ", stickiness: {}");
        assert!(told.contains("duration"), "{told}");
        let told = refused("protocol: http", ", stickiness: { duration: 9d }");
        assert!(told.contains("out of range"), "{told}");
    }

    #[test]
    fn stickiness_between_one_group_and_itself_is_taken_with_a_warning() {
        let action = "{ target_groups: [{ name: web }], stickiness: { duration: 1h } }";
        let warnings = parse("stickiness: {}", action).unwrap().warnings;
        assert!(warnings[0].to_string().contains("there is no other"), "{warnings:?}");
    }
}

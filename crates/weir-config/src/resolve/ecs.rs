//! The source of tasks of Amazon ECS.

use weir_core::ecs::{Aws, EcsFrom, EcsSource};

use super::discovery::{bare_url, interval};
use super::list;
use super::swarm::addresses;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

/// Most services of a cluster that are named: each is a list of its own to ask for.
const SERVICES_MAX: usize = 100;

/// Whose addresses are written, and what one is called.
const INSTANCES: (&str, &str) = ("container instances", "i-0123456789abcdef0");

const AGENT: &str = "http://127.0.0.1:51678";

/// Whom a source asks, by the key that names it.
const WAYS: [(&str, &[&str]); 3] = [
    ("introspection", &["address"]),
    ("cloud_map", &["endpoint", "region"]),
    ("cluster", &["endpoint", "instance_addresses", "region", "services"]),
];

/// Reads the source.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<EcsSource> {
    let fields = reader.fields(node, &keys::ECS)?;
    let interval = interval(fields, reader);
    let Some((way, further)) = WAYS.into_iter().find(|(way, _)| fields.get(way).is_some()) else {
        let remedy = format!(
            "write `cluster: default` with a `region`, `introspection: {AGENT}`, or `cloud_map: {{ namespace: internal, \
             service: api }}` with a `region`"
        );
        reader.problem(node, "who is asked for tasks of ECS?", Some(&remedy));
        return None;
    };
    for key in WAYS.iter().flat_map(|(other, further)| std::iter::once(other).chain(*further)) {
        if let Some(node) = fields.get(key).filter(|_| *key != way && !further.contains(key)) {
            let remedy = format!("take it out, or `{way}`");
            reader.problem(node, &format!("`{key}` does not go with `{way}`"), Some(&remedy));
        }
    }
    let from = match way {
        "introspection" => introspection(fields, reader),
        "cloud_map" => cloud_map(fields, reader),
        _ => api(fields, reader),
    };
    Some(EcsSource { from: from?, interval })
}

fn introspection(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<EcsFrom> {
    let node = fields.get("introspection")?;
    let agent = bare_url(node, AGENT, reader)?;
    let address = match fields.get("address") {
        Some(node) => reader.parsed(node, "an IP address", "10.0.0.1")?,
        None => match agent.host().parse() {
            Ok(address) => address,
            Err(_) => {
                let cause = format!("the address of {} is not known", agent.host());
                reader.problem(node, &cause, Some("write the container instance's `address: 10.0.0.1`"));
                return None;
            }
        },
    };
    Some(EcsFrom::Introspection { agent, address })
}

fn cloud_map(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<EcsFrom> {
    let aws = aws(fields, reader);
    let fields = reader.fields(fields.get("cloud_map")?, &keys::CLOUD_MAP)?;
    let mut text = |name, example| {
        fields.require(reader, name, example).and_then(|node| reader.text(node)).map(str::to_owned)
    };
    let (namespace, service) = (text("namespace", "internal"), text("service", "api"));
    Some(EcsFrom::CloudMap { aws: aws?, namespace: namespace?, service: service? })
}

fn api(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<EcsFrom> {
    let aws = aws(fields, reader);
    let cluster = fields.get("cluster").and_then(|node| reader.text(node)).map(str::to_owned);
    let listed = list(fields, "services");
    let services: Vec<String> =
        listed.iter().filter_map(|node| reader.text(node)).map(str::to_owned).collect();
    if let Some(node) = fields.get("services").filter(|_| !(1..=SERVICES_MAX).contains(&listed.len())) {
        let remedy = format!("name 1 to {SERVICES_MAX}, or take it out to follow every task of the cluster");
        reader.problem(node, &format!("{} services are written", listed.len()), Some(&remedy));
    }
    let instance_addresses = addresses(fields, "instance_addresses", INSTANCES, reader);
    Some(EcsFrom::Api { aws: aws?, cluster: cluster?, services, instance_addresses })
}

fn aws(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Aws> {
    let endpoint = fields
        .get("endpoint")
        .and_then(|node| bare_url(node, "https://ecs.eu-central-1.amazonaws.com", reader));
    let node = fields.require(reader, "region", "eu-central-1")?;
    let region = reader.text(node)?;
    if !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        reader.problem(node, &format!("{region:?} is not a region"), Some("write it like `eu-central-1`"));
    }
    Some(Aws { region: region.to_owned(), endpoint })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use weir_core::definition::TargetSelector;
    use weir_core::task::SourceKind;

    use super::*;
    use crate::{Config, Problems, parse};

    fn read(ecs: &str) -> Result<Config, Problems> {
        let text = format!(
            "discovery: {{ ecs: {ecs} }}\ntarget_groups: [{{ name: web, targets: [{{ ecs: {{ service: api, project: shop, container_port: 80 }} }}] }}]\nload_balancers: [{{ name: edge, type: application, listeners: [{{ bind: \"127.0.0.1:0\", default_action: {{ forward: web }} }}] }}]\n"
        );
        parse(&text, Path::new("weir.yaml")).map(|loaded| loaded.config)
    }

    fn source(ecs: &str) -> EcsSource {
        read(ecs).unwrap().discovery.ecs.unwrap()
    }

    #[test]
    fn a_cluster_is_read_with_its_selector() {
        let config = read("{ cluster: shop, region: eu-central-1, services: [api], instance_addresses: { i-1: 10.0.0.1 }, interval: 1s }").unwrap();
        let source = config.discovery.ecs.unwrap();
        assert_eq!(source.interval, Duration::from_secs(1));
        let EcsFrom::Api { aws, cluster, services, instance_addresses } = source.from else { panic!() };
        assert_eq!((aws.region.as_str(), aws.endpoint, cluster.as_str()), ("eu-central-1", None, "shop"));
        assert_eq!((services, instance_addresses.len()), (vec!["api".to_owned()], 1));
        let selector = &config.definitions.target_groups[0].targets[0];
        assert!(matches!(selector, TargetSelector::Tasks(tasks) if tasks.source == SourceKind::Ecs));
    }

    #[test]
    fn an_agent_and_a_cloud_map_service_are_read() {
        let agent = source("{ introspection: http://127.0.0.1:51678 }");
        assert_eq!(agent.interval, Duration::from_secs(10));
        let EcsFrom::Introspection { agent, address } = agent.from else { panic!() };
        assert_eq!((agent.port(), address.is_loopback()), (51678, true));
        let EcsFrom::CloudMap { namespace, aws, .. } =
            source("{ region: us-east-1, endpoint: \"http://127.0.0.1:5000\", cloud_map: { namespace: n, service: s } }").from
        else {
            panic!()
        };
        assert_eq!((namespace.as_str(), aws.endpoint.unwrap().port()), ("n", 5000));
    }

    #[test]
    fn a_mistake_is_told_with_the_remedy() {
        for (ecs, told) in [
            ("{}", "write `cluster: default`"),
            ("{ cluster: a }", "write `region: eu-central-1`"),
            ("{ cluster: a, region: EU }", "\"EU\" is not a region"),
            ("{ cluster: a, region: e, services: [] }", "0 services are written; name 1 to 100"),
            ("{ cluster: a, region: e, endpoint: \"http://a/b\" }", "has no path; write http://a"),
            ("{ cluster: a, region: e, instance_addresses: { i-1: x } }", "\"x\" is not an IP address"),
            ("{ cluster: a, region: e, instance_addresses: x }", "write `{ i-0123"),
            ("{ cluster: a, region: e, address: 10.0.0.1 }", "`address` does not go with `cluster`"),
            ("{ cluster: a, region: e, role_arn: x }", "`role_arn` is not supported yet"),
            ("{ introspection: http://ecs.local:51678 }", "write the container instance's `address"),
            ("{ introspection: http://127.0.0.1/v1/tasks }", "has no path; write http://127.0.0.1"),
            ("{ introspection: http://127.0.0.1, region: e }", "`region` does not go with `introspection`"),
            ("{ cloud_map: { namespace: n }, region: e }", "write `service: api`"),
        ] {
            let Problems(problems) = read(ecs).unwrap_err();
            // Groups that select tasks of a source that could not be read say so too.
            let all: Vec<String> = problems
                .iter()
                .map(|p| format!("{}; {}", p.cause, p.remedy.as_deref().unwrap_or_default()))
                .collect();
            assert!(all.iter().any(|problem| problem.contains(told)), "{ecs}: {all:?}");
        }
    }
}

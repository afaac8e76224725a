//! Sources of tasks.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_core::task::SourceKind;
use weir_core::url::HttpUrl;

use super::{ecs, list, swarm, target};
use crate::config::{Discovery, DnsSource, DockerSource, EtcdSource, FileSource, HttpSource};
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

/// Time between two questions of a source that is asked again and again, unless it is said otherwise.
const INTERVAL: Duration = Duration::from_secs(10);

/// The shortest and the longest such time.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// How long a source must keep to a sharply smaller set unless it is said otherwise, and the longest such time.
const CONFIRM_REMOVALS: Duration = Duration::from_secs(10);
const CONFIRM_REMOVALS_MAX: Duration = Duration::from_secs(3600);

/// Most members of an etcd cluster.
const ENDPOINTS_MAX: usize = 16;

/// Reads which sources are followed.
pub(super) fn read(fields: Fields<'_>, reader: &mut Reader<'_>) -> Discovery {
    let Some(fields) = fields.get("discovery").and_then(|node| reader.fields(node, &keys::DISCOVERY)) else {
        return Discovery::default();
    };
    let confirm_removals = fields
        .get("confirm_removals")
        .and_then(|node| reader.duration(node, Duration::ZERO..=CONFIRM_REMOVALS_MAX));
    let discovery = Discovery {
        confirm_removals: confirm_removals.unwrap_or(CONFIRM_REMOVALS),
        dns: fields.get("dns").and_then(|node| dns(node, reader)),
        docker: fields.get("docker").and_then(|node| docker(node, reader)),
        ecs: fields.get("ecs").and_then(|node| ecs::read(node, reader)),
        etcd: fields.get("etcd").and_then(|node| etcd(node, reader)),
        file: fields.get("file").and_then(|node| file(node, reader)),
        http: fields.get("http").and_then(|node| http(node, reader)),
        swarm: fields.get("swarm").and_then(|node| swarm::read(node, reader)),
    };
    check_published(fields, &discovery, reader);
    discovery
}

/// Only what is followed can be published.
fn check_published(fields: Fields<'_>, discovery: &Discovery, reader: &mut Reader<'_>) {
    let Some(node) = fields.get("etcd") else { return };
    for source in discovery.etcd.iter().flat_map(|etcd| &etcd.publish) {
        let (is_followed, remedy) = target::followed(*source, discovery);
        if !is_followed {
            let cause = format!("no {} source is followed that could be published", source.as_str());
            reader.problem(node, &cause, Some(remedy));
        }
    }
}

fn dns(node: &Node, reader: &mut Reader<'_>) -> Option<DnsSource> {
    let fields = reader.fields(node, &keys::DNS)?;
    let server = fields
        .get("server")
        .and_then(|node| reader.parsed(node, "an IP address with a port", "127.0.0.1:53"));
    Some(DnsSource { server })
}

fn docker(node: &Node, reader: &mut Reader<'_>) -> Option<DockerSource> {
    let fields = reader.fields(node, &keys::DOCKER)?;
    Some(DockerSource { endpoint: fields.get("endpoint").and_then(|node| engine(node, reader)) })
}

/// Where an engine answers.
pub(super) fn engine(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let is_known = ["unix://", "tcp://"].iter().any(|scheme| text.starts_with(scheme));
    if !is_known {
        let remedy = "write unix:///var/run/docker.sock or tcp://127.0.0.1:2375";
        reader.problem(node, &format!("{text:?} is not an engine's endpoint"), Some(remedy));
    }
    is_known.then(|| text.to_owned())
}

fn etcd(node: &Node, reader: &mut Reader<'_>) -> Option<EtcdSource> {
    let fields = reader.fields(node, &keys::ETCD)?;
    let endpoints = endpoints(fields, reader);
    let prefix = fields.require(reader, "prefix", "/weir/targets/").and_then(|node| reader.text(node))?;
    let kinds = SourceKind::ALL.into_iter().filter(|source| *source != SourceKind::Etcd);
    let choices: Vec<(&str, SourceKind)> = kinds.map(|source| (source.as_str(), source)).collect();
    let publish: BTreeSet<SourceKind> =
        list(fields, "publish").iter().filter_map(|node| reader.choice(node, &choices)).collect();
    Some(EtcdSource { endpoints, prefix: prefix.to_owned(), publish })
}

/// The members of an etcd cluster.
pub(super) fn endpoints(fields: Fields<'_>, reader: &mut Reader<'_>) -> Vec<HttpUrl> {
    let written = fields.require(reader, "endpoints", "[http://127.0.0.1:2379]");
    let endpoints = list(fields, "endpoints").iter().filter_map(|node| endpoint(node, reader)).collect();
    if let Some(node) = written {
        let count = list(fields, "endpoints").len();
        if !(1..=ENDPOINTS_MAX).contains(&count) {
            let remedy = format!("name 1 to {ENDPOINTS_MAX} members of one cluster");
            reader.problem(node, &format!("{count} endpoints are written"), Some(&remedy));
        }
    }
    endpoints
}

fn endpoint(node: &Node, reader: &mut Reader<'_>) -> Option<HttpUrl> {
    bare_url(node, "http://127.0.0.1:2379", reader)
}

/// The URL of a server, whose paths weir knows.
pub(super) fn bare_url(node: &Node, example: &str, reader: &mut Reader<'_>) -> Option<HttpUrl> {
    let url = url(node, example, reader)?;
    if url.path() != "/" {
        let bare = url.with_path("/").to_string();
        let remedy = format!("write {}", bare.trim_end_matches('/'));
        reader.problem(node, "an endpoint has no path", Some(&remedy));
    }
    Some(url)
}

fn file(node: &Node, reader: &mut Reader<'_>) -> Option<FileSource> {
    let fields = reader.fields(node, &keys::FILE)?;
    let node = fields.require(reader, "path", "./targets.d")?;
    let path = reader.text(node)?;
    Some(FileSource { path: reader.folder().join(path) })
}

fn http(node: &Node, reader: &mut Reader<'_>) -> Option<HttpSource> {
    let fields = reader.fields(node, &keys::HTTP)?;
    let example = "http://127.0.0.1:8000/targets";
    let written = fields.require(reader, "url", example);
    let interval = interval(fields, reader);
    let url = url(written?, example, reader)?;
    Some(HttpSource { url, interval })
}

/// The time between two questions.
pub(super) fn interval(fields: Fields<'_>, reader: &mut Reader<'_>) -> Duration {
    interval_or(INTERVAL, fields, reader)
}

/// The time between two questions, where another one than usual is meant by nothing.
pub(super) fn interval_or(usual: Duration, fields: Fields<'_>, reader: &mut Reader<'_>) -> Duration {
    let written = fields.get("interval");
    written.and_then(|node| reader.duration(node, INTERVAL_MIN..=INTERVAL_MAX)).unwrap_or(usual)
}

fn url(node: &Node, example: &str, reader: &mut Reader<'_>) -> Option<HttpUrl> {
    let text = reader.text(node)?;
    match text.parse() {
        Ok(url) => Some(url),
        Err(error) => {
            let cause = format!("{text:?} is not a URL that weir can ask: {error}");
            reader.problem(node, &cause, Some(&format!("write it like `{example}`")));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::definition::TargetSelector;
    use weir_core::lookup::Record;

    use super::*;
    use crate::{Config, Problems, parse};

    /// A configuration with this discovery and one group of these targets.
    fn read(discovery: &str, targets: &str) -> Result<Config, Problems> {
        let text = format!(
            "discovery: {{ {discovery} }}\ntarget_groups: [{{ name: web, targets: [{targets}] }}]\nload_balancers: [{{ name: edge, type: application, listeners: [{{ bind: \"127.0.0.1:0\", default_action: {{ forward: web }} }}] }}]\n"
        );
        parse(&text, Path::new("weir.yaml")).map(|loaded| loaded.config)
    }

    /// What is said of a configuration with one mistake: cause and remedy.
    fn mistake(discovery: &str, targets: &str) -> String {
        let Problems(problems) = read(discovery, targets).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        format!("{}; {}", problems[0].cause, problems[0].remedy.as_deref().unwrap_or_default())
    }

    const ETCD: &str = "etcd: { endpoints: [http://127.0.0.1:2379], prefix: /weir/targets/ }";

    #[test]
    fn every_source_is_read() {
        let discovery = format!(
            "dns: {{ server: \"127.0.0.1:53\" }}, {ETCD}, http: {{ url: \"http://sd.example/targets\", interval: 1m }}"
        );
        let targets = "{ dns: { name: _http._tcp.API.example. } }, { dns: { name: api.example, port: 80, weight: 2 } }, { dns: { name: api.example, type: aaaa, port: 80 } }, { etcd: { service: api } }, { http: { project: shop } }";
        let config = read(&discovery, targets).unwrap();
        assert_eq!(config.discovery.dns.unwrap().server, Some(([127, 0, 0, 1], 53).into()));
        assert_eq!(config.discovery.etcd.unwrap().endpoints[0].port(), 2379);
        assert_eq!(config.discovery.http.unwrap().interval, Duration::from_secs(60));
        let records: Vec<Record> = config.definitions.lookups().iter().map(|lookup| lookup.record).collect();
        assert_eq!(records, [Record::Srv, Record::A { port: 80 }, Record::Aaaa { port: 80 }]);
        let group = &config.definitions.target_groups[0];
        assert_eq!(group.hold, Duration::from_secs(10), "names come and go, so requests wait for them");
        assert!(matches!(&group.targets[1], TargetSelector::Lookup { weight, .. } if weight.get() == 2));
    }

    #[test]
    fn the_usual_settings_need_not_be_written() {
        let discovery = "dns: {}, swarm: {}, http: { url: \"http://a/\" }";
        let config = read(discovery, "{ http: { service: x } }").unwrap();
        assert_eq!(config.discovery.swarm.unwrap().interval, Duration::from_millis(200));
        assert_eq!(config.discovery.dns, Some(DnsSource { server: None }));
        assert_eq!(config.discovery.http.unwrap().interval, Duration::from_secs(10));
    }

    #[test]
    fn a_mistaken_source_is_told_with_the_remedy() {
        let http = "{ http: { service: x } }";
        for (discovery, targets, told) in [
            ("http: { url: \"ftp://a/\" }", "", "neither http:// nor https://"),
            ("http: { url: a/targets }", "", "write it like `http://127.0.0.1:8000/targets`"),
            ("http: { url: \"http://a/\", interval: 1ms }", "", "write a duration from 100ms to 3600s"),
            ("http: { uri: \"http://a/\", url: \"http://a/\" }", "", "did you mean `url`?"),
            ("http: {}", "", "write `url: "),
            ("file: { path: x }", http, "no http source is followed; add `discovery: { http: "),
            ("etcd: { endpoints: [], prefix: /x }", "", "0 endpoints are written; name 1 to 16"),
            ("etcd: { prefix: /x }", "", "write `endpoints: "),
            ("etcd: { endpoints: http://a/v3, prefix: /x }", "", "has no path; write http://a"),
            ("etcd: { endpoints: http://a }", "", "write `prefix: /weir/targets/`"),
            ("etcd: { endpoints: http://a, prefix: /x, username: u }", "", "`username` is not supported yet"),
            ("swarm: { endpoint: /run/docker.sock }", "", "write unix:///var/run/docker.sock"),
            ("swarm: { addresses: 10.0.0.1 }", "", "write `{ node-1: 10.0.0.1 }`"),
            ("", "{ swarm: { service: x } }", "add `discovery: { swarm: {} }`"),
            ("etcd: { endpoints: http://a, prefix: /x, publish: swarm }", "", "no swarm source is followed"),
            ("etcd: { endpoints: http://a, prefix: /x, publish: [etcd] }", "", "none of dns, docker, "),
            ("dns: { server: localhost }", "", "write it like `127.0.0.1:53`"),
            ("dns: {}", "{ dns: { name: a, type: mx } }", "none of a, aaaa, srv"),
            ("dns: {}", "{ dns: { name: a, type: srv, port: 1 } }", "take it out, or write `type: a`"),
            ("dns: {}", "{ dns: { name: a, weight: 1 } }", "name the weight themselves; take it out"),
            ("dns: {}", "{ dns: { name: a, type: a } }", "write `port: 8080`"),
            ("dns: {}", "{ dns: { name: 127.0.0.1 } }", "addresses go to `address`"),
            ("", "{ dns: { name: a } }", "add `discovery: { dns: {} }`"),
        ] {
            let told_is = mistake(discovery, targets);
            assert!(told_is.contains(told), "{discovery} {targets}: {told_is}");
        }
    }
}

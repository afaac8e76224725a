//! The resolver: questions to DNS servers and their answers. The only file that names hickory.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

/// Longest time that a server may take for one answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Questions after the first that was not answered.
const RETRIES: usize = 1;

/// Longest time for one question, whatever number of servers it is put to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an empty answer lives that does not say so itself.
const EMPTY_TTL: Duration = Duration::from_secs(5);

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The addresses of a host; none when it has none or does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) addrs: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// The services of a name; none when it has none or does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) services: Vec<Service>,
    pub(super) ttl: Duration,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    /// Fully qualified, with its last dot; a dot alone says that there is no such service.
    pub(super) host: String,
}

/// Asks DNS servers.
pub(super) struct Resolver(TokioResolver);

impl Resolver {
    /// A resolver that asks `server`, or those of `/etc/resolv.conf`.
    ///
    /// # Errors
    /// That file cannot be read, or names no server.
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Self, String> {
        let (config, mut options) = match server {
            Some(server) => (asking(server), ResolverOpts::default()),
            None => read_system_conf().map_err(|error| {
                format!(
                    "/etc/resolv.conf: {error}; name a server with `discovery: {{ dns: {{ server: … }} }}`"
                )
            })?,
        };
        // The records' own times are followed, so an answer out of a cache would be an old one.
        options.cache_size = 0;
        options.timeout = SERVER_TIMEOUT;
        options.attempts = RETRIES;
        options.use_hosts_file = ResolveHosts::Never;
        let mut builder =
            hickory_resolver::Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// The addresses of a fully qualified name.
    ///
    /// # Errors
    /// No server has answered, or the one that did has failed.
    pub(super) async fn addresses(&self, name: &str, family: Family) -> Result<Addresses, String> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let (addrs, ttl) = self
            .ask(name, kind, |data| match data {
                RData::A(addr) => Some(IpAddr::V4(addr.0)),
                RData::AAAA(addr) => Some(IpAddr::V6(addr.0)),
                _ => None,
            })
            .await?;
        Ok(Addresses { addrs, ttl })
    }

    /// The SRV records of a fully qualified name.
    ///
    /// # Errors
    /// No server has answered, or the one that did has failed.
    pub(super) async fn services(&self, name: &str) -> Result<Services, String> {
        let (services, ttl) = self
            .ask(name, RecordType::SRV, |data| match data {
                RData::SRV(record) => Some(Service {
                    priority: record.priority,
                    weight: record.weight,
                    port: record.port,
                    host: record.target.to_lowercase().to_ascii(),
                }),
                _ => None,
            })
            .await?;
        Ok(Services { services, ttl })
    }

    /// The records that `read` takes, and how long the answer lives.
    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<(Vec<T>, Duration), String> {
        let mut name = Name::from_ascii(name).map_err(|error| format!("{name:?}: {error}"))?;
        // Otherwise the domains of resolv.conf would be tried too.
        name.set_fqdn(true);
        let asked = timeout(ANSWER_TIMEOUT, self.0.lookup(name, kind));
        match asked.await.unwrap_or(Err(NetError::Timeout)) {
            Ok(found) => {
                let answers = found.answers();
                let ttl = answers.iter().map(|record| record.ttl).min();
                let ttl = ttl.map_or(EMPTY_TTL, |seconds| Duration::from_secs(seconds.into()));
                Ok((answers.iter().filter_map(|record| read(&record.data)).collect(), ttl))
            }
            // The name does not exist, or has no such records.
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let ttl = none.negative_ttl.map_or(EMPTY_TTL, |seconds| Duration::from_secs(seconds.into()));
                Ok((Vec::new(), ttl))
            }
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(format!("the server says {code}")),
            Err(error) => Err(format!("no server answers: {error}")),
        }
    }
}

fn asking(server: SocketAddr) -> ResolverConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    // TCP for answers that do not fit into a datagram.
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    ResolverConfig::from_parts(None, Vec::new(), vec![NameServerConfig::new(server.ip(), true, connections)])
}

//! Which engine to follow, and what to say when it does not answer.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};

/// Seconds that the engine may take to begin an answer.
const CONNECT_SECONDS: u64 = 10;

/// Where an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: Address,
    /// What named it, for messages: `DOCKER_HOST`, `the docker context "lab"`.
    named_by: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp { authority: String, host: IpAddr },
    Unix(PathBuf),
}

/// Why no engine can be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The current docker context is not to be found.
    #[error("the docker context {0:?} is not to be found; `docker context ls` shows those that are")]
    ContextUnknown(String),
    /// The host of a `tcp://` endpoint has no address.
    #[error("{named_by} names the host {host:?}, which has no address")]
    HostUnknown {
        /// What named it.
        named_by: String,
        /// The host.
        host: String,
    },
    /// A scheme that weir does not speak.
    #[error("{named_by} is {endpoint:?}; weir speaks to engines at unix:///… and tcp://host:port")]
    SchemeUnknown {
        /// What named it.
        named_by: String,
        /// The endpoint as written.
        endpoint: String,
    },
}

/// The engine to follow: the one given, which `named_by` names, else `DOCKER_HOST`, else the current docker context's, else the rootless
/// socket in `XDG_RUNTIME_DIR`, else `/var/run/docker.sock`.
///
/// # Errors
/// [`EndpointError`] when what names the engine makes no sense. Whether it answers is found out by
/// [`super::watch`], which goes on trying.
pub fn endpoint(explicit: Option<&str>, named_by: &str) -> Result<Endpoint, EndpointError> {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    if let Some(endpoint) = explicit {
        return parse(endpoint, named_by);
    }
    if let Some(endpoint) = variable("DOCKER_HOST") {
        return parse(&endpoint, "DOCKER_HOST");
    }
    let docker_folder = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")));
    if let Some(folder) = docker_folder
        && let Some(name) = variable("DOCKER_CONTEXT").or_else(|| current_context(&folder))
        && name != "default"
    {
        let endpoint =
            context_endpoint(&folder, &name).ok_or_else(|| EndpointError::ContextUnknown(name.clone()))?;
        return parse(&endpoint, &format!("the docker context {name:?}"));
    }
    let rootless = variable("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("docker.sock"));
    let socket = rootless.filter(|socket| socket.exists()).unwrap_or_else(|| "/var/run/docker.sock".into());
    Ok(Endpoint { address: Address::Unix(socket), named_by: "the default".to_owned() })
}

fn parse(endpoint: &str, named_by: &str) -> Result<Endpoint, EndpointError> {
    let named_by = named_by.to_owned();
    if let Some(path) = endpoint.strip_prefix("unix://") {
        return Ok(Endpoint { address: Address::Unix(path.into()), named_by });
    }
    let Some(authority) = endpoint.strip_prefix("tcp://").or_else(|| endpoint.strip_prefix("http://")) else {
        return Err(EndpointError::SchemeUnknown { named_by, endpoint: endpoint.to_owned() });
    };
    let authority = authority.trim_end_matches('/').to_owned();
    let mut addrs = authority.to_socket_addrs().ok().into_iter().flatten();
    match addrs.next() {
        Some(addr) => Ok(Endpoint { address: Address::Tcp { authority, host: addr.ip() }, named_by }),
        None => Err(EndpointError::HostUnknown { named_by, host: authority }),
    }
}

#[derive(serde::Deserialize)]
struct ClientConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(serde::Deserialize)]
struct ContextMeta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints")]
    endpoints: std::collections::HashMap<String, ContextEndpoint>,
}

#[derive(serde::Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host")]
    host: Option<String>,
}

fn current_context(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("config.json")).ok()?;
    let config: ClientConfig = serde_json::from_str(&text).ok()?;
    config.current_context.filter(|name| !name.is_empty())
}

fn context_endpoint(folder: &Path, name: &str) -> Option<String> {
    fs::read_dir(folder.join("contexts").join("meta")).ok()?.flatten().find_map(|entry| {
        let text = fs::read_to_string(entry.path().join("meta.json")).ok()?;
        let meta: ContextMeta = serde_json::from_str(&text).ok()?;
        if meta.name == name { meta.endpoints.get("docker")?.host.clone() } else { None }
    })
}

impl Endpoint {
    /// Where the engine's published ports are reached.
    pub(crate) fn host(&self) -> IpAddr {
        match &self.address {
            Address::Tcp { host, .. } => *host,
            Address::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    pub(crate) fn connect(&self) -> Result<Docker, Error> {
        match &self.address {
            Address::Tcp { authority, .. } => {
                Docker::connect_with_http(authority, CONNECT_SECONDS, API_DEFAULT_VERSION)
            }
            Address::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), CONNECT_SECONDS, API_DEFAULT_VERSION)
            }
        }
    }

    /// What is wrong with the engine, and what to do about it.
    pub(crate) fn explain(&self, error: &Error) -> String {
        let Address::Unix(path) = &self.address else {
            return format!("the Docker engine at {self} ({}) does not answer: {error}", self.named_by);
        };
        let reached = std::os::unix::net::UnixStream::connect(path);
        match reached.map_err(|error| error.kind()) {
            Err(std::io::ErrorKind::PermissionDenied) => format!(
                "no permission for the Docker engine at {self}: join the group of the socket (`sudo usermod -aG docker $USER`, then log in again), or use a rootless engine"
            ),
            Err(std::io::ErrorKind::NotFound) => format!(
                "no Docker engine at {self} ({}): start it, or name another with DOCKER_HOST or the source's `endpoint`",
                self.named_by
            ),
            Err(std::io::ErrorKind::ConnectionRefused) => format!(
                "the Docker engine at {self} ({}) is not running, though its socket is there: start it, or name another with DOCKER_HOST",
                self.named_by
            ),
            _ => format!("the Docker engine at {self} ({}) fails: {error}", self.named_by),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Tcp { authority, .. } => write!(f, "tcp://{authority}"),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_socket_or_a_host_and_port() {
        assert_eq!(parse("unix:///run/d.sock", "x").unwrap().to_string(), "unix:///run/d.sock");
        let tcp = parse("tcp://127.0.0.1:2375", "x").unwrap();
        assert_eq!(
            (tcp.to_string(), tcp.host()),
            ("tcp://127.0.0.1:2375".into(), IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }

    #[test]
    fn an_unknown_scheme_is_refused_with_what_named_it() {
        let error = parse("ssh://host", "DOCKER_HOST").unwrap_err().to_string();
        assert!(error.starts_with("DOCKER_HOST is \"ssh://host\""), "{error}");
    }

    #[test]
    fn a_context_is_found_by_its_name() {
        let folder = std::env::temp_dir().join(format!("weir-context-{}", std::process::id()));
        let meta = folder.join("contexts/meta/abc");
        fs::create_dir_all(&meta).unwrap();
        fs::write(folder.join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Name":"lab","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///lab.sock","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        assert_eq!(current_context(&folder).as_deref(), Some("lab"));
        assert_eq!(context_endpoint(&folder, "lab").as_deref(), Some("unix:///lab.sock"));
        assert_eq!(context_endpoint(&folder, "other"), None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_missing_socket_is_explained_with_the_remedy() {
        let endpoint = parse("unix:///nowhere/docker.sock", "DOCKER_HOST").unwrap();
        let text = endpoint.explain(&Error::RequestTimeoutError);
        assert!(text.contains("unix:///nowhere/docker.sock") && text.contains("start it"), "{text}");
    }
}

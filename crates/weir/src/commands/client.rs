//! Talking to a running weir through its admin port.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ureq::http::Uri;
use ureq::http::uri::InvalidUri;

/// Longest time that an answer of the admin port may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which weir to talk to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Admin {
    /// The admin port: its URL, or an address with a port.
    #[arg(long = "admin", env = "WEIR_ADMIN", default_value = "http://127.0.0.1:9900", value_parser = url)]
    url: String,
}

impl Admin {
    /// Asks for a path; status and body.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        self.read(agent().get(self.at(path)).call())
    }

    /// Posts to a path; status and body.
    pub(crate) fn post(&self, path: &str) -> anyhow::Result<(u16, String)> {
        self.read(agent().post(self.at(path)).send_empty())
    }

    /// Posts JSON to a path; status and body.
    pub(crate) fn post_json(&self, path: &str, value: &serde_json::Value) -> anyhow::Result<(u16, String)> {
        self.read(agent().post(self.at(path)).send_json(value))
    }

    /// Puts JSON to a path; status and body.
    pub(crate) fn put(&self, path: &str, value: &serde_json::Value) -> anyhow::Result<(u16, String)> {
        self.read(agent().put(self.at(path)).send_json(value))
    }

    /// Deletes what is at a path; status and body.
    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<(u16, String)> {
        self.read(agent().delete(self.at(path)).call())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<(u16, String)> {
        let hint = || format!("no weir answers at {}; is it running? `--admin URL` says where", self.url);
        let mut answer = answer.with_context(hint)?;
        let body = answer.body_mut().read_to_string().with_context(hint)?;
        Ok((answer.status().as_u16(), body))
    }
}

/// Whoever writes an address alone means HTTP.
fn url(text: &str) -> Result<String, InvalidUri> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    url.parse::<Uri>()?;
    Ok(url)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into()
}

/// `weir healthcheck`: exit status 0 if ready, 1 if not.
pub(crate) fn healthcheck(admin: &Admin) -> anyhow::Result<ExitCode> {
    let (status, body) = admin.get("/readyz")?;
    crate::output::say(body.trim_end());
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_port_may_be_named_by_its_address_alone() {
        for (text, expected) in
            [("127.0.0.1:9900", "http://127.0.0.1:9900"), ("http://[::1]:1", "http://[::1]:1")]
        {
            assert_eq!(url(text).unwrap(), expected);
        }
        assert!(url("no url").is_err());
    }
}

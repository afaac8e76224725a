//! What only the access log wants to know of a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use weir_core::target::Target;
use weir_tls::Handshake;

use super::connection::ConnectionId;
use super::wall_time;
use crate::codec::edits::HeaderText;
use crate::codec::h1::desync::Oddities;
use crate::codec::request::{Origin, Request};

/// Gathered only where there is a log to write it to.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) created: SystemTime,
    /// As AWS's log calls it: `http`, `https`, `h2`, `grpcs`, `ws`, `wss`.
    pub(super) kind: &'static str,
    pub(super) connection: ConnectionId,
    pub(super) handshake: Option<Handshake>,
    pub(super) client: String,
    pub(super) request_line: String,
    pub(super) user_agent: String,
    pub(super) trace_id: Option<HeaderText>,
    pub(super) domain: String,
    /// As the log writes it: a priority, `0` for the default rule, `-` when no rule was looked at.
    pub(super) rule: String,
    pub(super) action: &'static str,
    /// Whether who it is has been asked, and the action follows that.
    pub(super) is_authenticated: bool,
    pub(super) redirect_url: Option<String>,
    pub(super) target: Option<Arc<Target>>,
    /// Targets that were tried.
    pub(super) attempts: u32,
    pub(super) target_status: Option<u16>,
    /// What targets were asked for instead, as `Host` and in the request line.
    pub(super) transformed_host: Option<HeaderText>,
    pub(super) transformed_url: Option<Box<str>>,
    pub(super) transform_status: Option<&'static str>,
    pub(super) error_reason: Option<&'static str>,
    pub(super) oddities: Oddities,
}

impl Details {
    /// The names of all actions, as AWS's log lists them.
    pub(super) fn actions(&self) -> Cow<'static, str> {
        if self.is_authenticated {
            format!("authenticate,{}", self.action).into()
        } else {
            self.action.into()
        }
    }

    pub(super) fn of(request: &Request) -> Self {
        let head = request.head();
        let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
        let request_line = format!(
            "{} {}://{}:{}{}{query} {}",
            head.method,
            head.scheme,
            if head.host.is_empty() { "-" } else { head.host },
            head.port,
            head.path,
            request.version()
        );
        let user_agent = request.user_agent().unwrap_or("-").to_owned();
        let mut details = Self::new(&request.parts().origin, request_line, user_agent);
        details.kind = request.kind();
        details.oddities = request.parts().oddities;
        details
    }

    /// Of something that was no request. Source: "if the request is malformed, the request is `- http://host:port- -`".
    pub(super) fn refused(origin: &Origin) -> Self {
        let request_line = format!("- {}://{}- -", origin.scheme(), origin.listener);
        Self::new(origin, request_line, "-".to_owned())
    }

    fn new(origin: &Origin, request_line: String, user_agent: String) -> Self {
        let name = origin.handshake.as_ref().and_then(|handshake| handshake.server_name.as_deref());
        Self {
            created: wall_time(),
            kind: origin.scheme(),
            connection: origin.id,
            handshake: origin.handshake.clone(),
            client: origin.client.to_string(),
            request_line,
            user_agent,
            trace_id: None,
            domain: name.unwrap_or("-").to_owned(),
            rule: "-".to_owned(),
            action: "-",
            is_authenticated: false,
            redirect_url: None,
            target: None,
            attempts: 0,
            target_status: None,
            transformed_host: None,
            transformed_url: None,
            transform_status: None,
            error_reason: None,
            oddities: Oddities::default(),
        }
    }

    /// The certificate that the client was shown, by its file; `session-reused` when an earlier session was resumed.
    pub(super) fn certificate(&self) -> String {
        match &self.handshake {
            None => "-".to_owned(),
            Some(handshake) if handshake.is_resumed => "session-reused".to_owned(),
            Some(handshake) => handshake.certificate.file.display().to_string(),
        }
    }
}

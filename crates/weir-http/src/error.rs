//! Why a request failed: one variant per step, one status each.

use weir_core::authentication::AuthenticationError;
use weir_net::dial::DialError;
use weir_tls::HandshakeError;

use crate::codec::h1::desync::Oddities;
use crate::codec::h1::request_head::HeadError;

/// Why weir answered a request by itself. Named for the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Whoever asks may not pass, or that could not be found out.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// The client closed, or sent nonsense, before the end of its body.
    #[error("the request's body is malformed or cut short")]
    BodyBrokenOff,
    /// The client stopped sending its body.
    #[error("the request's body did not arrive in time")]
    BodyTimedOut,
    /// The request's head did not come to its end within the idle timeout.
    #[error("the request's head did not come in time")]
    HeadTimedOut,
    /// `Connection` names a field that frames or routes the message.
    #[error("Connection names a field that is not the connection's")]
    ConnectionFieldInvalid,
    /// The request is odd in a way that the load balancer's desync mitigation mode does not let pass.
    #[error("the request is refused by the desync mitigation mode")]
    Desync(Oddities),
    /// The target's deregistration delay ended, or it vanished, while the request was with it.
    #[error("the target left while it had the request")]
    DeregisteredMidRequest,
    /// No connection to the target.
    #[error("no connection to the target")]
    DialFailed(#[source] DialError),
    /// `Expect` asks for something other than `100-continue`.
    #[error("the expectation is not known")]
    ExpectationUnknown,
    /// What came is no head of a request.
    #[error("the request's head is malformed")]
    HeadInvalid(HeadError),
    /// The request has no host, several, or one that is not a host.
    #[error("the request has no valid host")]
    HostInvalid,
    /// The group waited for a target longer than it may.
    #[error("no target within the hold time")]
    HoldExpired,
    /// Too many requests were waiting for a target already.
    #[error("too many requests wait for a target")]
    HoldQueueFull,
    /// The listener was taken away by a reload.
    #[error("the listener is gone")]
    ListenerGone,
    /// CONNECT or TRACE.
    #[error("the method is not allowed")]
    MethodNotAllowed,
    /// A method of more characters than a classic listener takes.
    #[error("the method is too long")]
    MethodTooLong,
    /// The group has no target that may be picked.
    #[error("no target may be picked")]
    NoTarget,
    /// The client's protocol, or its method, is none that targets of the group understand.
    #[error("targets of the group do not speak the client's protocol")]
    ProtocolMismatch,
    /// The redirect's `Location` would be too long.
    #[error("the redirect's location is too long")]
    RedirectTooLong,
    /// Whoever may be picked has as many requests as it may have.
    #[error("targets have as many requests as they may have")]
    TargetsBusy,
    /// The target closed the connection before the head of its response was complete.
    #[error("the target closed the connection before it answered")]
    TargetClosedEarly,
    /// The target's response was not HTTP, or switched protocols unasked.
    #[error("the target's response is malformed")]
    TargetMalformed,
    /// The target and weir could not agree on how to speak TLS.
    #[error("no TLS with the target")]
    TargetHandshakeFailed(#[source] HandshakeError),
    /// What the request asks for is no path.
    #[error("the request's target is no path")]
    TargetInvalid,
    /// The target did not answer within the idle timeout.
    #[error("the target did not answer in time")]
    TargetTimedOut,
    /// A transform of the rule has made something that no target can be asked for.
    #[error("the rule's transform {0}")]
    TransformFailed(TransformError),
    /// `X-Forwarded-For` names more than [`crate::forwarded::FORWARDERS_MAX`] addresses.
    #[error("too many addresses in X-Forwarded-For")]
    TooManyForwarders,
}

/// What is wrong with what a transform made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// No host.
    #[error("made something that is no host")]
    InvalidHost,
    /// No path, or one with characters that must be escaped.
    #[error("made something that is no path")]
    InvalidPath,
    /// Longer than a request line may be.
    #[error("made a URL that is too long")]
    TooLong,
}

impl TransformError {
    /// The name in AWS's access log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidHost => "TransformInvalidHost",
            Self::InvalidPath => "TransformInvalidPath",
            Self::TooLong => "TransformBufferTooSmall",
        }
    }
}

/// Whose fault a failed request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The client sent something wrong.
    Client,
    /// The target failed.
    Target,
    /// weir, or its operator.
    Weir,
}

impl RequestError {
    /// The status that the client gets.
    ///
    /// Source: Application Load Balancer, "Troubleshoot": HTTP 400, 401, 405, 408, 463, 500, 501, 502, 503, 504, 507, 561, 562.
    pub fn status(&self) -> u16 {
        match self {
            Self::Authentication(error) => error.status(),
            Self::BodyTimedOut | Self::HeadTimedOut => 408,
            Self::MethodNotAllowed | Self::MethodTooLong => 405,
            Self::TooManyForwarders => 463,
            Self::ExpectationUnknown => 417,
            Self::HeadInvalid(HeadError::RequestLineTooLong) => 414,
            Self::HeadInvalid(HeadError::TransferCodingUnknown) => 501,
            Self::HeadInvalid(HeadError::VersionUnknown) => 505,
            Self::BodyBrokenOff
            | Self::ConnectionFieldInvalid
            | Self::Desync(_)
            | Self::HeadInvalid(_)
            | Self::HostInvalid
            | Self::TargetInvalid => 400,
            Self::ProtocolMismatch => 464,
            Self::DialFailed(DialError::TimedOut)
            | Self::TargetHandshakeFailed(HandshakeError::Deadline)
            | Self::TargetTimedOut => 504,
            Self::DeregisteredMidRequest
            | Self::DialFailed(DialError::Failed(_) | DialError::SelfConnected)
            | Self::TargetClosedEarly
            | Self::TargetHandshakeFailed(_)
            | Self::TargetMalformed => 502,
            Self::HoldExpired
            | Self::HoldQueueFull
            | Self::ListenerGone
            | Self::NoTarget
            | Self::TargetsBusy => 503,
            Self::RedirectTooLong => 507,
            Self::TransformFailed(_) => 500,
        }
    }

    /// The status that a client of a classic listener gets.
    ///
    /// Source: Classic Load Balancer, "Troubleshoot": HTTP 400, 405, 408, 502, 503, 504.
    pub fn classic_status(&self) -> u16 {
        match self {
            Self::MethodNotAllowed => 400,
            Self::DialFailed(DialError::Failed(_) | DialError::SelfConnected) => 503,
            Self::DeregisteredMidRequest | Self::TargetClosedEarly => 504,
            _ => self.status(),
        }
    }

    /// Whose fault it is.
    pub fn culprit(&self) -> Culprit {
        match self {
            Self::BodyBrokenOff
            | Self::BodyTimedOut
            | Self::HeadTimedOut
            | Self::ConnectionFieldInvalid
            | Self::Desync(_)
            | Self::ExpectationUnknown
            | Self::HeadInvalid(_)
            | Self::HostInvalid
            | Self::MethodNotAllowed
            | Self::MethodTooLong
            | Self::ProtocolMismatch
            | Self::RedirectTooLong
            | Self::TargetInvalid
            | Self::TooManyForwarders => Culprit::Client,
            Self::DialFailed(_)
            | Self::TargetClosedEarly
            | Self::TargetHandshakeFailed(_)
            | Self::TargetMalformed
            | Self::TargetTimedOut => Culprit::Target,
            // A client that must log in has done nothing wrong: its connection goes on.
            Self::Authentication(_)
            | Self::DeregisteredMidRequest
            | Self::HoldExpired
            | Self::HoldQueueFull
            | Self::ListenerGone
            | Self::NoTarget
            | Self::TargetsBusy
            | Self::TransformFailed(_) => Culprit::Weir,
        }
    }

    /// The name in logs and metric labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Authentication(error) => error.reason(),
            Self::BodyBrokenOff => "body_broken_off",
            Self::BodyTimedOut => "body_timed_out",
            Self::HeadTimedOut => "head_timed_out",
            Self::ConnectionFieldInvalid => "connection_field_invalid",
            Self::Desync(_) => "desync",
            Self::DeregisteredMidRequest => "deregistered_mid_request",
            Self::DialFailed(DialError::TimedOut) => "dial_timed_out",
            Self::DialFailed(DialError::Failed(_)) => "dial_failed",
            Self::DialFailed(DialError::SelfConnected) => "dial_self_connected",
            Self::ExpectationUnknown => "expectation_unknown",
            Self::HeadInvalid(HeadError::FieldTooLong) => "field_too_long",
            Self::HeadInvalid(HeadError::HeadTooLarge) => "head_too_large",
            Self::HeadInvalid(HeadError::Malformed(_)) => "head_malformed",
            Self::HeadInvalid(HeadError::RequestLineTooLong) => "request_line_too_long",
            Self::HeadInvalid(HeadError::TooManyFields) => "too_many_fields",
            Self::HeadInvalid(HeadError::TransferCodingUnknown) => "transfer_coding_unknown",
            Self::HeadInvalid(HeadError::VersionUnknown) => "version_unknown",
            Self::HoldExpired => "hold_expired",
            Self::HoldQueueFull => "hold_queue_full",
            Self::HostInvalid => "host_invalid",
            Self::ListenerGone => "listener_gone",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MethodTooLong => "method_too_long",
            Self::NoTarget => "no_target",
            Self::TargetsBusy => "targets_busy",
            Self::ProtocolMismatch => "protocol_mismatch",
            Self::RedirectTooLong => "redirect_too_long",
            Self::TargetClosedEarly => "target_closed_early",
            Self::TargetHandshakeFailed(_) => "target_handshake_failed",
            Self::TargetInvalid => "target_invalid",
            Self::TargetMalformed => "target_malformed",
            Self::TargetTimedOut => "target_timed_out",
            Self::TooManyForwarders => "too_many_forwarders",
            Self::TransformFailed(TransformError::InvalidHost) => "transform_invalid_host",
            Self::TransformFailed(TransformError::InvalidPath) => "transform_invalid_path",
            Self::TransformFailed(TransformError::TooLong) => "transform_too_long",
        }
    }

    /// The name in access logs: AWS's where it has one.
    pub(crate) fn logged(&self) -> &'static str {
        match self {
            Self::Authentication(error) => error.logged(),
            error => error.reason(),
        }
    }

    /// What was odd about a request that was refused for that.
    pub(crate) fn oddities(&self) -> Oddities {
        match self {
            Self::Desync(oddities) => *oddities,
            Self::HeadInvalid(error) => error.oddities(),
            _ => Oddities::default(),
        }
    }

    /// Whether opening a connection took as long as it may, so that the same target is not worth another attempt.
    pub(crate) fn is_deadline(&self) -> bool {
        matches!(
            self,
            Self::DialFailed(DialError::TimedOut) | Self::TargetHandshakeFailed(HandshakeError::Deadline)
        )
    }

    /// Whether the request never reached the target, so that any method may be tried on another.
    pub fn is_before_dispatch(&self) -> bool {
        matches!(self, Self::DialFailed(_) | Self::TargetHandshakeFailed(_))
    }
}

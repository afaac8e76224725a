//! What one worker counts for one listener.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::histogram::{Histogram, add};

/// Who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseSource {
    /// A target.
    Target,
    /// weir itself: a redirect, a fixed response, an error.
    Weir,
}

/// One worker's counts for one listener: plain stores by one writer.
#[derive(Debug, Default)]
pub struct ListenerShard {
    pub(crate) connections: AtomicU64,
    pub(crate) connections_closed: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) requests_grpc: AtomicU64,
    pub(crate) requests_ipv6: AtomicU64,
    pub(crate) requests_odd: AtomicU64,
    pub(crate) invalid_names_dropped: AtomicU64,
    pub(crate) invalid_names_forwarded: AtomicU64,
    pub(crate) request_bytes_of_client: AtomicU64,
    pub(crate) request_bytes_of_target: AtomicU64,
    pub(crate) target_dial_errors: AtomicU64,
    pub(crate) target_port_errors: AtomicU64,
    pub(crate) target_tls_errors: AtomicU64,
    pub(crate) requests_non_sticky: AtomicU64,
    pub(crate) responses_of_targets: [AtomicU64; 5],
    pub(crate) responses_of_weir: [AtomicU64; 5],
    pub(crate) retries: AtomicU64,
    pub(crate) retries_refused: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) held_ended: AtomicU64,
    pub(crate) flows: AtomicU64,
    pub(crate) flows_closed: AtomicU64,
    pub(crate) flow_bytes_of_client: AtomicU64,
    pub(crate) flow_bytes_of_target: AtomicU64,
    pub(crate) request_duration: Histogram,
    pub(crate) target_response_time: Histogram,
    /// Rare, so a list with a lock that only the scraper contends for.
    pub(crate) reasons: Mutex<Reasons>,
}

#[derive(Debug, Default)]
pub(crate) struct Reasons {
    pub(crate) actions: Vec<(&'static str, u64)>,
    pub(crate) generated_statuses: Vec<(u16, u64)>,
    pub(crate) request_errors: Vec<(&'static str, u64)>,
    pub(crate) datagrams_dropped: Vec<(&'static str, u64)>,
    pub(crate) flow_ends: Vec<(&'static str, u64)>,
    pub(crate) handshake_errors: Vec<(&'static str, u64)>,
    pub(crate) proxy_header_errors: Vec<(&'static str, u64)>,
}

impl ListenerShard {
    /// A connection was accepted.
    pub fn connection_opened(&self) {
        add(&self.connections, 1);
    }

    /// A connection ended.
    pub fn connection_closed(&self) {
        add(&self.connections_closed, 1);
    }

    /// A TLS handshake with a client failed.
    pub fn handshake_failed(&self, reason: &'static str) {
        count(&mut self.lock_reasons().handshake_errors, reason);
    }

    /// A proxy did not say who its client is.
    pub fn proxy_header_failed(&self, reason: &'static str) {
        count(&mut self.lock_reasons().proxy_header_errors, reason);
    }

    /// A request's head was read.
    pub fn request_began(&self) {
        add(&self.requests, 1);
    }

    /// A request is a call of gRPC.
    pub fn request_is_grpc(&self) {
        add(&self.requests_grpc, 1);
    }

    /// A request came from an IPv6 address.
    pub fn request_is_ipv6(&self) {
        add(&self.requests_ipv6, 1);
    }

    /// A redirect or a fixed response answered a request.
    pub fn answered_by_action(&self, action: &'static str) {
        count(&mut self.lock_reasons().actions, action);
    }

    /// No connection could be opened to a target; whether that is because no port was left for it.
    pub fn target_dial_failed(&self, has_no_port: bool) {
        add(if has_no_port { &self.target_port_errors } else { &self.target_dial_errors }, 1);
    }

    /// A target and weir could not agree on how to speak TLS.
    pub fn target_tls_failed(&self) {
        add(&self.target_tls_errors, 1);
    }

    /// A request was not as RFC 9112 describes it, whatever became of it.
    pub fn request_was_odd(&self) {
        add(&self.requests_odd, 1);
    }

    /// Names of a request's fields had other characters than letters, digits and hyphens; whether such fields are dropped.
    pub fn request_had_invalid_names(&self, are_dropped: bool) {
        add(if are_dropped { &self.invalid_names_dropped } else { &self.invalid_names_forwarded }, 1);
    }

    /// A target was picked anew in a group whose clients stick to one: there was no cookie, or nothing to stick to.
    pub fn request_was_not_sticky(&self) {
        add(&self.requests_non_sticky, 1);
    }

    /// A response's head was sent, `status` 100 to 599.
    pub fn responded(&self, source: ResponseSource, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        match source {
            ResponseSource::Target => add(&self.responses_of_targets[class], 1),
            ResponseSource::Weir => {
                add(&self.responses_of_weir[class], 1);
                count(&mut self.lock_reasons().generated_statuses, status);
            }
        }
    }

    /// A response ended, this long after its request's head, having moved these bytes of bodies.
    pub fn request_ended(&self, duration: Duration, from_client_bytes: u64, from_target_bytes: u64) {
        add(&self.request_bytes_of_client, from_client_bytes);
        add(&self.request_bytes_of_target, from_target_bytes);
        self.request_duration.observe(duration);
    }

    /// A target's response head arrived, this long after the dispatch.
    pub fn target_responded(&self, duration: Duration) {
        self.target_response_time.observe(duration);
    }

    /// A request was answered with an error of weir's own.
    pub fn request_failed(&self, reason: &'static str) {
        count(&mut self.lock_reasons().request_errors, reason);
    }

    /// A failed attempt was followed by another.
    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    /// The budget did not allow a retry.
    pub fn retry_refused(&self) {
        add(&self.retries_refused, 1);
    }

    /// A request or flow waits for a target, until the hold is dropped.
    pub fn hold(&self) -> Hold<'_> {
        add(&self.held, 1);
        Hold(self)
    }

    /// A flow began.
    pub fn flow_began(&self) {
        add(&self.flows, 1);
    }

    /// A flow ended for `reason`, having moved these bytes.
    pub fn flow_ended(&self, reason: &'static str, from_client_bytes: u64, from_target_bytes: u64) {
        add(&self.flows_closed, 1);
        add(&self.flow_bytes_of_client, from_client_bytes);
        add(&self.flow_bytes_of_target, from_target_bytes);
        count(&mut self.lock_reasons().flow_ends, reason);
    }

    /// A datagram was not passed on, for `reason`.
    pub fn datagram_dropped(&self, reason: &'static str) {
        count(&mut self.lock_reasons().datagrams_dropped, reason);
    }

    pub(crate) fn lock_reasons(&self) -> std::sync::MutexGuard<'_, Reasons> {
        // Counting cannot leave the list half-written, so a poisoned lock is as good as any.
        self.reasons.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A request or flow that waits for a target.
#[derive(Debug)]
pub struct Hold<'a>(&'a ListenerShard);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        add(&self.0.held_ended, 1);
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

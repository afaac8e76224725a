//! Every metric's name and help text: `weir_<noun>_<unit>`, base units, `_total` on counters.

/// A metric's name with its help text.
pub type Named = (&'static str, &'static str);

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Named = ($name, $help);
        )*
        /// Every metric, for the reference and for the test that it is complete.
        pub const ALL: &[Named] = &[$($constant),*];
    };
}

names! {
    ACTIONS = "weir_actions_total", "Requests that the action of a rule or the default action answered, by listener and action: redirect or fixed-response.";
    ACCESS_LOG_LINES_LOST = "weir_access_log_lines_lost_total", "Access-log lines lost because the writer could not keep up.";
    CERTIFICATE_EXPIRY = "weir_certificate_expiry_timestamp_seconds", "When a certificate ends, in seconds since 1970, by its file.";
    CERTIFICATE_RENEWALS = "weir_certificate_renewals_total", "Changes of certificate files, by result: accepted or rejected.";
    COMPARISON_FAILURES = "weir_comparison_failures_total", "Requests of an arm of a comparison that failed, by an answer of 500 to 599 or for want of one, by group and algorithm.";
    COMPARISON_REQUESTS = "weir_comparison_requests_total", "Requests that were answered for an arm of a comparison, by group and algorithm.";
    COMPARISON_RESPONSE_TIME = "weir_comparison_response_time_seconds", "Time from the dispatch of a request to the head of its answer, with what it was tried again, of those that did not fail, by group and algorithm.";
    COMPARISON_SHARE = "weir_comparison_share_ratio", "Part of the connections of a group that compares that an arm takes now, by group and algorithm.";
    CONNECTIONS_OPEN = "weir_connections_open", "Client connections open now, by listener.";
    CONNECTIONS = "weir_connections_total", "Client connections accepted, by listener.";
    CONFIG_RELOADS = "weir_config_reloads_total", "Reloads of the configuration, by result: accepted or rejected.";
    DISCOVERY_FAILURES = "weir_discovery_failures_total", "Failures of a discovery source, by source.";
    FLOW_BYTES = "weir_flow_bytes_total", "Bytes relayed, by listener and the side they came from.";
    DATAGRAMS_DROPPED = "weir_datagrams_dropped_total", "Datagrams of UDP that were not passed on, by listener and reason.";
    FLOW_ENDS = "weir_flow_ends_total", "Flows ended, by listener and reason.";
    FLOWS_OPEN = "weir_flows_open", "Flows relayed now, by listener.";
    FLOWS_MOVED = "weir_flow_table_moved_ratio", "Part of all new flows that the last change of its registered targets leads to another target, by group; flows that are there stay where they are.";
    FLOWS_MOVED_NEEDLESSLY = "weir_flow_table_moved_needlessly_ratio", "Part of all new flows that the last change leads from one target to another though both were registered before and are, by group.";
    FLOWS = "weir_flows_total", "Flows begun, by listener.";
    GENERATED_RESPONSES = "weir_generated_responses_total", "Responses that weir made by itself, by listener and status.";
    HANDSHAKE_ERRORS = "weir_tls_handshake_errors_total", "TLS handshakes with clients that failed, by listener and reason.";
    HELD = "weir_held_total", "Requests and flows that waited for a target, by listener.";
    HOLDING = "weir_holding", "Requests and flows that wait for a target now, by listener.";
    PROXY_HEADER_ERRORS = "weir_proxy_header_errors_total", "Connections of proxies that were reset because no header of the PROXY protocol said who their client is, by listener and reason.";
    REQUEST_BYTES = "weir_request_bytes_total", "Bytes of bodies, by listener and the side they came from: client (requests) or target (responses, weir's own among them).";
    REQUEST_DURATION = "weir_request_duration_seconds", "Time from a request's head to the end of its response, by listener.";
    REQUEST_ERRORS = "weir_request_errors_total", "Requests that weir answered with an error of its own, by listener and reason.";
    REQUESTS = "weir_requests_total", "Requests, by listener.";
    REQUESTS_GRPC = "weir_requests_grpc_total", "Requests that are calls of gRPC, by listener.";
    REQUESTS_IPV6 = "weir_requests_ipv6_total", "Requests of clients with an IPv6 address, by listener.";
    REQUESTS_INVALID_NAMES = "weir_requests_invalid_names_total", "Requests with names of fields that have other characters than letters, digits and hyphens, by listener and what became of such fields: dropped or forwarded.";
    REQUESTS_NON_COMPLIANT = "weir_requests_non_compliant_total", "Requests that are not as RFC 9112 describes them, whatever became of them, by listener.";
    REQUESTS_NON_STICKY = "weir_requests_non_sticky_total", "Requests to groups whose clients stick to a target for which one was picked anew, by listener.";
    RESPONSES = "weir_responses_total", "Responses, by listener, source (target or weir) and class of status.";
    RETRIES = "weir_retries_total", "Attempts on another target after a failed one, by listener.";
    RETRIES_REFUSED = "weir_retries_refused_total", "Retries that the budget did not allow, by listener.";
    SNAPSHOT_GENERATION = "weir_snapshot_generation", "Generation of the current snapshot.";
    TARGET_CONNECTION_ERRORS = "weir_target_connection_errors_total", "Connections to targets that could not be opened, by listener and step: dial, port (none of weir's own was left) or tls.";
    TARGET_FAILURES = "weir_target_failures_total", "Attempts on a target that ended without an answer, by group and target.";
    TARGET_IN_FLIGHT = "weir_target_in_flight", "Requests or flows in flight, by group and target.";
    TARGET_LOAD_PROBES = "weir_target_load_probes_total", "Times that a target was asked for its load, by group, target and result: answered, or unanswered, which has answers that weir does not understand.";
    TARGET_GROUP_UNHEALTHY = "weir_target_group_unhealthy", "Whether a target group has fewer healthy targets than it must have, 1 or 0, by group and what follows: dns or routing.";
    TARGET_PICKS = "weir_target_picks_total", "Requests or flows that a target was picked for, by group and target.";
    TARGET_PICKS_UNHEALTHY = "weir_target_picks_unhealthy_total", "Those of them while too few of the group's targets were healthy, so that every registered one was used, by group and target.";
    TARGET_RESPONSE_TIME = "weir_target_response_time_seconds", "Time from a request's dispatch to the head of the target's response, by listener.";
    SETS_WITHHELD = "weir_target_sets_withheld_total", "Sharply smaller sets that were not believed at once, by source.";
    TARGETS_ANOMALOUS = "weir_targets_anomalous", "Targets that fail far more often than their peers, by group.";
    TARGETS_MITIGATED = "weir_targets_mitigated", "Targets that get less than their weight because they do, or did until lately, by group.";
    TARGETS = "weir_targets", "Targets, by group and health.";
    TRANSITIONS = "weir_target_transitions_total", "Registrations, removals and changes of health.";
}

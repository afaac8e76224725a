//! Every key that the configuration has, by object: for reading, for the nearest match, and for the reference.

/// A kind of object in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    /// What it is called in reports and in the reference.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
    /// Keys that AWS or weir's plans have and this version does not.
    pub later: &'static [&'static str],
}

macro_rules! objects {
    ($($constant:ident = $name:literal, [$($key:literal),* $(,)?], later [$($later:literal),* $(,)?];)*) => {
        $(
            pub(crate) const $constant: Object =
                Object { name: $name, keys: &[$($key),*], later: &[$($later),*] };
        )*
        /// Every kind of object.
        pub const OBJECTS: &[Object] = &[$($constant),*];
    };
}

/// What is told of a target group whose algorithms are compared; all of it is in [`TARGET_GROUP`], too.
pub(crate) const COMPARED: Object = Object {
    name: "target group of a scenario",
    keys: &[
        "concurrency_limits",
        "deregistration_delay",
        "hash",
        "health_check",
        "hold",
        "load_balancing_anomaly_mitigation",
        "load_probe",
        "outlier_ejection",
        "retry_budget",
        "slow_start",
        "target_group_health",
    ],
    later: &[],
};

objects! {
    ROOT = "configuration",
        [
            "admin", "discovery", "limits", "load_balancers", "remember", "secrets", "shared", "target_groups",
            "workers", "zone",
        ],
        later ["certificates"];
    SHARED = "shared configuration", ["load_balancers", "secrets", "target_groups"], later ["certificates"];
    SECRETS = "secrets", ["cookies", "tls_tickets"], later [];
    SHARED_SOURCE = "shared", ["etcd"], later [];
    SHARED_ETCD = "shared.etcd", ["endpoints", "key"], later ["password", "username"];
    ADMIN = "admin", ["bind"], later ["token"];
    LIMITS = "limits", ["connections", "restart_drain"], later [];
    DISCOVERY = "discovery",
        ["confirm_removals", "dns", "docker", "ecs", "etcd", "file", "http", "swarm"],
        later [];
    DNS = "discovery.dns", ["server"], later [];
    DOCKER = "discovery.docker", ["endpoint"], later [];
    ECS = "discovery.ecs",
        [
            "address", "cloud_map", "cluster", "endpoint", "instance_addresses", "interval", "introspection", "region",
            "services",
        ],
        later ["access_key_id", "profile", "role_arn", "secret_access_key"];
    CLOUD_MAP = "discovery.ecs.cloud_map", ["namespace", "service"], later [];
    ETCD = "discovery.etcd", ["endpoints", "prefix", "publish"], later ["password", "username"];
    FILE = "discovery.file", ["path"], later [];
    HTTP = "discovery.http", ["interval", "url"], later [];
    SWARM = "discovery.swarm", ["addresses", "endpoint", "interval"], later [];
    TARGET_GROUP = "target group",
        [
            "comparison", "concurrency_limits", "connection_termination", "cross_zone", "deregistration_delay", "hash", "health_check",
            "hold", "load_balancing_algorithm", "load_balancing_anomaly_mitigation", "load_probe", "name", "outlier_ejection", "preserve_client_ip", "protocol",
            "protocol_version", "proxy_protocol_v2", "retry_budget", "slow_start", "stickiness", "target_group_health", "targets",
            "unhealthy_connection_termination", "unhealthy_draining_interval",
        ],
        later [];
    COMPARISON = "comparison", ["algorithm", "percentage", "stop_when_worse"], later [];
    CONCURRENCY_LIMITS = "concurrency_limits", ["per_group", "per_target"], later [];
    LOAD_PROBE = "load_probe", ["path", "per_request"], later [];
    HASH = "hash", ["balance_factor", "name", "on"], later [];
    OUTLIER_EJECTION = "outlier_ejection",
        ["consecutive_failures", "ejection_time", "maximum_ejected_percentage"],
        later [];
    RETRY_BUDGET = "retry_budget", ["minimum", "percentage"], later [];
    TARGET_GROUP_HEALTH = "target_group_health", ["dns_failover", "unhealthy_state_routing"], later [];
    MINIMUM_HEALTHY = "minimum of healthy targets",
        ["minimum_healthy_targets_count", "minimum_healthy_targets_percentage"],
        later [];
    STICKINESS = "stickiness", ["cookie_name", "duration", "type"], later [];
    HEALTH_CHECK = "health check",
        ["healthy_threshold", "interval", "matcher", "path", "port", "protocol", "timeout", "unhealthy_threshold"],
        later [];
    ADDRESS_TARGET = "target",
        [
            "address", "dns", "docker", "ecs", "etcd", "file", "http", "port", "quic_server_id", "swarm", "weight", "zone",
        ],
        later [];
    DNS_TARGET = "dns target", ["name", "port", "type", "weight"], later [];
    TASK_TARGET = "tasks", ["container_port", "project", "service", "weight"], later ["network"];
    APPLICATION = "application load balancer",
        [
            "access_log", "client_keep_alive", "connection_log", "desync_mitigation_mode", "drop_invalid_header_fields",
            "enable_http2", "health_check_log", "http2_prior_knowledge", "idle_timeout", "listeners", "name", "preserve_host_header", "type",
            "x_amzn_tls_version_and_cipher_suite", "xff_client_port", "xff_header_processing_mode",
        ],
        later [];
    NETWORK = "network load balancer",
        ["access_log", "cross_zone", "idle_timeout", "listeners", "name", "tcp_idle_timeout", "type"],
        later [];
    CLASSIC = "classic load balancer",
        [
            "access_log", "concurrency_limits", "connection_draining", "cross_zone", "desync_mitigation_mode", "health_check", "idle_timeout",
            "instance_ports", "instances",
            "listeners", "name", "type",
        ],
        later ["stickiness"];
    CLASSIC_HEALTH_CHECK = "classic health check",
        ["healthy_threshold", "interval", "target", "timeout", "unhealthy_threshold"],
        later [];
    CONNECTION_DRAINING = "connection draining", ["enabled", "timeout"], later [];
    LOG = "log", ["format", "path"], later [];
    APPLICATION_LISTENER = "application listener",
        [
            "bind",
            "certificates",
            "default_action",
            "default_actions",
            "mutual_authentication",
            "protocol",
            "proxy_protocol",
            "routing_http_request_x_amzn_mtls_clientcert_header_name",
            "routing_http_request_x_amzn_mtls_clientcert_issuer_header_name",
            "routing_http_request_x_amzn_mtls_clientcert_leaf_header_name",
            "routing_http_request_x_amzn_mtls_clientcert_serial_number_header_name",
            "routing_http_request_x_amzn_mtls_clientcert_subject_header_name",
            "routing_http_request_x_amzn_mtls_clientcert_validity_header_name",
            "routing_http_request_x_amzn_tls_cipher_suite_header_name",
            "routing_http_request_x_amzn_tls_version_header_name",
            "routing_http_response_access_control_allow_credentials_header_value",
            "routing_http_response_access_control_allow_headers_header_value",
            "routing_http_response_access_control_allow_methods_header_value",
            "routing_http_response_access_control_allow_origin_header_value",
            "routing_http_response_access_control_expose_headers_header_value",
            "routing_http_response_access_control_max_age_header_value",
            "routing_http_response_content_security_policy_header_value",
            "routing_http_response_server_enabled",
            "routing_http_response_strict_transport_security_header_value",
            "routing_http_response_x_content_type_options_header_value",
            "routing_http_response_x_frame_options_header_value",
            "rules",
            "ssl_policy",
        ],
        later [];
    CERTIFICATE = "certificate", ["certificate", "key"], later [];
    MUTUAL_AUTHENTICATION = "mutual_authentication",
        [
            "advertise_trust_store_ca_names", "ignore_client_certificate_expiry", "mode", "revocation_lists",
            "trust_store",
        ],
        later [];
    NETWORK_LISTENER = "network listener",
        ["alpn_policy", "bind", "certificates", "default_action", "protocol", "proxy_protocol", "ssl_policy", "udp_idle_timeout"],
        later ["tcp_idle_timeout"];
    CLASSIC_LISTENER = "classic listener",
        [
            "bind", "certificates", "instance_port", "instance_protocol", "protocol", "proxy_protocol", "ssl_policy",
            "stickiness",
        ],
        later [];
    INSTANCE = "instance", ["address", "zone"], later [];
    INSTANCE_PORT = "instance port", ["port", "proxy_protocol", "public_keys"], later [];
    PROXIES = "proxy_protocol", ["from", "timeout"], later [];
    RULE = "rule", ["actions", "conditions", "priority", "transforms"], later [];
    TRANSFORM = "transform", ["host_header_rewrite", "url_rewrite"], later [];
    REWRITE = "rewrite", ["regex", "replace"], later [];
    CONDITION = "condition",
        ["host_header", "http_header", "http_request_method", "path_pattern", "query_string", "source_ip"],
        later [];
    HTTP_HEADER = "http_header condition", ["name", "regex_values", "values"], later [];
    PATTERNS = "patterns", ["regex_values", "values"], later [];
    QUERY_PAIR = "query_string pair", ["key", "value"], later [];
    ACTION = "action",
        ["authenticate_oidc", "fixed_response", "forward", "jwt_validation", "redirect"],
        later ["authenticate_cognito"];
    AUTHENTICATE_OIDC = "authenticate_oidc action",
        [
            "authentication_request_extra_params", "authorization_endpoint", "client_id", "client_secret_file", "issuer",
            "on_unauthenticated_request", "scope", "session_cookie_name", "session_timeout", "token_endpoint",
            "user_info_endpoint",
        ],
        later [];
    JWT_VALIDATION = "jwt_validation action", ["additional_claims", "issuer", "jwks_endpoint"], later [];
    ADDITIONAL_CLAIM = "additional claim", ["format", "name", "values"], later [];
    FORWARD = "forward action", ["stickiness", "target_groups"], later [];
    FORWARD_STICKINESS = "stickiness of a forward action", ["duration"], later [];
    FORWARD_GROUP = "weighted target group", ["name", "weight"], later [];
    REDIRECT = "redirect action", ["host", "path", "port", "protocol", "query", "status_code"], later [];
    FIXED_RESPONSE = "fixed_response action", ["content_type", "message_body", "status_code"], later [];
}

//! What a listener changes of header fields, whatever the rule.
//!
//! Source: Application Load Balancer, "Listener attributes" and "HTTP header modification".

/// Longest value that is set on responses, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024;

/// Longest name that a listener gives a field, in bytes. Source: the limit of names in conditions.
pub const NAME_BYTES_MAX: usize = 40;

/// The fields that can be set on responses: the configuration's key, and the field's name.
pub const RESPONSE_FIELDS: [(&str, &str); 10] = [
    (
        "routing_http_response_access_control_allow_credentials_header_value",
        "Access-Control-Allow-Credentials",
    ),
    ("routing_http_response_access_control_allow_headers_header_value", "Access-Control-Allow-Headers"),
    ("routing_http_response_access_control_allow_methods_header_value", "Access-Control-Allow-Methods"),
    ("routing_http_response_access_control_allow_origin_header_value", "Access-Control-Allow-Origin"),
    ("routing_http_response_access_control_expose_headers_header_value", "Access-Control-Expose-Headers"),
    ("routing_http_response_access_control_max_age_header_value", "Access-Control-Max-Age"),
    ("routing_http_response_content_security_policy_header_value", "Content-Security-Policy"),
    ("routing_http_response_strict_transport_security_header_value", "Strict-Transport-Security"),
    ("routing_http_response_x_content_type_options_header_value", "X-Content-Type-Options"),
    ("routing_http_response_x_frame_options_header_value", "X-Frame-Options"),
];

/// The fields toward targets that can have another name: the configuration's key, and AWS's name.
pub const RENAMED_FIELDS: [(&str, &str); 8] = [
    ("routing_http_request_x_amzn_mtls_clientcert_header_name", "X-Amzn-Mtls-Clientcert"),
    ("routing_http_request_x_amzn_mtls_clientcert_issuer_header_name", "X-Amzn-Mtls-Clientcert-Issuer"),
    ("routing_http_request_x_amzn_mtls_clientcert_leaf_header_name", "X-Amzn-Mtls-Clientcert-Leaf"),
    (
        "routing_http_request_x_amzn_mtls_clientcert_serial_number_header_name",
        "X-Amzn-Mtls-Clientcert-Serial-Number",
    ),
    ("routing_http_request_x_amzn_mtls_clientcert_subject_header_name", "X-Amzn-Mtls-Clientcert-Subject"),
    ("routing_http_request_x_amzn_mtls_clientcert_validity_header_name", "X-Amzn-Mtls-Clientcert-Validity"),
    ("routing_http_request_x_amzn_tls_cipher_suite_header_name", CIPHER_SUITE),
    ("routing_http_request_x_amzn_tls_version_header_name", TLS_VERSION),
];

/// Tells a target the cipher suite that was settled with its client.
pub const CIPHER_SUITE: &str = "X-Amzn-Tls-Cipher-Suite";

/// Tells a target the version of TLS that was settled with its client.
pub const TLS_VERSION: &str = "X-Amzn-Tls-Version";

/// What a listener changes of header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    /// Set on every response in place of what its target has set: names and values.
    pub responses: Vec<(&'static str, String)>,
    /// Whether responses keep their `Server`.
    pub keeps_server: bool,
    /// AWS's names of fields toward targets, and the names that they have here.
    pub renamed: Vec<(&'static str, String)>,
}

impl Default for HeaderRules {
    fn default() -> Self {
        Self { responses: Vec::new(), keeps_server: true, renamed: Vec::new() }
    }
}

impl HeaderRules {
    /// What a field toward targets is called that AWS calls `name`.
    pub fn name<'s>(&'s self, name: &'s str) -> &'s str {
        self.renamed.iter().find(|(known, _)| *known == name).map_or(name, |(_, own)| own)
    }

    /// Whether responses pass as they are.
    pub fn leaves_responses(&self) -> bool {
        self.responses.is_empty() && self.keeps_server
    }
}

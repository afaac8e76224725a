//! Calls of AWS's APIs: signed, bounded, and told apart when they are refused.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_core::ecs::Aws;
use weir_core::url::HttpUrl;

use super::credentials::Credentials;
use super::signature::{Scope, authorization, timestamp};
use weir_fetch::{self as client, ClientError};

/// Largest answer to one call, in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest message of a refusal that is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

const OK: u16 = 200;

/// Whose API.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service {
    /// Cloud Map's data plane.
    CloudMap,
    /// Amazon EC2, which takes forms and answers in XML.
    Ec2,
    /// Amazon ECS.
    Ecs,
}

impl Service {
    /// The service in signatures.
    fn signed(self) -> &'static str {
        match self {
            Self::CloudMap => "servicediscovery",
            Self::Ec2 => "ec2",
            Self::Ecs => "ecs",
        }
    }

    /// The service in AWS's own host names.
    fn host(self) -> &'static str {
        match self {
            Self::CloudMap => "data-servicediscovery",
            Self::Ec2 => "ec2",
            Self::Ecs => "ecs",
        }
    }

    /// What precedes the action in `X-Amz-Target`, or is the version in a form.
    fn target(self) -> &'static str {
        match self {
            Self::CloudMap => "Route53AutoNaming_v20170314",
            Self::Ec2 => "2016-11-15",
            Self::Ecs => "AmazonEC2ContainerServiceV20141113",
        }
    }
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer in pages without an end.
    #[error("{action} was answered with more than {pages} pages; no more are read")]
    Endless {
        /// What was asked.
        action: &'static str,
        /// The most pages that are read.
        pages: usize,
    },
    /// An answer that says no.
    #[error("{action} was refused: {kind}: {message}{}", remedy(.kind))]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The exception's name, or the status.
        kind: String,
        /// What it says.
        message: String,
    },
    /// An answer in another shape.
    #[error("{action} was answered with what is not its answer: {error}")]
    Shape {
        /// What was asked.
        action: &'static str,
        /// What is wrong with it.
        #[source]
        error: serde_json::Error,
    },
}

impl ApiError {
    /// Whether the call was refused with this exception.
    pub(super) fn is(&self, exception: &str) -> bool {
        matches!(self, Self::Refused { kind, .. } if kind == exception)
    }
}

fn remedy(kind: &str) -> &'static str {
    match kind {
        "AccessDeniedException" => "; allow the action to the credentials that weir has",
        "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => {
            "; look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and start weir again"
        }
        _ => "",
    }
}

/// One API of one region.
#[derive(Debug)]
pub(super) struct Api {
    service: Service,
    region: String,
    endpoint: HttpUrl,
    credentials: Credentials,
}

impl Api {
    /// # Errors
    /// A region that no host name has.
    pub(super) fn new(service: Service, aws: &Aws, credentials: Credentials) -> Result<Self, String> {
        let endpoint = match &aws.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => own_endpoint(service, &aws.region)?,
        };
        Ok(Self { service, region: aws.region.clone(), endpoint, credentials })
    }

    /// Calls an action: the answer without what is null, which is as good as absent.
    pub(super) async fn call<A: DeserializeOwned>(
        &self,
        action: &'static str,
        request: Value,
    ) -> Result<A, ApiError> {
        let headers = BTreeMap::from([
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", format!("{}.{action}", self.service.target())),
        ]);
        let bytes = self.send(action, headers, request.to_string()).await?;
        parse(&bytes).map_err(|error| ApiError::Shape { action, error })
    }

    /// Calls an action of an API that takes a form, whose parameters need no escaping: the answer, in XML.
    pub(super) async fn call_form(&self, action: &'static str, parameters: &str) -> Result<String, ApiError> {
        let kind = "application/x-www-form-urlencoded".to_owned();
        let body = format!("Action={action}&Version={}&{parameters}", self.service.target());
        let bytes = self.send(action, BTreeMap::from([("content-type", kind)]), body).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn send(
        &self,
        action: &'static str,
        mut headers: BTreeMap<&'static str, String>,
        body: String,
    ) -> Result<Vec<u8>, ApiError> {
        headers.insert("host", self.endpoint.authority());
        headers.insert("x-amz-date", timestamp(wall_time()));
        if let Some(token) = self.credentials.session_token() {
            headers.insert("x-amz-security-token", token.to_owned());
        }
        let scope = Scope { region: &self.region, service: self.service.signed() };
        let authorization = authorization(&self.credentials, scope, "POST", &headers, &body);
        // The client writes this one itself, with the same value.
        headers.remove("host");
        headers.insert("authorization", authorization);
        let headers: Vec<(&'static str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();

        let answer = client::post(&self.endpoint, &headers, body).await?;
        let status = answer.status;
        let bytes = answer.whole(ANSWER_BYTES_MAX).await?;
        if status != OK {
            return Err(refusal(action, status, &bytes));
        }
        Ok(bytes)
    }
}

/// AWS's own endpoint of a region.
fn own_endpoint(service: Service, region: &str) -> Result<HttpUrl, String> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let url = format!("https://{}.{region}.{domain}/", service.host());
    url.parse().map_err(|error| format!("the region {region:?} has no endpoint: {error}"))
}

/// What a refusal says: in JSON `__type` may have a namespace in front, and the message either case.
fn refusal(action: &'static str, status: u16, body: &[u8]) -> ApiError {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let xml = String::from_utf8_lossy(body);
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let kind =
        text("__type").and_then(|kind| kind.rsplit(['#', ':']).next()).or_else(|| element(&xml, "Code"));
    let message = text("message").or_else(|| text("Message")).or_else(|| element(&xml, "Message"));
    let message = message.unwrap_or("without a reason");
    ApiError::Refused {
        action,
        kind: kind.map_or_else(|| format!("status {status}"), ToOwned::to_owned),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
    }
}

/// Reads an answer in which null is as good as absent.
///
/// # Errors
/// Not JSON, or another shape.
pub(super) fn parse<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    remove_nulls(&mut value);
    serde_json::from_value(value)
}

/// The text of the first element of that name in XML, if it has nothing but text.
pub(super) fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, rest) = rest.split_once('<')?;
    rest.starts_with(&format!("/{name}>")).then_some(text)
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        _ => {}
    }
}

#[allow(clippy::disallowed_methods, reason = "a signature is good for a few minutes of wall time")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_endpoints_of_its_own() {
        let url = |service, region| own_endpoint(service, region).unwrap().to_string();
        assert_eq!(url(Service::Ecs, "eu-central-1"), "https://ecs.eu-central-1.amazonaws.com/");
        assert_eq!(url(Service::Ecs, "cn-north-1"), "https://ecs.cn-north-1.amazonaws.com.cn/");
        let cloud_map = url(Service::CloudMap, "us-east-1");
        assert_eq!(cloud_map, "https://data-servicediscovery.us-east-1.amazonaws.com/");
        assert!(own_endpoint(Service::Ecs, "a b").is_err());
    }

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let body = br#"{"__type":"com.amazonaws.ecs#AccessDeniedException","Message":"not authorized"}"#;
        let error = refusal("ListTasks", 400, body);
        assert!(error.is("AccessDeniedException"));
        let told = error.to_string();
        assert!(told.contains("ListTasks was refused") && told.contains("allow the action"), "{told}");
        let xml = b"<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error></ErrorResponse>";
        assert!(
            refusal("ListTasks", 403, xml).to_string().contains("SignatureDoesNotMatch: no; look at AWS_")
        );
        assert!(refusal("ListTasks", 503, b"<html>").to_string().contains("status 503"));
    }
}

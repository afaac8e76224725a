//! Access logs, read again: lines as an Application or Classic Load Balancer writes them, and weir's JSON.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Why a line is none of an access log: what it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A field in quotes does not end.
    #[error("a quote is not closed")]
    Quote,
    /// It has fewer fields than any format.
    #[error(
        "it has {0} fields; an Application Load Balancer's line has 29 or more, a Classic one's 15, and weir's JSON is an object"
    )]
    Fields(usize),
    /// It begins as JSON and is none.
    #[error("it begins like JSON, and is not a whole object")]
    Json,
    /// A field is missing, or is not what it should be.
    #[error("its {0} is missing or is not one")]
    Field(&'static str),
}

/// A request that was logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it came, since 1970.
    pub came: Duration,
    /// Its load balancer.
    pub load_balancer: String,
    /// Who asked.
    pub client: SocketAddr,
    /// The method, as it was sent.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// What the client called itself; empty when it did not.
    pub user_agent: String,
    /// Who had it, if somebody had.
    pub target: Option<SocketAddr>,
    /// The group of that, where the log says so.
    pub target_group: Option<String>,
    /// How long the target took until its answer began; `None` when it never did.
    pub target_took: Option<Duration>,
    /// What was answered; `None` when nothing was.
    pub status: Option<u16>,
    /// The rule's priority, `0` for the default one; `None` where no rule was looked at.
    pub rule: Option<String>,
    /// What was done: `forward`, `redirect`, `fixed-response`, several with commas; empty where the log does not say.
    pub actions: String,
}

impl Entry {
    /// Reads a line.
    ///
    /// # Errors
    /// [`LineError`]: what is wrong first.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        if line.trim_start().starts_with('{') {
            return json(line);
        }
        let fields = split(line)?;
        match fields.len() {
            29.. => application(&fields),
            15..=17 => classic(&fields),
            count => Err(LineError::Fields(count)),
        }
    }
}

/// Splits at spaces, but for those in quotes, where a backslash takes the next character as it is, and `\x41` is one.
fn split(line: &str) -> Result<Vec<String>, LineError> {
    let mut fields = Vec::new();
    let mut characters = line.trim_end().chars().peekable();
    while characters.peek().is_some() {
        let mut field = String::new();
        if characters.next_if_eq(&'"').is_some() {
            loop {
                match characters.next().ok_or(LineError::Quote)? {
                    '"' => break,
                    '\\' => match characters.next().ok_or(LineError::Quote)? {
                        'x' => {
                            let digits: String = characters.by_ref().take(2).collect();
                            let code = u8::from_str_radix(&digits, 16).map_err(|_| LineError::Quote)?;
                            field.push(char::from(code));
                        }
                        other => field.push(other),
                    },
                    other => field.push(other),
                }
            }
        }
        while let Some(character) = characters.next_if(|character| *character != ' ') {
            field.push(character);
        }
        characters.next();
        fields.push(field);
    }
    Ok(fields)
}

fn application(fields: &[String]) -> Result<Entry, LineError> {
    let field = |number: usize| fields[number - 1].as_str();
    let (method, url) = request(field(13))?;
    let load_balancer = field(3).strip_prefix("app/").unwrap_or(field(3));
    Ok(Entry {
        came: moment(field(22)).ok_or(LineError::Field("time of creation, field 22,"))?,
        // AWS writes the id behind the name.
        load_balancer: load_balancer.split('/').next().unwrap_or(load_balancer).to_owned(),
        client: field(4).parse().map_err(|_| LineError::Field("client, field 4,"))?,
        method,
        url,
        user_agent: said(field(14)).unwrap_or_default().to_owned(),
        target: said(field(5)).and_then(|addr| addr.parse().ok()),
        target_group: said(field(17)).map(|arn| group_name(arn).to_owned()),
        target_took: seconds(field(7)),
        status: field(9).parse().ok(),
        rule: said(field(21)).map(ToOwned::to_owned),
        actions: said(field(23)).unwrap_or_default().to_owned(),
    })
}

fn classic(fields: &[String]) -> Result<Entry, LineError> {
    let field = |number: usize| fields[number - 1].as_str();
    let (method, url) = request(field(12))?;
    Ok(Entry {
        came: moment(field(1)).ok_or(LineError::Field("time, field 1,"))?,
        load_balancer: field(2).to_owned(),
        client: field(3).parse().map_err(|_| LineError::Field("client, field 3,"))?,
        method,
        url,
        user_agent: fields.get(12).and_then(|agent| said(agent)).unwrap_or_default().to_owned(),
        target: said(field(4)).and_then(|addr| addr.parse().ok()),
        target_group: None,
        target_took: seconds(field(6)),
        status: field(8).parse().ok(),
        rule: None,
        actions: String::new(),
    })
}

fn json(line: &str) -> Result<Entry, LineError> {
    let object: serde_json::Value = serde_json::from_str(line).map_err(|_| LineError::Json)?;
    let text = |name: &'static str| object[name].as_str();
    let took =
        |name: &'static str| object[name].as_f64().and_then(|took| Duration::try_from_secs_f64(took).ok());
    let written = text("time").and_then(moment).ok_or(LineError::Field("`time`"))?;
    let steps = ["request_processing_seconds", "target_processing_seconds", "response_processing_seconds"];
    let lasted: Duration = steps.into_iter().filter_map(took).sum();
    let (method, url) = request(text("request").unwrap_or_default())?;
    let client = text("client").and_then(|client| client.parse().ok());
    Ok(Entry {
        came: written.saturating_sub(lasted),
        load_balancer: text("load_balancer").unwrap_or_default().to_owned(),
        client: client.ok_or(LineError::Field("`client`"))?,
        method,
        url,
        user_agent: text("user_agent").and_then(said).unwrap_or_default().to_owned(),
        target: text("target").and_then(|addr| addr.parse().ok()),
        target_group: text("target_group").map(ToOwned::to_owned),
        target_took: took("target_processing_seconds"),
        status: object["status"].as_u64().and_then(|status| status.try_into().ok()),
        rule: text("rule").and_then(said).map(ToOwned::to_owned),
        actions: text("action").and_then(said).unwrap_or_default().to_owned(),
    })
}

/// What a field says, if it says anything.
fn said(field: &str) -> Option<&str> {
    Some(field).filter(|field| !field.is_empty() && *field != "-")
}

/// `GET http://a.example:80/ HTTP/1.1`: the first two of it.
fn request(line: &str) -> Result<(String, String), LineError> {
    let mut words = line.split(' ');
    match (words.next().and_then(said), words.next()) {
        (Some(method), Some(url)) if url.contains("://") => Ok((method.to_owned(), url.to_owned())),
        _ => Err(LineError::Field("request, `METHOD URL VERSION`,")),
    }
}

fn moment(text: &str) -> Option<Duration> {
    humantime::parse_rfc3339(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// A time in seconds; -1 is none.
fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// `arn:aws:elasticloadbalancing:…:targetgroup/NAME/ID`, or the name itself.
fn group_name(arn: &str) -> &str {
    match arn.split_once(":targetgroup/") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        None => arn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: &str = r#"http 2026-11-27T13:00:00.250000Z app/edge/0123 127.0.0.1:5000 127.0.0.1:9001 0.001 0.120 0.000 200 200 34 366 "GET http://a.example:80/api?x=1 HTTP/1.1" "curl/8 \"quoted\"" - - arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/api/73 "Root=1-2" "-" "-" 10 2026-11-27T13:00:00.125000Z "forward" "-" "-" "127.0.0.1:9001" "200" "-" "-" TID_1 "-" "-" "-""#;

    #[test]
    fn a_line_of_an_application_load_balancer_is_read() {
        let entry = Entry::parse(APPLICATION).unwrap();
        assert_eq!((entry.method.as_str(), entry.url.as_str()), ("GET", "http://a.example:80/api?x=1"));
        assert_eq!((entry.load_balancer.as_str(), entry.user_agent.as_str()), ("edge", "curl/8 \"quoted\""));
        assert_eq!((entry.rule.as_deref(), entry.target_group.as_deref()), (Some("10"), Some("api")));
        assert_eq!(entry.target, Some(([127, 0, 0, 1], 9001).into()));
        assert_eq!((entry.came.subsec_millis(), entry.target_took), (125, Some(Duration::from_millis(120))));
    }

    #[test]
    fn a_line_of_json_is_read_from_when_it_came() {
        let line = r#"{"time":"2026-11-27T13:00:00.250000Z","load_balancer":"edge","client":"127.0.0.1:5000","target":null,"request":"GET http://a/ HTTP/1.1","status":503,"request_processing_seconds":0.05,"target_processing_seconds":null,"rule":"0","action":"forward","user_agent":"-"}"#;
        let entry = Entry::parse(line).unwrap();
        assert_eq!((entry.came.subsec_millis(), entry.status, entry.target), (200, Some(503), None));
        assert_eq!((entry.rule.as_deref(), entry.user_agent.as_str()), (Some("0"), ""));
    }

    #[test]
    fn a_line_of_a_classic_load_balancer_is_read() {
        let line = r#"2026-11-27T13:00:00.250000Z old 127.0.0.1:5000 127.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://a.example:80/ HTTP/1.1" "curl/7" - -"#;
        let entry = Entry::parse(line).unwrap();
        assert_eq!((entry.load_balancer.as_str(), entry.rule, entry.status), ("old", None, Some(200)));
        assert_eq!(entry.target_took, Some(Duration::from_micros(1048)));
    }

    #[test]
    fn what_is_no_line_says_what_it_lacks() {
        let says = |line: &str| Entry::parse(line).unwrap_err().to_string();
        assert!(says("hello world").starts_with("it has 2 fields"));
        assert_eq!(says("http \"never closed"), "a quote is not closed");
        assert_eq!(says("{\"time\":"), "it begins like JSON, and is not a whole object");
        assert_eq!(says("{\"client\":\"a\"}"), "its `time` is missing or is not one");
        let odd = APPLICATION.replace("GET http://a.example:80/api?x=1 HTTP/1.1", "- - -");
        assert_eq!(says(&odd), "its request, `METHOD URL VERSION`, is missing or is not one");
        assert!(says(&APPLICATION.replace("127.0.0.1:5000", "nobody")).starts_with("its client, field 4,"));
    }
}

//! The HTTP source: asks a URL that answers in the shape of Prometheus's `http_sd`, again and again.
//!
//! An answer that cannot be read, or none, keeps the last good set; an element with a mistake is left out alone. A
//! server that gives its answers an `ETag` is asked whether there is another one, and need not send the same again.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use weir_core::task::SourceKind;
use weir_core::url::HttpUrl;

use crate::Report;
use crate::elements::{self, Document, Elements};
use crate::reporter::{Backoff, Gone, Reporter, while_wanted};
use weir_fetch as client;

/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Follows `url` until nobody takes reports any more; `interval` is the time between an answer and the next question.
pub async fn watch(url: HttpUrl, interval: Duration, reports: Sender<Report>) {
    while_wanted(&reports, follow(&url, interval, reports.clone())).await;
}

async fn follow(url: &HttpUrl, interval: Duration, reports: Sender<Report>) -> Gone {
    let mut reporter = Reporter::new(SourceKind::Http, reports);
    let mut backoff = Backoff::default();
    let mut etag = None;
    loop {
        let (told, pause) = match ask(url, etag.as_deref(), interval).await {
            Ok(answer) => {
                backoff.reset();
                (take_in(answer, &mut etag, &mut reporter).await, interval)
            }
            Err(problem) => (reporter.fail(format!("{url}: {problem}")).await, backoff.next()),
        };
        if told.is_err() {
            return Gone;
        }
        sleep(pause).await;
    }
}

/// What a server says.
enum Answer {
    /// Nothing has changed since the answer of that tag.
    Same,
    /// All there is now.
    Whole { elements: Elements, etag: Option<String> },
}

async fn take_in(answer: Answer, etag: &mut Option<String>, reporter: &mut Reporter) -> Result<(), Gone> {
    reporter.recover().await?;
    if let Answer::Whole { elements, etag: tag } = answer {
        *etag = tag;
        reporter.quarantine(elements.mistakes.into_iter().collect()).await?;
        reporter.tell(elements.tasks).await?;
    }
    Ok(())
}

/// One question; `etag` is the tag of the last good answer.
async fn ask(url: &HttpUrl, etag: Option<&str>, interval: Duration) -> Result<Answer, String> {
    const OK: u16 = 200;
    const NOT_MODIFIED: u16 = 304;
    // Prometheus tells servers how often it asks; those that were written for it may want to know.
    let seconds = interval.as_secs().max(1).to_string();
    let mut headers = vec![("x-prometheus-refresh-interval-seconds", seconds.as_str())];
    headers.extend(etag.map(|etag| ("if-none-match", etag)));
    let answer = client::get(url, &headers).await.map_err(|error| error.to_string())?;
    match answer.status {
        OK => {
            let etag = answer.header("etag").map(ToOwned::to_owned);
            let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
            Ok(Answer::Whole { elements: parse(&body, url)?, etag })
        }
        NOT_MODIFIED if etag.is_some() => Ok(Answer::Same),
        status @ 300..400 => Err(format!("answered with status {status}; write the URL that it leads to")),
        status => Err(format!("answered with status {status} where 200 was expected")),
    }
}

fn parse(body: &[u8], url: &HttpUrl) -> Result<Elements, String> {
    let elements = elements::from_json(body)
        .map_err(|problem| format!("answered what is not a list of targets in http_sd's shape: {problem}"))?;
    let url = url.to_string();
    let document =
        Document { source: SourceKind::Http, owner: &url, origin: &url, cause: "listed", identity: None };
    document.read(&elements)
}

#[cfg(test)]
mod tests;

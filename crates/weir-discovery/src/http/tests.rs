//! Promises of the HTTP source.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::*;

/// Longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

const ONE: &str = r#"[{"targets":["127.0.0.1:9001"],"labels":{"service":"db"}}]"#;

/// A server that gives these answers in turn, the last one for ever, and the heads of the requests that it got.
async fn serve(answers: Vec<String>) -> (HttpUrl, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/targets", listener.local_addr().unwrap()).parse().unwrap();
    let (heads, received) = channel(16);
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = &answers[at.min(answers.len() - 1)];
            // A client that reads no further is what some of these answers are for.
            let _ = stream.write_all(answer.as_bytes()).await;
            if heads.send(String::from_utf8(head).unwrap()).await.is_err() {
                return;
            }
        }
    });
    (url, received)
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Fine\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn follow(url: &HttpUrl) -> Receiver<Report> {
    let (sender, reports) = channel(16);
    tokio::spawn(watch(url.clone(), Duration::from_millis(10), sender));
    reports
}

async fn next<T>(channel: &mut Receiver<T>) -> T {
    timeout(DEADLINE, channel.recv()).await.expect("in time").expect("somebody who sends")
}

/// What the source says is wrong when it gets this answer.
async fn problem_of(answer: String) -> String {
    let (url, _heads) = serve(vec![answer]).await;
    match next(&mut follow(&url)).await {
        Report::Failed(failure) => failure.problem,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_tag_is_sent_back_and_the_same_answer_is_told_once() {
    let (url, mut heads) = serve(vec![
        answer(200, "ETag: \"one\"\r\n", ONE),
        "HTTP/1.1 304 Same\r\n\r\n".to_owned(),
        answer(200, "", "[]"),
        answer(500, "", ""),
    ])
    .await;
    let mut reports = follow(&url);
    let first = next(&mut heads).await;
    assert!(first.starts_with("GET /targets HTTP/1.1\r\n") && !first.contains("if-none-match"), "{first}");
    assert!(next(&mut heads).await.contains("if-none-match: \"one\"\r\n"));
    let kinds = [next(&mut reports).await, next(&mut reports).await, next(&mut reports).await];
    let Report::Tasks(set) = &kinds[0] else { panic!("not a set: {kinds:?}") };
    assert_eq!((set.tasks.len(), set.tasks[0].service.as_deref()), (1, Some("db")));
    assert!(matches!(&kinds[1], Report::Tasks(set) if set.tasks.is_empty()), "{kinds:?}");
    assert!(matches!(&kinds[2], Report::Failed(failure) if failure.problem.contains("500")), "{kinds:?}");
    next(&mut heads).await;
    assert!(!next(&mut heads).await.contains("if-none-match"), "an answer without a tag has none");
}

#[tokio::test]
async fn an_answer_that_is_none_says_why() {
    assert!(problem_of(answer(404, "", "")).await.contains("status 404"));
    assert!(problem_of(answer(302, "Location: /x\r\n", "")).await.contains("the URL that it leads to"));
    assert!(problem_of(answer(304, "", "")).await.contains("status 304"));
    assert!(
        problem_of(answer(200, "", "<html>")).await.contains("http_sd's shape: expected value at line 1")
    );
    assert!(problem_of(answer(200, "", &ONE[..30])).await.contains("EOF"));
    assert!(problem_of("nonsense\r\n\r\n".to_owned()).await.contains("invalid HTTP"));
    let large = answer(200, "", &" ".repeat(ANSWER_BYTES_MAX + 1));
    assert!(problem_of(large).await.contains("more than 1048576 bytes"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_until_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    // By its name, which is looked up by the system as any client does.
    let url: HttpUrl = format!("http://localhost:{}/", addr.port()).parse().unwrap();
    let mut reports = follow(&url);
    let Report::Failed(failure) = next(&mut reports).await else { panic!("not a failure") };
    assert!(failure.problem.contains("cannot connect"), "{}", failure.problem);
    let listener = TcpListener::bind(addr).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(answer(200, "", ONE).as_bytes()).await.unwrap();
    assert_eq!(next(&mut reports).await, Report::Recovered(SourceKind::Http));
    assert!(matches!(next(&mut reports).await, Report::Tasks(_)));
}

#[tokio::test]
async fn a_mistaken_element_is_left_out_alone() {
    let body = r#"[{"targets":["127.0.0.1:9001"]},{"targets":["nowhere"]}]"#;
    let (url, _heads) = serve(vec![answer(200, "", body)]).await;
    let mut reports = follow(&url);
    let report = next(&mut reports).await;
    assert!(
        matches!(&report, Report::LeftOut { mistakes, .. } if mistakes.iter().all(|m| m.owner == format!("{url}, entry 2"))),
        "{report:?}"
    );
    assert!(matches!(next(&mut reports).await, Report::Tasks(set) if set.tasks.len() == 1));
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), length in 0..ONE.len()) {
        let url = "http://127.0.0.1/".parse().unwrap();
        let _ = (parse(&body, &url), parse(&ONE.as_bytes()[..length], &url));
    }
}

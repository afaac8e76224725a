//! Promises of the etcd source that a real etcd does not make happen on demand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use tokio::sync::mpsc::{Receiver, channel};

use super::*;

/// Longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

async fn next(reports: &mut Receiver<Report>) -> Report {
    timeout(DEADLINE, reports.recv()).await.expect("in time").expect("a watcher")
}

/// A member of a cluster that answers only as a test lets it.
struct Member(TcpListener);

impl Member {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self) -> HttpUrl {
        format!("http://{}", self.0.local_addr().unwrap()).parse().unwrap()
    }

    /// The next request, which must be for this path.
    async fn asked(&self, path: &str) -> TcpStream {
        let (mut stream, _) = timeout(DEADLINE, self.0.accept()).await.unwrap().unwrap();
        let mut text = String::new();
        // All requests of this source are one JSON object.
        while !text.ends_with('}') || text.matches('{').count() != text.matches('}').count() {
            text.push(stream.read_u8().await.unwrap().into());
        }
        assert!(text.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{text}");
        stream
    }

    /// Answers the reading of all keys with one key of that port.
    async fn list(&self, port: u16) {
        let value = format!(r#"{{"targets":["127.0.0.1:{port}"]}}"#);
        let value = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, value);
        let body = format!(r#"{{"header":{{"revision":"2"}},"kvs":[{{"key":"YQ==","value":"{value}"}}]}}"#);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.asked("/v3/kv/range").await.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Answers the watch with a message; the watch is over when the stream is dropped.
    async fn tell(&self, message: &str) -> TcpStream {
        let mut stream = self.asked("/v3/watch").await;
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{message}\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    }
}

fn port(report: &Report) -> Option<u16> {
    match report {
        Report::Tasks(set) => set.tasks.first().map(|task| task.ports[0].container_port),
        _ => None,
    }
}

#[tokio::test]
async fn a_watch_behind_a_compaction_is_followed_by_another_reading() {
    let member = Member::new().await;
    let (sender, mut reports) = channel(16);
    tokio::spawn(watch(vec![member.url()], "a".to_owned(), BTreeSet::new(), sender));
    member.list(1).await;
    let canceled = r#"{"result":{"header":{},"canceled":true,"compact_revision":"4"}}"#;
    let stream = member.tell(canceled).await;
    member.list(2).await;
    drop(stream);
    assert_eq!(port(&next(&mut reports).await), Some(1));
    assert_eq!(port(&next(&mut reports).await), Some(2), "and nothing has failed");
}

#[tokio::test]
async fn the_next_member_is_asked_and_only_a_cluster_without_any_has_failed() {
    let members = [Member::new().await, Member::new().await];
    let (sender, mut reports) = channel(16);
    tokio::spawn(watch(members.iter().map(Member::url).collect(), "a".to_owned(), BTreeSet::new(), sender));
    drop(members[0].asked("/v3/kv/range").await);
    members[1].list(1).await;
    assert_eq!(port(&next(&mut reports).await), Some(1), "one member that is down is no failure");
    drop(members[1].tell("{}").await);
    drop(members[0].asked("/v3/kv/range").await);
    let Report::Failed(failure) = next(&mut reports).await else { panic!("not a failure") };
    let [first, second] = members.each_ref().map(|member| member.url().authority());
    assert!(failure.problem.contains(&first) && failure.problem.contains(&second), "{}", failure.problem);
    members[1].list(1).await;
    let _stream = members[1].tell(r#"{"result":{"header":{"revision":"2"},"created":true}}"#).await;
    assert_eq!(next(&mut reports).await, Report::Recovered(SourceKind::Etcd), "the set is as it was");
}

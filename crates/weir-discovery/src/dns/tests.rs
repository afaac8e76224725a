//! Promises of the DNS source that need no server of somebody else's; those with a real one are end-to-end tests.

use proptest::prelude::*;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::*;

/// Longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

fn lookup(name: &str, record: Record) -> Lookup {
    Lookup { name: name.parse().unwrap(), record }
}

fn service(priority: u16, weight: u16, host: &str) -> Service {
    Service { priority, weight, port: 8080, host: host.to_owned() }
}

fn addresses(last: &[u8], ttl: u64) -> Addresses {
    let addrs = last.iter().map(|last| [127, 0, 0, *last].into()).collect();
    Addresses { addrs, ttl: Duration::from_secs(ttl) }
}

#[test]
fn only_the_services_of_the_lowest_priority_are_used_and_none_is_the_root() {
    let services = vec![service(20, 1, "c."), service(10, 1, "a."), service(10, 2, "b."), service(0, 1, ".")];
    let hosts: Vec<String> = preferred(services).into_iter().map(|service| service.host).collect();
    assert_eq!(hosts, ["a.", "b."]);
    assert!(preferred(vec![service(0, 0, ".")]).is_empty());
}

#[test]
fn a_service_gives_its_weight_and_the_shortest_time_to_every_address_of_its_host() {
    let lookup = lookup("_http._tcp.api.example", Record::Srv);
    let known =
        BTreeMap::from([("a.".to_owned(), addresses(&[1, 2], 7)), ("none.".to_owned(), addresses(&[], 30))]);
    let services = [service(0, 0, "a."), service(0, 65_535, "a."), service(0, 1, "none.")];
    let answer = services_answer(&lookup, Duration::from_secs(60), &services, &known);
    let weights: Vec<u16> =
        answer.tasks.iter().map(|task| task.labels.weight.map_or(0, Weight::get)).collect();
    assert_eq!(weights, [1, 1, 1000, 1000]);
    assert_eq!((answer.ttl.as_secs(), answer.tasks[0].name.as_str()), (7, "a:8080"));
    assert_eq!(answer.mistakes[0].owner, "_http._tcp.api.example SRV, host none.");
}

#[test]
fn many_failures_are_told_in_few_words() {
    assert_eq!(spell(Vec::new()), None);
    assert_eq!(spell(vec!["a".into(), "b".into()]).unwrap(), "a; b");
    assert_eq!(spell(["a", "b", "c", "d", "e"].map(Into::into).to_vec()).unwrap(), "a; b; c; and 2 more");
}

/// A server that answers every question with what `answer` makes of the question's bytes.
async fn serve(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let _ = socket.send_to(&answer(&question[..length]), from).await;
        }
    });
    addr
}

/// An answer with this response code and these IPv4 addresses, with times to live of a second.
fn answer(question: &[u8], code: u8, addrs: &[[u8; 4]]) -> Vec<u8> {
    // The question ends with the root, its type and its class; what follows is EDNS, which is not repeated.
    let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let mut bytes = question[..end].to_vec();
    bytes[2..12].copy_from_slice(&[0x85, 0x80 | code, 0, 1, 0, addrs.len() as u8, 0, 0, 0, 0]);
    for addr in addrs {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        bytes.extend(addr);
    }
    bytes
}

fn follow_names(server: SocketAddr, names: &[&str]) -> (watch::Sender<BTreeSet<Lookup>>, Receiver<Report>) {
    let (reporter, reports) = channel(16);
    let (sender, lookups) = watch::channel(names_at_80(names));
    tokio::spawn(watch(Some(server), lookups, reporter));
    (sender, reports)
}

fn names_at_80(names: &[&str]) -> BTreeSet<Lookup> {
    names.iter().map(|name| lookup(name, Record::A { port: 80 })).collect()
}

async fn next(reports: &mut Receiver<Report>) -> Report {
    timeout(DEADLINE, reports.recv()).await.expect("in time").expect("a watcher")
}

fn addrs(report: &Report) -> Vec<String> {
    match report {
        Report::Tasks(set) => set.tasks.iter().map(|task| task.name.clone()).collect(),
        other => panic!("not a set: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_fails_for_one_name_keeps_what_it_knows_and_goes_on_with_others() {
    const NXDOMAIN: u8 = 3;
    const SERVFAIL: u8 = 2;
    // The first letter of a name says what becomes of it.
    let server = serve(|question| match question[13] {
        b'b' => answer(question, SERVFAIL, &[]),
        b'n' => answer(question, NXDOMAIN, &[]),
        _ => answer(question, 0, &[[127, 0, 0, 2], [127, 0, 0, 1]]),
    })
    .await;
    let (names, mut reports) = follow_names(server, &["bad.example", "good.example", "none.example"]);
    let Report::Failed(failure) = next(&mut reports).await else { panic!("not a failure") };
    assert!(failure.problem.starts_with("bad.example:80 A: the server says "), "{}", failure.problem);
    assert_eq!(addrs(&next(&mut reports).await), ["127.0.0.1:80", "127.0.0.2:80"]);
    names.send_replace(names_at_80(&["none.example"]));
    assert_eq!(next(&mut reports).await, Report::Recovered(SourceKind::Dns));
    assert!(addrs(&next(&mut reports).await).is_empty());
    names.send_replace(names_at_80(&["other.example"]));
    assert_eq!(addrs(&next(&mut reports).await), ["127.0.0.1:80", "127.0.0.2:80"]);
}

#[tokio::test]
async fn without_a_name_there_is_an_empty_set_and_without_any_answer_there_is_none() {
    let server = serve(|_| Vec::new()).await;
    let (names, mut reports) = follow_names(server, &[]);
    assert!(addrs(&next(&mut reports).await).is_empty());
    drop((names, reports));
    let server = serve(|question| answer(question, 5, &[])).await;
    let (_names, mut reports) = follow_names(server, &["a.example"]);
    assert!(matches!(next(&mut reports).await, Report::Failed(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_answer_breaks_the_resolver(noise in prop::collection::vec(any::<u8>(), 0..60), at in 0_usize..60) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = serve(move |question| {
                let mut bytes = answer(question, 0, &[[127, 0, 0, 1]]);
                let at = at.min(bytes.len());
                bytes.splice(at.., noise.iter().copied());
                // The question's own number, or nobody would look at the rest.
                bytes.resize(bytes.len().max(2), 0);
                bytes[..2].copy_from_slice(&question[..2]);
                bytes
            })
            .await;
            let resolver = Resolver::new(Some(server)).unwrap();
            let asked = resolver.addresses("a.example", Family::V4);
            // An answer that is not one is waited out, which proves nothing more.
            let _ = timeout(Duration::from_millis(50), asked).await;
        });
    }
}

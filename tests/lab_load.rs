//! `weir lab load`: nobody who had to wait is left out, nothing is skipped, and a generator that was late says so.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use weir_lab::load::stall::{Freeze, NullServer, Scale, stall_test};
use weir_lab::load::{self, Ending, Endpoint, Failure, Failures, Onlookers, Outcome, Plan, Planned, Stop};
use weir_tests::http2_target::{Exchange, Http2Target};
use weir_tests::target::respond;
use weir_tests::{Binary, FakeTarget, Folder, free_port};

/// What is loaded at an address, with few connections.
fn plan(scheme: &str, addr: SocketAddr) -> Plan {
    let target = Endpoint::parse(&format!("{scheme}://{addr}")).unwrap();
    Plan { connections: 4, connections_max: 64, ..Plan::new(target) }
}

/// So many requests, a millisecond after another, about their own number.
fn requests(count: u64) -> Vec<Planned> {
    (0..count).map(|at| Planned { at: at * 1_000_000, work: Some(at + 1), key: Some(at) }).collect()
}

fn load(plan: &Plan, count: u64) -> Outcome {
    load::run(plan, &requests(count).into_iter(), &Onlookers::default()).unwrap()
}

/// Exit status, what was said on standard output, and on standard error.
fn weir(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Binary::run(&[&["lab", "load"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_server_that_stands_still_is_charged_with_everybody_who_would_have_come() {
    let scale = Scale { rate: 1000.0, requests: 3000, freeze: Duration::from_millis(500), connections: 20 };
    let outcome = stall_test(scale).unwrap();
    assert_eq!((outcome.planned, outcome.sent, outcome.answered), (3000, 3000, 3000), "nothing is skipped");
    // A busy machine adds to what was waited and takes nothing away from it.
    let p99 = outcome.latency.value_at_quantile(0.99) as f64 / 1e9;
    assert!(p99 > 0.98 * scale.expected_p99(), "{p99}");
    // 250 requests came due in the first half of the freeze, but only 20 were on their way.
    let slow = |histogram: &load::Histogram<u64>| histogram.count_between(250_000_000, u64::MAX);
    let (due, sent) = (slow(&outcome.latency), slow(&outcome.service));
    assert!(due >= 240, "{due}");
    assert!(sent < due / 2, "{sent} of {due}");
}

#[test]
fn a_generator_that_was_late_says_so() {
    let server = NullServer::start(None).unwrap();
    // Whoever makes up the requests takes his time in the middle.
    let late = requests(400).into_iter().inspect(|planned| {
        if planned.at == 200_000_000 {
            thread::sleep(Duration::from_millis(300));
        }
    });
    let outcome = load::run(&plan("http", server.addr()), &late, &Onlookers::default()).unwrap();
    assert!(outcome.lag.max() > 250_000_000, "{}", outcome.lag.max());
    assert!(matches!(outcome.invalid(), Some(load::Invalid::Late { .. })), "{:?}", outcome.invalid());
}

#[test]
fn waiting_for_a_connection_is_the_servers_doing_and_not_lag() {
    let server = NullServer::start(Some(Freeze { after: 100, time: Duration::from_millis(400) })).unwrap();
    let plan = Plan { connections: 2, connections_max: 2, ..plan("http", server.addr()) };
    let outcome = load(&plan, 500);
    assert_eq!(outcome.answered, 500);
    let slow = |histogram: &load::Histogram<u64>| histogram.count_between(200_000_000, u64::MAX);
    assert!(slow(&outcome.latency) >= 150, "{}", slow(&outcome.latency));
    assert!(slow(&outcome.lag) < 50, "{}", slow(&outcome.lag));
}

#[test]
fn every_request_is_accounted_for_however_it_ends() {
    let server = FakeTarget::behaving(|received, stream| {
        assert_eq!(
            received.header("x-lab-work").parse(),
            received.header("x-lab-key").parse().map(|key: u64| key + 1)
        );
        match received.header("x-lab-key").parse::<u64>().unwrap() % 6 {
            0 => respond(stream, 200, "fine"),
            1 => respond(stream, 404, "no"),
            2 => respond(stream, 503, ""),
            3 => false,
            4 => stream.write_all(b"this is no HTTP\r\n\r\n").is_ok(),
            // Until the client goes away.
            _ => stream.read(&mut [0]).is_ok_and(|count| count > 0),
        }
    });
    let (sender, receiver) = sync_channel(16);
    let onlookers = Onlookers { recorder: Some(sender), ..Onlookers::default() };
    let plan = Plan { timeout: Duration::from_secs(2), ..plan("http", server.addr()) };
    let outcome = load::run(&plan, &requests(60).into_iter(), &onlookers).unwrap();
    drop(onlookers);
    let expected = Failures { reset: 10, malformed: 10, status_4xx: 10, status_5xx: 10, ..outcome.failures };
    assert_eq!(outcome.failures, expected);
    assert_eq!((outcome.planned, outcome.answered, outcome.failures.refused), (60, 30, 0));
    assert_eq!(outcome.failures.timeout + outcome.unanswered, 10);
    let mut endings = BTreeMap::new();
    for record in receiver.iter().flatten() {
        *endings.entry(record.ending.text()).or_insert(0) += 1;
        assert!(record.ending != Ending::Answered(0) && record.done >= record.intended);
    }
    assert_eq!((endings["200"], endings["404"], endings["503"], endings["reset"]), (10, 10, 10, 10));
    // What was waited for in vain counts with the time that was waited.
    assert_eq!(outcome.latency.len(), 40);
}

#[test]
fn a_server_that_is_gone_refuses_and_the_load_goes_on() {
    let outcome = load(&plan("http", weir_tests::loopback(free_port())), 20);
    assert_eq!((outcome.failures.refused, outcome.sent, outcome.latency.len()), (20, 0, 0));
    assert_eq!(outcome.invalid(), Some(load::Invalid::NothingAnswered(Some(Failure::Refused))));
}

#[test]
fn answers_are_counted_by_the_target_that_they_name() {
    let http1 = FakeTarget::behaving(|received, stream| {
        let name = ["even", "odd"][received.header("x-lab-key").parse::<usize>().unwrap() % 2];
        write!(stream, "HTTP/1.1 200 OK\r\nx-lab-target: {name}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .is_ok()
    });
    let http2 = Http2Target::behaving(async |mut exchange: Exchange| {
        let key = exchange.head.headers()["x-lab-key"].to_str().unwrap().parse::<usize>().unwrap();
        let _ = exchange.begin(200, &[("x-lab-target", ["even", "odd"][key % 2])], true);
    });
    for (scheme, addr) in [("http", http1.addr()), ("h2c", http2.addr())] {
        let outcome = load(&plan(scheme, addr), 40);
        assert_eq!((outcome.answered, outcome.failures), (40, Failures::default()), "{scheme}");
        assert_eq!(
            outcome.targets,
            BTreeMap::from([("even".to_owned(), 20), ("odd".to_owned(), 20)]),
            "{scheme}"
        );
    }
    assert_eq!(http2.connections(), 4);
}

#[test]
fn an_echo_is_waited_for_in_tcp_and_udp() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_addr = tcp.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..count]).unwrap();
            }
        }
    });
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_addr = udp.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok((count, from)) = udp.recv_from(&mut bytes) {
            udp.send_to(&bytes[..count], from).unwrap();
        }
    });
    for (scheme, addr) in [("tcp", tcp_addr), ("udp", udp_addr)] {
        let outcome = load(&plan(scheme, addr), 100);
        assert_eq!((outcome.answered, outcome.failures), (100, Failures::default()), "{scheme}");
    }
}

#[test]
fn a_load_that_is_stopped_sends_nothing_more_and_keeps_what_it_measured() {
    let server = FakeTarget::behaving(|received, stream| match received.header("x-lab-key") {
        // Until the client goes away.
        "49" => stream.read(&mut [0]).is_ok_and(|count| count > 0),
        _ => respond(stream, 200, "fine"),
    });
    let stop = Stop::new().unwrap();
    // Whoever makes up the requests is asked for the next one when one is due.
    let stopped = requests(100_000).into_iter().inspect(|planned| {
        if planned.key == Some(50) {
            stop.stop();
        }
    });
    let onlookers = Onlookers { stop: Some(stop.clone()), ..Onlookers::default() };
    let outcome = load::run(&plan("http", server.addr()), &stopped, &onlookers).unwrap();
    assert!(outcome.is_interrupted && (50..1000).contains(&outcome.planned), "{}", outcome.planned);
    assert!(outcome.answered >= 48 && outcome.unanswered >= 1, "{} {}", outcome.answered, outcome.unanswered);
    assert_eq!(outcome.answered + outcome.unanswered, outcome.planned);
    assert_eq!(outcome.latency.len(), outcome.planned);
}

#[test]
fn an_interrupted_load_says_what_it_has_measured() {
    let (asked, requests) = std::sync::mpsc::channel();
    let server = FakeTarget::behaving(move |_, stream| {
        let _ = asked.send(());
        respond(stream, 200, "fine")
    });
    let (folder, url) = (Folder::new(), format!("http://{}/", server.addr()));
    let record = folder.path().join("requests.csv");
    let arguments =
        ["lab", "load", &url, "--rate=200", "--duration=10m", "--record", record.to_str().unwrap()];
    let weir = Binary::start(&mut Binary::command(&arguments));
    requests.iter().take(20).for_each(drop);
    weir.signal(Signal::INT);
    let output = weir.wait();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("INTERRUPTED") && said.contains("from when it was due"), "{said}");
    assert!(std::fs::read_to_string(record).unwrap().lines().count() > 20);
}

#[test]
fn nobody_is_loaded_by_accident() {
    for arguments in [["http://192.0.2.1:80/", "--rate=1"], ["tcp://192.0.2.1:80", "--saturate"]] {
        let (status, _, said) = weir(&arguments);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("say so with --allow 192.0.2.1"), "{said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_remedy() {
    let folder = Folder::new();
    let trace = |name, text| format!("--arrivals=trace:{}", folder.write(name, text).display());
    let (empty, unsorted) = (trace("empty", "# nothing\n\n"), trace("unsorted", "0.1\n0.3\n0.2\n"));
    let (bad, late) = (trace("bad", "0.1\nsoon\n"), trace("late", "11\n"));
    let url = "http://127.0.0.1:9/";
    for (arguments, remedy) in [
        (vec![url], "like --rate 2000/s"),
        (vec![url, "--rate=0"], "more than 0/s"),
        (vec![url, "--rate=NaN"], "more than 0/s"),
        (vec![url, "--rate=-5/s"], "more than 0/s"),
        (vec![url, "--rate=5/fortnight"], "like 2000/s"),
        (vec![url, "--rate=5", "--arrivals=uniform"], "none of constant, poisson"),
        (vec![url, "--rate=5", "--arrivals=mmpp:1,1,1"], "more than 1"),
        (vec![url, &empty], "write one in each line"),
        (vec![url, &unsorted], "line 3 is earlier than the one before; sort it"),
        (vec![url, &bad], "line 2 is \"soon\""),
        (vec![url, &late], "raise that"),
        (vec![url, "--rate=5", "--duration=0s"], "--duration"),
        (vec![url, "--rate=5", "--duration=2h"], "at most 1h"),
        (vec![url, "--rate=5", "--duration=5"], "a number and its unit, like 5s"),
        (vec![url, "--rate=5", "--timeout=soon"], "a number and its unit, like 5s"),
        (vec![url, "--rate=5", "--timeout=0s"], "--timeout"),
        (vec![url, "--rate=5", "--connections=0"], "--connections: connections have to be 1"),
        (vec![url, "--rate=5", "--connections=8", "--connections-max=4"], "raise it"),
        (vec![url, "--rate=5", "--threads=0"], "--threads: threads have to be 1"),
        (vec![url, "--rate=5", "--spin=2s"], "--spin: a thread may stay awake"),
        (vec![url, "--rate=5", "--streams=0"], "--streams: streams of a connection"),
        (vec![url, "--rate=5", "--header=X-Env"], "like \"X-Env: blue\""),
        (vec![url, "--rate=5", "--header=Host: a"], "--header: \"Host: a\" is not a header field"),
        (vec!["ftp://127.0.0.1/", "--rate=5"], "begins with http://"),
        (vec!["udp://127.0.0.1:9", "--rate=5", "--http2"], "leave it out"),
    ] {
        let (status, _, said) = weir(&arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(remedy), "{arguments:?}: {said}");
    }
}

#[test]
fn a_request_allocates_nothing() {
    let server = NullServer::start(None).unwrap();
    let plan = Plan { connections_max: 4, ..plan("http", server.addr()) };
    let allocations = |count: u64| {
        // A line of those that wait may have to grow while the machine is busy, if rarely.
        let measure =
            || allocation_counter::measure(|| assert_eq!(load(&plan, count).answered, count)).count_total;
        (0..3).map(|_| measure()).min().unwrap()
    };
    let (few, many) = (allocations(100), allocations(1000));
    assert!(few > 0 && many < few + 100, "{many} for 1000 requests, {few} for 100");
}

#[test]
fn answers_of_which_none_is_good_are_remarked_upon() {
    let server = FakeTarget::behaving(|_, stream| respond(stream, 404, "no"));
    let url = format!("http://{}/", server.addr());
    let (_, said, _) = weir(&[&url, "--rate=100", "--duration=100ms"]);
    assert!(said.contains("4xx; no answer was a good one"), "{said}");
}

#[test]
fn threads_share_what_is_due() {
    let server = NullServer::start(None).unwrap();
    let outcome = load(&Plan { threads: 3, ..plan("http", server.addr()) }, 100);
    assert_eq!((outcome.planned, outcome.answered, outcome.lag.len()), (100, 100, 100));
}

#[test]
fn figures_can_be_rebuilt_from_the_requests() {
    let server = NullServer::start(None).unwrap();
    let folder = Folder::new();
    let trace = folder.write("trace", "0\n0.01 # a comment\n0.01\n0.05\n");
    let (trace, record) = (format!("trace:{}", trace.display()), folder.path().join("requests.csv"));
    let url = format!("http://{}/", server.addr());
    let (_, said, complaint) =
        weir(&[&url, "--arrivals", &trace, "--record", record.to_str().unwrap(), "--json"]);
    assert_eq!(complaint, "");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((said["planned"].as_u64(), said["answered"].as_u64()), (Some(4), Some(4)));
    let csv = std::fs::read_to_string(record).unwrap();
    let (head, rows) = csv.split_once('\n').unwrap();
    assert_eq!(head, "intended_ns,sent_ns,done_ns,ending,target");
    let mut moments: Vec<[u64; 3]> = rows
        .lines()
        .map(|row| {
            assert!(row.ends_with(",200,"), "{row}");
            let moments: Vec<u64> = row.split(',').take(3).map(|moment| moment.parse().unwrap()).collect();
            moments.try_into().unwrap()
        })
        .collect();
    moments.sort_unstable();
    assert_eq!(moments.iter().map(|row| row[0]).collect::<Vec<_>>(), [0, 10_000_000, 10_000_000, 50_000_000]);
    // A histogram has three digits.
    let longest = moments.iter().map(|row| row[2] - row[0]).max().unwrap();
    let shown = said["latency"]["max"].as_u64().unwrap();
    assert!(shown.abs_diff(longest) <= longest / 500, "{shown} {longest}");
    let counted: u64 =
        said["latency"]["histogram"].as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 4);
}

#[test]
fn a_closed_loop_says_that_its_latency_is_from_no_schedule() {
    let server = NullServer::start(None).unwrap();
    let url = format!("http://{}/", server.addr());
    let (status, said, _) = weir(&[&url, "--saturate", "--duration=200ms", "--connections=4"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("from no schedule") && !said.contains("from when it was due"), "{said}");
}

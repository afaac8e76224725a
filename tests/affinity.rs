//! Thousands of flows while targets come and go.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Binary, Client, DEADLINE, Folder, ManyTargets, free_port, loopback, wait_until};

/// Flows of each transport.
const FLOWS: usize = 5_000;

/// Targets at first; as many more as [`OTHERS`] come later.
const TARGETS: u8 = 100;

const OTHERS: u8 = 10;

/// How long an answer is waited for before its question is sent again: a datagram may be lost.
const LOST_AFTER: Duration = Duration::from_millis(500);

/// Times that a question is sent until it counts as unanswered.
const ATTEMPTS: usize = 40;

/// A weir in a process of its own, since descriptors are limited by process: a flow takes two there.
struct Program {
    binary: Binary,
    folder: Folder,
    listener: SocketAddr,
    admin: SocketAddr,
    targets: ManyTargets,
}

impl Program {
    fn start() -> Self {
        let (folder, listener, admin) = (Folder::new(), loopback(free_port()), loopback(free_port()));
        let targets = ManyTargets::start(TARGETS + OTHERS);
        let path = folder.write("weir.yaml", &yaml(&targets, listener, admin, 0..TARGETS));
        let binary = Binary::start(&mut Binary::command(&["run", "-c", path.to_str().unwrap()]));
        wait_until("weir listens", || TcpStream::connect(admin).is_ok());
        let program = Self { binary, folder, listener, admin, targets };
        program.wait_for("healthy", TARGETS);
        program
    }

    /// Lets the group have these targets, and waits until it has them.
    fn have(&self, numbers: impl Iterator<Item = u8> + Clone, draining: u8) {
        let healthy = u8::try_from(numbers.clone().count()).unwrap();
        self.folder.write("weir.yaml", &yaml(&self.targets, self.listener, self.admin, numbers));
        self.binary.signal(Signal::HUP);
        self.wait_for("draining", draining);
        self.wait_for("healthy", healthy);
    }

    /// Waits until as many targets have this health.
    fn wait_for(&self, health: &str, count: u8) {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        let (label, number) = (format!("health=\"{health}\""), count.to_string());
        wait_until(&format!("{count} targets are {health}"), || {
            let page = Client::connect(self.admin).ask(&request).body;
            let line = page.lines().find(|line| line.starts_with("weir_targets{") && line.contains(&label));
            line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0") == number
        });
    }
}

fn yaml(
    targets: &ManyTargets,
    listener: SocketAddr,
    admin: SocketAddr,
    numbers: impl Iterator<Item = u8>,
) -> String {
    let settings = "protocol: tcp_udp, deregistration_delay: 1h, health_check: { interval: 5s }";
    let group = group_of("many", settings, &targets.yaml(numbers));
    // No flow is silent for too long, however slow the machine is.
    let keys = "protocol: tcp_udp, udp_idle_timeout: 6000s, default_action: { forward: many }";
    let listeners = network_listener(&[group], keys).replace("127.0.0.1:0", &listener.to_string());
    format!("admin: {{ bind: {admin} }}\nworkers: 2\n{listeners}")
}

/// The flow's target, over TCP.
fn ask_connection(stream: &mut TcpStream, question: u8) -> u8 {
    let mut answer = [0; 2];
    stream.write_all(&[question]).expect("the flow is open");
    stream.read_exact(&mut answer).expect("the target answers");
    assert_eq!(answer[0], question);
    answer[1]
}

/// The flow's target, over UDP. An answer to an earlier question does not count.
fn ask_datagram(socket: &UdpSocket, question: u8) -> u8 {
    let mut answer = [0; 2];
    for _ in 0..ATTEMPTS {
        socket.send(&[question]).expect("the flow is open");
        while socket.recv(&mut answer).is_ok() {
            if answer[0] == question {
                return answer[1];
            }
        }
    }
    panic!("no answer, asked {ATTEMPTS} times")
}

/// Flows that are there, and which target each of them had at first.
struct Flows {
    connections: Vec<TcpStream>,
    sockets: Vec<UdpSocket>,
    first: Vec<u8>,
    question: u8,
}

impl Flows {
    fn open(listener: SocketAddr) -> Self {
        let connections = (0..FLOWS).map(|_| {
            let stream = TcpStream::connect(listener).expect("weir accepts");
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream
        });
        let sockets = (0..FLOWS).map(|number| {
            // Spread over addresses, because ports of one are fewer than flows of both sides of weir would like.
            let ip = [127, 78, 0, u8::try_from(number % 50 + 1).unwrap()];
            let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).expect("loopback has a free port");
            socket.connect(listener).unwrap();
            socket.set_read_timeout(Some(LOST_AFTER)).unwrap();
            socket
        });
        let mut flows = Self {
            connections: connections.collect(),
            sockets: sockets.collect(),
            first: Vec::new(),
            question: 0,
        };
        flows.first = flows.ask();
        flows
    }

    /// The target of every flow now.
    fn ask(&mut self) -> Vec<u8> {
        self.question += 1;
        let (question, sockets) = (self.question, &self.sockets);
        std::thread::scope(|scope| {
            let datagrams = scope.spawn(move || {
                sockets.iter().map(|socket| ask_datagram(socket, question)).collect::<Vec<u8>>()
            });
            let connections = self.connections.iter_mut();
            let mut targets: Vec<u8> = connections.map(|stream| ask_connection(stream, question)).collect();
            targets.extend(datagrams.join().expect("every flow of datagrams is answered"));
            targets
        })
    }

    /// How many flows have another target now than they had at first.
    fn moved(&mut self) -> usize {
        let now = self.ask();
        now.iter().zip(&self.first).filter(|(now, first)| now != first).count()
    }
}

/// Lets this process have as many descriptors as it may: the ends of all flows are here.
fn allow_many_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("up to its maximum a limit can be raised");
}

// Conformance: B2.8
#[test]
fn ten_thousand_flows_keep_their_targets_while_ten_of_a_hundred_leave_and_others_join() {
    allow_many_files();
    let program = Program::start();
    let mut flows = Flows::open(program.listener);
    let leave = (0..OTHERS).map(|number| number * 10);
    let stay = (0..TARGETS).filter(|number| number % 10 != 0);
    let touched = flows.first.iter().filter(|target| *target % 10 == 0).count();
    assert!((500..=1_500).contains(&touched), "{touched} flows are with those that will leave");
    program.have(stay.clone(), OTHERS);
    assert_eq!(flows.moved(), 0, "of {} flows, when ten have left", 2 * FLOWS);
    program.have(stay.clone().chain(TARGETS..TARGETS + OTHERS), OTHERS);
    assert_eq!(flows.moved(), 0, "of {} flows, when ten others have joined", 2 * FLOWS);
    program.have(stay.chain(TARGETS..TARGETS + OTHERS).chain(leave), 0);
    assert_eq!(flows.moved(), 0, "of {} flows, when the ten are there again", 2 * FLOWS);
}

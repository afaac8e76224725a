//! A restart without loss: another process takes weir's place.

mod world;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::channel;
use std::thread;

use rustix::process::{Signal, kill_process};
use weir_tests::lineage::open_files;
use weir_tests::udp_target::UdpClient;
use weir_tests::{
    Binary, Client, DEADLINE, FakeTarget, Folder, Lineage, get, loopback, quiet_port, wait_until,
};

use world::{World, talk};

#[test]
fn nothing_that_is_begun_during_restarts_fails_whatever_the_number_of_workers() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    world.under_load(|more_answers| {
        for workers in [2, 3, 1, 2] {
            weir.folder().write("weir.yaml", &world.yaml(&format!("workers: {workers}")));
            more_answers();
            weir.restart();
            more_answers();
        }
    });
    weir.first_ends();
    wait_until("one is left", || weir.later() == [weir.serving()]);
}

#[test]
fn connections_that_wait_in_the_kernel_are_served_by_the_new_process() {
    let world = World::new();
    let mut weir = world.start("workers: 1\nlimits: { connections: 1 }");
    let mut slow = Client::connect(world.http);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the target has the request", || !world.web.received().is_empty());
    // The old process has no place for any of them. It may hold one, which has to wait for its place.
    let (answered, answers) = channel();
    thread::scope(|scope| {
        let mut waiting = [(); 3].map(|()| Client::connect(world.http));
        for client in &mut waiting {
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        }
        for mut client in waiting {
            let answered = answered.clone();
            scope.spawn(move || answered.send(client.reply().status));
        }
        weir.restart();
        for _ in 0..2 {
            assert_eq!(answers.recv_timeout(DEADLINE), Ok(200));
        }
        world.answer.send(()).unwrap();
        assert_eq!(slow.reply().status, 200, "what was under way is finished");
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(200), "and so is what had been accepted");
    });
    weir.first_ends();
}

#[test]
fn what_is_under_way_goes_on_in_the_old_process_which_then_ends() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    let mut flow = world.flow();
    let mut slow = Client::connect(world.http);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the target has the request", || !world.web.received().is_empty());
    weir.restart();
    talk(&mut flow, "still here");
    talk(&mut world.flow(), "and so are others");
    world.answer.send(()).unwrap();
    assert_eq!(slow.reply().status, 200);
    talk(&mut flow, "still here");
    assert!(weir.first_runs());
    drop((flow, slow));
    weir.first_ends();
    assert_eq!(get(world.http, "/").status, 200);
    assert_eq!(weir.admin("/readyz").status, 200);
}

#[test]
fn the_old_process_keeps_no_listening_socket_and_a_new_one_has_no_more_open_than_the_first() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    let first = weir.serving();
    let (flow, before) = (world.flow(), open_files(first));
    weir.restart();
    let sockets = |process| {
        let files = open_files(process);
        files
            .into_iter()
            .filter(|file| file.to_string_lossy().starts_with("socket:"))
            .collect::<BTreeSet<_>>()
    };
    wait_until("both have no socket in common", || sockets(first).is_disjoint(&sockets(weir.serving())));
    drop(flow);
    weir.first_ends();
    weir.restart();
    weir.restart();
    let flow = world.flow();
    wait_until("no more is open", || open_files(weir.serving()).len() <= before.len());
    drop(flow);
}

#[test]
fn a_new_process_that_cannot_serve_leaves_the_old_one_as_it_was() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    let mut flow = world.flow();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let other = format!("listeners: [{{ bind: \"{taken}\", default_action: {{ forward: db }} }}]");
    let other = format!("{}\n  - {{ name: other, type: network, {other} }}", world.yaml("workers: 2"));
    let everywhere = format!("0.0.0.0:{}", world.tcp.port());
    let configurations = [
        (world.yaml_with("workers: 2", "color: red, "), "error: load_balancers[0].color".to_owned()),
        (other, format!("cannot start: cannot listen on {taken}: the port is taken")),
        (
            world.yaml("workers: 2").replace(&world.tcp.to_string(), &everywhere),
            format!(
                "cannot start: cannot listen on {everywhere}: the process that is to be replaced listens on {}; reload",
                world.tcp
            ),
        ),
    ];
    let ended = "the new weir was not ready: it ended with";
    let scripts =
        [("exit 3", format!("{ended} exit status: 3")), ("kill -9 $$", format!("{ended} signal: 9"))];
    let fails = |why: &str, weir: &Lineage| {
        weir.signal(Signal::USR2);
        weir.wait_for(&format!("restart failed, this process goes on: {why}"));
    };
    world.under_load(|more_answers| {
        for (text, why) in configurations {
            weir.folder().write("weir.yaml", &text);
            fails(&why, &weir);
            more_answers();
        }
        for (script, why) in scripts {
            weir.replace_program(script);
            fails(&why, &weir);
            more_answers();
        }
    });
    talk(&mut flow, "still here");
    wait_until("nobody else is left", || weir.later().is_empty());
    weir.folder().write("weir.yaml", &world.yaml("workers: 2"));
    weir.replace_program(&format!("exec {} \"$@\"", Binary::path().display()));
    weir.restart();
    assert_eq!(get(world.http, "/").status, 200, "a program that can serve takes over");
}

#[test]
fn one_restart_at_a_time_and_an_end_meanwhile_is_the_end_of_both() {
    let world = World::new();
    let mut weir = world.start("workers: 1");
    weir.replace_program("exec sleep 1000");
    weir.signal(Signal::USR2);
    weir.wait_for("is starting");
    weir.signal(Signal::USR2);
    weir.wait_for("restart refused: one is under way");
    weir.signal(Signal::HUP);
    weir.wait_for("reload refused: a restart is under way");
    weir.signal(Signal::TERM);
    weir.first_ends();
    wait_until("the new one has ended", || weir.later().is_empty());
}

#[test]
fn the_old_process_refuses_what_is_the_new_one_s_and_ends_when_it_is_told_to() {
    let world = World::new();
    let mut weir = world.start("workers: 1");
    let first = weir.serving();
    let flow = world.flow();
    weir.restart();
    kill_process(first, Signal::USR2).unwrap();
    weir.wait_for("restart refused: process");
    kill_process(first, Signal::HUP).unwrap();
    weir.wait_for("reload refused: process");
    kill_process(first, Signal::TERM).unwrap();
    weir.wait_for("a second signal ends at once");
    drop(flow);
    weir.first_ends();
    assert_eq!(get(world.http, "/").status, 200);
}

#[test]
fn flows_of_datagrams_keep_their_targets() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    let clients: Vec<UdpClient> = (0..30).map(|_| UdpClient::of(world.udp)).collect();
    let ask = |words| clients.iter().map(|client| client.ask(words)).collect::<Vec<_>>();
    let before = ask("before");
    assert!(["a", "b", "c"].iter().all(|name| before.iter().any(|target| target == name)));
    weir.restart();
    assert_eq!(ask("after"), before);
    weir.first_ends();
    assert_eq!(ask("later"), before);
    weir.folder().write("weir.yaml", &world.yaml("workers: 3"));
    weir.restart();
    assert_eq!(ask("with more workers"), before);
    weir.folder().write("weir.yaml", &world.yaml("workers: 1"));
    weir.restart();
    assert_eq!(ask("with fewer"), before);
}

#[test]
fn datagrams_that_are_answered_late_are_answered_by_the_old_process() {
    let (world, folder) = (World::new(), Folder::new());
    let log = folder.path().join("flows.log");
    let logging = format!("names, type: network, access_log: {{ path: {}, format: json }},", log.display());
    let yaml = world.yaml("workers: 1").replace("names, type: network,", &logging);
    let mut weir = Lineage::start(world.admin, &yaml, |_| {});
    let [quick, patient] = [(); 2].map(|()| UdpClient::of(world.udp));
    patient.ask("first");
    patient.send(b"patience");
    quick.ask("question");
    weir.restart();
    // Who has had its answer is let go, so that others would have been.
    wait_until("one flow has ended", || fs::read_to_string(&log).unwrap_or_default().lines().count() == 1);
    for target in &world.dns {
        UdpClient::of(target.addr()).send(b"go on");
    }
    assert!(patient.answer().ends_with(b" patience"));
    weir.first_ends();
}

#[test]
fn listeners_may_come_and_go_with_a_restart() {
    let world = World::new();
    let mut weir = world.start("workers: 2");
    let (more, yaml) = (loopback(quiet_port()), world.yaml("workers: 2"));
    weir.folder().write("weir.yaml", &yaml.replace(&world.tcp.to_string(), &more.to_string()));
    weir.restart();
    weir.first_ends();
    let mut flow = Client::connect(more);
    assert_eq!(flow.line().unwrap(), "db");
    assert!(TcpStream::connect(world.tcp).is_err(), "nobody listens there any more");
    weir.folder().write(
        "weir.yaml",
        &yaml.replace(&format!("bind: \"{}\", protocol", world.udp), "bind: \"127.0.0.1:0\", protocol"),
    );
    weir.restart();
    drop(flow);
    world.flow();
}

#[test]
fn connections_that_wait_at_a_listener_that_goes_are_served_by_the_old_process() {
    let world = World::new();
    let mut weir = world.start("workers: 1\nlimits: { connections: 1 }");
    let first = world.flow();
    // One of them waits for its place, the other in the kernel.
    let mut waiting = [(); 2].map(|()| Client::connect(world.tcp));
    let elsewhere = loopback(quiet_port()).to_string();
    let yaml = world.yaml("workers: 1").replace(&world.tcp.to_string(), &elsewhere);
    weir.folder().write("weir.yaml", &yaml);
    weir.restart();
    drop(first);
    for client in &mut waiting {
        assert_eq!(client.line().as_deref(), Some("db"));
        client.finish();
        assert!(client.is_closed());
    }
    drop(waiting);
    weir.first_ends();
}

#[test]
fn both_processes_write_one_access_log_and_one_memory() {
    let (world, folder) = (World::new(), Folder::new());
    fs::create_dir(folder.path().join("targets")).unwrap();
    folder.write("targets/web.json", &format!("[{{ \"targets\": [\"{}\"] }}]", world.web.addr()));
    let path = folder.path().display();
    let settings =
        format!("workers: 1\nremember: {path}/memory\ndiscovery: {{ file: {{ path: {path}/targets }} }}");
    let yaml = world.yaml_with(&settings, &format!("access_log: {{ path: {path}/access.log }}, "));
    let mut weir = Lineage::start(world.admin, &yaml, |_| {});
    let mut slow = [(); 2].map(|()| Client::connect(world.http));
    for client in &mut slow {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    wait_until("the target has the requests", || world.web.received().len() == 2);
    weir.restart();
    assert_eq!(get(world.http, "/new").status, 200);
    world.answer.send(()).unwrap();
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    wait_until("both have written, while something is still under way", || {
        let log = read("access.log");
        log.contains("/slow") && log.contains("/new")
    });
    world.answer.send(()).unwrap();
    assert!(slow.iter_mut().all(|client| client.reply().status == 200));
    weir.first_ends();
    assert_eq!(read("access.log").matches("/slow").count(), 2);
    let remembered = read("memory/file.json");
    assert!(remembered.contains(&world.web.addr().port().to_string()), "{remembered}");
}

#[test]
fn clients_stay_with_their_targets_though_no_secret_is_written() {
    let world = World::new();
    let others = ["a", "b", "c", "d"].map(FakeTarget::answering);
    let targets = format!("targets: [{}]", others.each_ref().map(FakeTarget::yaml).join(", "));
    let sticky = "stickiness: { type: lb_cookie, duration: 1h }, targets";
    let yaml = world.yaml("workers: 2").replace(
        &format!("name: web, targets: [{}]", world.web.yaml()),
        &format!("name: web, {}", targets.replace("targets", sticky)),
    );
    let mut weir = Lineage::start(world.admin, &yaml, |_| {});
    let first = get(world.http, "/");
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    weir.restart();
    weir.first_ends();
    for _ in 0..8 {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        assert_eq!(Client::connect(world.http).ask(head).body, first.body);
    }
}

#[test]
fn systemd_is_told_which_process_serves() {
    let world = World::new();
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = || {
        let mut bytes = [0; 128];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut weir = Lineage::start(world.admin, &world.yaml("workers: 1"), |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(hear(), "READY=1");
    weir.restart();
    assert_eq!(hear(), format!("MAINPID={}", weir.serving().as_raw_nonzero()));
}

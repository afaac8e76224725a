//! The servers of a scenario in real time: the simulator's servers, moved by the clock.
//!
//! Those of one group live on one thread, or each in a container of its own. A request waits there as its server would have it wait,
//! and is answered with the server's number.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use slab::Slab;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use weir_core::load_report::LoadReport;

use crate::random::{Purpose, Stream};
use crate::scenario::{Event, Scenario, ServerKind};
use crate::simulator::{Announcement, Job, Site};

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of a request.
const FIELDS_MAX: usize = 64;

/// Servers of a scenario; they end when this is dropped.
#[derive(Debug)]
pub struct Targets {
    addrs: Vec<SocketAddr>,
    begin: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Targets {
    /// All servers of a scenario, on ports of loopback that the kernel chooses.
    ///
    /// # Errors
    /// There are no sockets or threads.
    pub fn start(scenario: &Scenario, seed: u64) -> io::Result<Self> {
        let anywhere = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let kinds: Vec<(u32, &ServerKind)> = (0..).zip(scenario.servers_at_start()).collect();
        Self::open(scenario, seed, &kinds, anywhere)
    }

    /// One of them. Whoever sends it a request with `x-lab-begin` says that the load begins.
    ///
    /// # Errors
    /// There is no such server, or the address cannot be bound.
    pub fn start_one(scenario: &Scenario, seed: u64, number: u32, addr: SocketAddr) -> io::Result<Self> {
        let kind = scenario.servers_at_start().nth(number as usize);
        let last = scenario.servers_at_start().count() - 1;
        let unknown = || io::Error::other(format!("there is no server {number}; they are 0 to {last}"));
        let kind = kind.ok_or_else(unknown)?;
        Self::open(scenario, seed, &[(number, kind)], addr)
    }

    fn open(
        scenario: &Scenario,
        seed: u64,
        kinds: &[(u32, &ServerKind)],
        addr: SocketAddr,
    ) -> io::Result<Self> {
        let sites: Vec<(u32, Site)> =
            kinds.iter().map(|(number, kind)| (*number, Site::new(kind, seed, *number))).collect();
        let bind = |_: &(u32, Site)| {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        };
        let (addrs, listeners): (Vec<_>, Vec<_>) =
            sites.iter().map(bind).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let (begin, beginning) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let events = scenario.events.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let told = begin.clone();
        let thread = std::thread::Builder::new().name("lab-targets".to_owned()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                // Servers that live together draw from one stream; each that lives alone has its own.
                let first = sites.first().map_or(0, |(number, _)| u64::from(*number));
                let faults = Rc::new(RefCell::new(Stream::new(seed, Purpose::Faults, first << 32)));
                let open = |(number, site)| Shop::open(number, site, &faults, &told);
                let shops: Vec<Rc<Shop>> = sites.into_iter().map(open).collect();
                for (shop, listener) in shops.iter().zip(listeners) {
                    spawn_local(accept(shop.clone(), listener));
                    spawn_local(work(shop.clone()));
                    spawn_local(swing(shop.clone(), beginning.clone()));
                }
                spawn_local(happen(shops, events, beginning));
                // Dropped without a word when it is over.
                let _ = stopped.await;
            });
        })?;
        Ok(Self { addrs, begin, stop: Some(stop), thread: Some(thread) })
    }

    /// Where they answer.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The load begins: events count from now.
    pub(super) fn begin(&self) {
        self.begin.send_replace(true);
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say if it panicked: its requests said so.
            let _ = thread.join();
        }
    }
}

/// A server, who waits for it, and when the next one is done.
struct Shop {
    number: u32,
    site: RefCell<Site>,
    faults: Rc<RefCell<Stream>>,
    begin: watch::Sender<bool>,
    waiting: RefCell<Slab<Waiting>>,
    next: Cell<Announcement>,
    has_changed: Notify,
    opened: Instant,
}

/// A request that is not done.
struct Waiting {
    /// Who is to hear when it is.
    done: oneshot::Sender<bool>,
    came: u64,
    /// How many were there when it came, itself counted.
    met: u32,
}

impl Shop {
    fn open(number: u32, site: Site, faults: &Rc<RefCell<Stream>>, begin: &watch::Sender<bool>) -> Rc<Self> {
        Rc::new(Self {
            number,
            site: RefCell::new(site),
            faults: faults.clone(),
            begin: begin.clone(),
            waiting: RefCell::default(),
            next: Cell::new(None),
            has_changed: Notify::new(),
            opened: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        self.opened.elapsed().as_nanos() as u64
    }

    fn announce(&self, announcement: Announcement) {
        if announcement.is_some() {
            self.next.set(announcement);
            self.has_changed.notify_one();
        }
    }

    /// Has a request served: its status, or nothing when the server is gone meanwhile.
    async fn serve(&self, work: u64, key: u64) -> Option<u16> {
        let fails = self.site.borrow().fails(&mut self.faults.borrow_mut());
        if let Some(takes) = fails {
            sleep(Duration::from_nanos(takes)).await;
            return Some(500);
        }
        let Ok(done) = self.enter(work, key) else { return Some(503) };
        done.await.ok().filter(|is_done| *is_done).map(|_| 200)
    }

    /// Takes a request in; who is to hear when it is done.
    fn enter(&self, work: u64, key: u64) -> Result<oneshot::Receiver<bool>, ()> {
        let mut site = self.site.borrow_mut();
        let (sender, done) = oneshot::channel();
        let (came, met) = (self.now(), site.server.jobs() as u32 + 1);
        let number = self.waiting.borrow_mut().insert(Waiting { done: sender, came, met }) as u32;
        let work = site.cost(work, key);
        match site.server.enter(Job { number, work }, came) {
            Ok((_, announcement)) => {
                self.announce(announcement);
                Ok(done)
            }
            Err(()) => {
                self.waiting.borrow_mut().remove(number as usize);
                Err(())
            }
        }
    }

    /// What it says of its load, as a header line.
    fn load(&self) -> String {
        let LoadReport { in_flight, latency } = self.site.borrow().report(self.now());
        let millis = latency.unwrap_or_default().as_secs_f64() * 1e3;
        format!(
            "endpoint-load-metrics: TEXT named_metrics.in_flight={in_flight},named_metrics.latency_ms={millis}\r\n"
        )
    }

    fn change_pace(&self) {
        let mut site = self.site.borrow_mut();
        let pace = site.pace();
        let announcement = site.server.change_pace(pace, self.now());
        // What was announced is void, whether or not something else is.
        self.next.set(announcement);
        self.has_changed.notify_one();
    }

    fn crash(&self) {
        let mut site = self.site.borrow_mut();
        site.set_up(false);
        site.server.clear();
        self.waiting.borrow_mut().clear();
        self.next.set(None);
    }
}

/// Lets out who is done, when he is.
async fn work(shop: Rc<Shop>) {
    loop {
        let Some((at, announcement)) = shop.next.get() else {
            shop.has_changed.notified().await;
            continue;
        };
        tokio::select! {
            () = sleep_until(shop.opened + Duration::from_nanos(at)) => {}
            () = shop.has_changed.notified() => continue,
        }
        // The clock wakes a little late: for the server it is the moment that was announced.
        let left = shop.site.borrow_mut().server.leave(announcement, at);
        shop.next.set(None);
        if let Some((number, _, next)) = left {
            let waiting = shop.waiting.borrow_mut().try_remove(number as usize);
            if let Some(Waiting { done, came, met }) = waiting {
                shop.site.borrow_mut().note(at.saturating_sub(came), met, at);
                // Whoever has given up does not listen any more.
                let _ = done.send(true);
            }
            shop.next.set(next);
        }
    }
}

async fn swing(shop: Rc<Shop>, mut beginning: watch::Receiver<bool>) {
    if beginning.wait_for(|begun| *begun).await.is_err() {
        return;
    }
    loop {
        let until = shop.site.borrow_mut().until_swing();
        let Some(until) = until else { return };
        sleep(Duration::from_nanos(until)).await;
        shop.site.borrow_mut().swing();
        shop.change_pace();
    }
}

/// The events of the scenario.
async fn happen(shops: Vec<Rc<Shop>>, events: Vec<(u64, Event)>, mut beginning: watch::Receiver<bool>) {
    if beginning.wait_for(|begun| *begun).await.is_err() {
        return;
    }
    let start = Instant::now();
    let of = |servers: &[u32]| -> Vec<Rc<Shop>> {
        shops.iter().filter(|shop| servers.contains(&shop.number)).cloned().collect()
    };
    for (at, event) in events {
        sleep_until(start + Duration::from_nanos(at)).await;
        match event {
            Event::Speed { servers, factor } => {
                for shop in of(&servers) {
                    shop.site.borrow_mut().factor = factor;
                    shop.change_pace();
                }
            }
            Event::Errors { servers, share, takes } => {
                for shop in of(&servers) {
                    shop.site.borrow_mut().errors = (share, takes);
                }
            }
            Event::Crash { servers } => of(&servers).iter().for_each(|shop| shop.crash()),
            Event::Recover { servers } => {
                for shop in of(&servers) {
                    shop.site.borrow_mut().set_up(true);
                }
            }
            // Refused before anything runs: see `check`.
            Event::Start { .. } | Event::Stop { .. } => {}
        }
    }
}

async fn accept(shop: Rc<Shop>, listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        // A server that is gone lets nobody in.
        if shop.site.borrow().is_up() {
            spawn_local(converse(shop.clone(), stream));
        }
    }
}

/// Answers one request after another, until the other side has no more or the server is gone.
async fn converse(shop: Rc<Shop>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut heard = Vec::new();
    loop {
        let Some(asked) = next_request(&mut stream, &mut heard).await? else { return Ok(()) };
        if !shop.site.borrow().is_up() {
            return Ok(());
        }
        if asked.begins {
            shop.begin.send_replace(true);
        }
        let (status, load) = match asked {
            // A health check asks for no work, and neither does whoever wants to know the load.
            Asked { work: None, .. } => (200, shop.load()),
            Asked { work: Some(work), key, .. } => match shop.serve(work, key).await {
                Some(status) => (status, String::new()),
                None => return Ok(()),
            },
        };
        let number = shop.number;
        let answer =
            format!("HTTP/1.1 {status} Done\r\ncontent-length: 0\r\nx-lab-target: {number}\r\n{load}\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// What a request asks for.
struct Asked {
    work: Option<u64>,
    key: u64,
    /// Whether it says that the load begins.
    begins: bool,
}

/// The next request without a body; nothing at the end, or where something else comes.
async fn next_request(stream: &mut TcpStream, heard: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(heard) {
            Ok(httparse::Status::Complete(length)) => {
                let value = |name: &str| {
                    let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                    std::str::from_utf8(field.value).ok()?.parse().ok()
                };
                let begins = value("x-lab-begin").is_some();
                let asked = Asked { work: value("x-lab-work"), key: value("x-lab-key").unwrap_or(0), begins };
                heard.drain(..length);
                return Ok(Some(asked));
            }
            Ok(httparse::Status::Partial) if heard.len() < HEAD_BYTES_MAX => {
                if stream.read_buf(heard).await? == 0 {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
}

//! A task of the demo: answers HTTP with its service and name, and echoes flows and WebSockets.
//!
//! On SIGTERM it finishes what it has, and goes on accepting for a moment, as a task should.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{self, Message};
use weir_core::address::ListenAddr;
use weir_core::definition::HttpSettings;
use weir_core::rule::FixedResponse;
use weir_http::record::connection::ConnectionId;
use weir_http::{Answer, Client, Connection, Origin, Request, RequestError, Response, serve};
use weir_net::accept::{ConnectionLimit, ListeningSocket, accept};
use weir_net::clock::Clock;
use weir_net::drain::Drain;
use weir_net::reactor::Reactor;
use weir_net::stream::Stream;
use weir_net::worker::{Publications, Worker, spawn};

/// How long a task that was told to stop goes on accepting.
const LINGER: Duration = Duration::from_millis(300);

/// Longest time that a task takes to finish what it has.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);

/// How long a task works on a POST to [`WORK_PATH`]: long enough that a task that leaves always has work in flight.
const WORK: Duration = Duration::from_millis(100);

/// The path whose POSTs take a task [`WORK`].
pub(super) const WORK_PATH: &str = "/work";

/// What a task is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The service it belongs to.
    #[arg(long)]
    service: String,
    /// Its name among the tasks of the service.
    #[arg(long)]
    name: String,
    /// Where it answers HTTP.
    #[arg(long)]
    http: SocketAddr,
    /// Where it echoes flows, and WebSockets.
    #[arg(long)]
    tcp: SocketAddr,
    /// Where it echoes datagrams, if it does.
    #[arg(long)]
    udp: Option<SocketAddr>,
    /// Exit at the first signal, whatever is under way.
    #[arg(long)]
    exit_at_once: bool,
}

/// Runs until SIGTERM. Prints the two addresses first, on one line.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let options = options.clone();
    let thread = spawn("task".to_owned(), move |reactor| async move {
        if let Err(error) = work(options, reactor).await {
            crate::output::complain(&format!("task: {error:#}"));
        }
    })?;
    // A panic has been reported by the thread itself.
    let _ = thread.join();
    Ok(ExitCode::SUCCESS)
}

async fn work(options: Options, reactor: Reactor) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (http, tcp) = (TcpListener::bind(options.http).await?, TcpListener::bind(options.tcp).await?);
    let listener = ListenAddr(http.local_addr()?);
    writeln!(std::io::stdout(), "{listener} {}", tcp.local_addr()?)?;
    let http = ListeningSocket::new(http.into_std()?, &reactor)?;
    let tcp = ListeningSocket::new(tcp.into_std()?, &reactor)?;

    let (drain_sender, drain) = Drain::new();
    let worker =
        Worker::new(reactor, Clock::start(), Publications::new().1, drain, ConnectionLimit::new(10_000));
    let answer: Arc<str> = format!("{} {}", options.service, options.name).into();
    if let Some(udp) = options.udp {
        spawn_local(echo_datagrams(UdpSocket::bind(udp).await?, answer.clone()));
    }
    let http_server = worker.clone();
    let text = Rc::new(Text(answer.clone()));
    let limit = worker.limit.clone();
    spawn_local(accept(
        http,
        limit.clone(),
        std::future::pending(),
        || false,
        move |accepted| {
            let (worker, text) = (http_server.clone(), text.clone());
            let running = worker.tasks.begin();
            let connection = Connection {
                id: ConnectionId::default(),
                headers: Arc::default(),
                client: accepted.client,
                listener,
                settings: HttpSettings::default(),
                idle_timeout: Duration::from_secs(75),
            };
            spawn_local(async move {
                serve(Client::Plain(accepted.stream), connection, &worker, text).await;
                drop(running);
            });
        },
    ));
    let tasks = worker.tasks.clone();
    spawn_local(accept(
        tcp,
        limit,
        std::future::pending(),
        || false,
        move |mut accepted| {
            let (answer, running) = (answer.clone(), tasks.begin());
            spawn_local(async move {
                if is_http(&mut accepted.stream).await {
                    // A client that goes away, or is none of a WebSocket's, ends its own connection.
                    let _ = echo_messages(accepted.stream, &answer).await;
                } else {
                    let _ = echo(accepted.stream, &answer).await;
                }
                drop(running);
            });
        },
    ));

    terminate.recv().await;
    if options.exit_at_once {
        return Ok(());
    }
    drain_sender.send_replace(true);
    tokio::time::sleep(LINGER).await;
    let _ = tokio::time::timeout(FINISH_DEADLINE, worker.tasks.all_ended()).await;
    Ok(())
}

/// Whether a client begins as a request does.
async fn is_http(stream: &mut Stream) -> bool {
    const BEGINNING: &[u8] = b"GET ";
    let mut bytes = [0; BEGINNING.len()];
    loop {
        match stream.peek(&mut bytes).await {
            Ok(count @ 1..) if count < BEGINNING.len() && bytes[..count] == BEGINNING[..count] => {
                tokio::task::yield_now().await;
            }
            Ok(_) => return bytes == BEGINNING,
            Err(_) => return false,
        }
    }
}

/// The messages of a WebSocket, each after the task's service and name.
async fn echo_messages(stream: Stream, answer: &str) -> Result<(), tungstenite::Error> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            socket.send(Message::text(format!("{answer} {text}"))).await?;
        }
    }
    Ok(())
}

/// Each datagram after the task's service and name.
async fn echo_datagrams(socket: UdpSocket, answer: Arc<str>) {
    let mut bytes = [0; 2048];
    loop {
        // A client that has gone is no reason to stop.
        if let Ok((count, client)) = socket.recv_from(&mut bytes).await {
            let _ = socket.send_to(&[answer.as_bytes(), b" ", &bytes[..count]].concat(), client).await;
        }
    }
}

async fn echo(mut stream: Stream, answer: &str) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    let mut is_first = true;
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if std::mem::take(&mut is_first) {
            stream.write_all(format!("{answer} ").as_bytes()).await?;
        }
        stream.write_all(&bytes[..count]).await?;
    }
}

/// Answers every request with the task's service and name, the method and the path; work takes its time.
struct Text(Arc<str>);

impl Answer for Text {
    async fn answer(&self, request: Request) -> Response {
        let head = request.head();
        if head.method == "POST" && head.path == WORK_PATH {
            tokio::time::sleep(WORK).await;
        }
        let body = format!("{} {} {}\n", self.0, head.method, head.path);
        Response::fixed(&FixedResponse { status: 200, content_type: Some("text/plain"), body })
    }

    fn refuse(&self, _: &Origin, error: RequestError) -> Response {
        Response::error(error.status())
    }
}

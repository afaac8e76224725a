//! What one worker does: accepts on its sockets and serves each connection by the kind of its listener.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::spawn_local;
use weir_application::Application;
use weir_auth::Authenticator;
use weir_classic::Classic;
use weir_control::Assignment;
use weir_core::definition::ListenerKind;
use weir_core::dispatcher::Dispatcher;
use weir_core::snapshot::{Listener, ListenerIndex};
use weir_http::Exchange;
use weir_http::record::Observer;
use weir_net::accept::{Accepted, ListeningSocket, accept};
use weir_net::bind::Sockets;
use weir_net::datagrams::DatagramSocket;
use weir_net::drain::{Drain, Running};
use weir_net::proxy_header::introduce;
use weir_net::worker::Worker;
use weir_network::Flows;
use weir_telemetry::access_log::LogWriter;
use weir_telemetry::{ListenerShard, Telemetry};

/// How often access-log lines are handed over, however few they are.
const LOG_FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// How long a listener whose place another has taken lets in who was shaking hands with it: when its sockets close, the kernel
/// resets them. A second is when whoever has lost a packet sends it again (RFC 6298, section 2).
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// Longest time that a worker takes to end, unless another weir has taken its place: what is under way then is cut.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// One worker, with what its listeners need.
pub(crate) struct Serving {
    pub(crate) worker: Worker,
    pub(crate) dispatcher: Rc<RefCell<Dispatcher>>,
    pub(crate) telemetry: Telemetry,
    pub(crate) log_writer: LogWriter,
    pub(crate) tls: weir_tls::Listeners,
    /// Whether anything may be accepted yet.
    pub(crate) opened: watch::Receiver<bool>,
    /// When another process has taken this one's place: what [`DRAIN_DEADLINE`] is then.
    pub(crate) succession: watch::Receiver<Option<Duration>>,
}

/// Where the connections of one listener come in: proxies say there who their client is.
struct Door {
    listener: ListenerIndex,
    dispatcher: Rc<RefCell<Dispatcher>>,
    shard: Arc<ListenerShard>,
    drain: Drain,
}

/// Something that serves the connections of one listener in one worker.
#[derive(Clone)]
enum Server {
    Application(Rc<Application>),
    Classic(Rc<Classic>),
    Flows(Rc<Flows>),
}

impl Serving {
    /// Serves what the control thread assigns, until the process ends.
    pub(crate) async fn run(mut self, mut assignments: UnboundedReceiver<Assignment>) {
        let exchange = Exchange::start(self.worker.clone(), self.dispatcher.clone(), self.telemetry.clone());
        let authenticator = Authenticator::new();
        spawn_local(announce_departures(exchange.clone()));
        let idle = self.worker.idle.clone();
        spawn_local(async move { idle.look().await });
        // What is dropped here ends the listener's loops.
        let mut open = BTreeMap::new();
        tokio::select! {
            // A process that is gone will not open: what it has told then ends this worker.
            _ = self.opened.wait_for(|is_open| *is_open) => {}
            () = self.worker.drain.begun() => {}
        }
        loop {
            let assignment = tokio::select! {
                assignment = assignments.recv() => assignment,
                () = self.worker.drain.begun() => None,
            };
            match assignment {
                None => break,
                Some(Assignment::Close(listener)) => drop(open.remove(&listener)),
                Some(Assignment::Serve { listener, sockets }) => {
                    let (keeps_open, closing) = Drain::new();
                    if self.serve(listener, sockets, (&exchange, &authenticator), closing) {
                        open.insert(listener, keeps_open);
                    }
                }
            }
        }
        // Nothing new comes any more; connections finish what they have.
        drop(open);
        let deadline = self.succession.borrow().unwrap_or(DRAIN_DEADLINE);
        if tokio::time::timeout(deadline, self.worker.tasks.all_ended()).await.is_err() {
            tracing::warn!(
                cut = self.worker.tasks.running(),
                "the drain deadline is over; connections are cut"
            );
        }
    }

    /// Begins to take what comes to the sockets; whether the listener is still there.
    fn serve(
        &self,
        index: ListenerIndex,
        sockets: Sockets,
        with: (&Rc<Exchange>, &Rc<Authenticator>),
        closing: Drain,
    ) -> bool {
        let Some(listener) = self.dispatcher.borrow_mut().listener(index) else { return false };
        let tcp: io::Result<Vec<_>> = sockets
            .tcp
            .into_iter()
            .map(|socket| ListeningSocket::new(socket, &self.worker.reactor))
            .collect();
        let udp: io::Result<Vec<_>> = sockets.udp.into_iter().map(DatagramSocket::new).collect();
        let (tcp, udp) = match (tcp, udp) {
            (Ok(tcp), Ok(udp)) => (tcp, udp),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(listener = %listener.bind, "cannot listen: {error}");
                return false;
            }
        };
        let server = self.server(&listener, with);
        let door = Rc::new(Door {
            listener: index,
            dispatcher: self.dispatcher.clone(),
            shard: self.telemetry.listener_shard(&listener),
            drain: self.worker.drain.clone(),
        });
        let (tasks, limit) = (self.worker.tasks.clone(), self.worker.limit.clone());
        let succession = self.succession.clone();
        let is_shared = move || succession.borrow().is_some();
        let listening = tasks.begin();
        spawn_local(async move {
            let housekeeping = spawn_local(server.clone().keep_house()).abort_handle();
            let connections = tcp.into_iter().map(|socket| {
                accept(socket, limit.clone(), door.closed(closing.begun()), &is_shared, |accepted| {
                    server.clone().begin(accepted, door.clone(), tasks.begin());
                })
            });
            let datagrams = udp.into_iter().filter_map(|socket| match &server {
                Server::Flows(flows) => {
                    Some(flows.clone().receive(socket, listener.bind, closing.clone(), is_shared.clone()))
                }
                Server::Application(_) | Server::Classic(_) => None,
            });
            tokio::join!(join_all(connections), join_all(datagrams));
            drop(listening);
            // What goes on after that may take long, and has lines for the log.
            while server.serves_others() {
                tokio::time::sleep(LOG_FLUSH_INTERVAL).await;
            }
            housekeeping.abort();
        });
        true
    }

    fn server(
        &self,
        listener: &Listener,
        (exchange, authenticator): (&Rc<Exchange>, &Rc<Authenticator>),
    ) -> Server {
        let observer =
            || Rc::new(Observer::new(listener, &self.telemetry, &self.log_writer, self.worker.clock));
        match listener.kind {
            ListenerKind::Application { .. } => Server::Application(Rc::new(Application {
                listener: listener.index,
                exchange: exchange.clone(),
                observer: observer(),
                tls: self.tls.clone(),
                authenticator: authenticator.clone(),
                signer: format!("app/{}", listener.load_balancer),
            })),
            ListenerKind::Classic(ref classic) if classic.protocol.is_http() => {
                Server::Classic(Rc::new(Classic {
                    listener: listener.index,
                    exchange: exchange.clone(),
                    observer: observer(),
                    tls: self.tls.clone(),
                }))
            }
            ListenerKind::Classic(_) | ListenerKind::Network(_) => Server::Flows(Rc::new(Flows::new(
                listener,
                self.worker.clone(),
                self.dispatcher.clone(),
                self.tls.clone(),
                (&self.telemetry, &self.log_writer),
            ))),
        }
    }
}

impl Door {
    /// Completes when nobody is to be let in any more: `closing` completes, and where another listener has the place of this one,
    /// whoever was shaking hands then has had time to come in.
    async fn closed(&self, closing: impl Future<Output = ()>) {
        closing.await;
        if self.dispatcher.borrow_mut().listener(self.listener).is_some() {
            // A process that ends waits for nobody.
            let _ = tokio::time::timeout(HANDSHAKE_GRACE, self.drain.begun()).await;
        }
    }

    /// Has the connection be its client's; `false` where a proxy does not say who that is.
    async fn enter(&self, accepted: &mut Accepted) -> bool {
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        let Some(proxies) = listener.and_then(|listener| listener.proxies.clone()) else { return true };
        // In a box of its own: what reading a header needs is not held for as long as the connection lives.
        let introduced = Box::pin(introduce(accepted, &proxies)).await;
        if let Err(error) = &introduced {
            tracing::debug!(proxy = %accepted.client, "connection reset: {error}");
            self.shard.proxy_header_failed(error.reason());
        }
        introduced.is_ok()
    }
}

impl Server {
    /// Serves a connection in a task that is as large as its kind needs: a flow's is smaller than that of HTTP. It is in a box:
    /// beginning a task moves it several times.
    fn begin(self, mut accepted: Accepted, door: Rc<Door>, running: Running) {
        match self {
            Self::Application(application) => spawn_local(Box::pin(async move {
                if door.enter(&mut accepted).await {
                    application.serve(accepted).await;
                }
                drop(running);
            })),
            Self::Classic(classic) => spawn_local(Box::pin(async move {
                if door.enter(&mut accepted).await {
                    classic.serve(accepted).await;
                }
                drop(running);
            })),
            Self::Flows(flows) => spawn_local(Box::pin(async move {
                if door.enter(&mut accepted).await {
                    flows.serve(accepted).await;
                }
                drop(running);
            })),
        };
    }

    /// Whether anybody but the listener's own task and its housekeeping has it: a connection, or a flow.
    fn serves_others(&self) -> bool {
        let holders = match self {
            Self::Application(application) => Rc::strong_count(application),
            Self::Classic(classic) => Rc::strong_count(classic),
            Self::Flows(flows) => Rc::strong_count(flows),
        };
        holders > 2
    }

    /// What is to be done for everything that is under way.
    async fn keep_house(self) {
        tokio::join!(self.flush_forever(), self.follow_forever());
    }

    /// Follows what is published, where flows that are under way must know.
    async fn follow_forever(&self) {
        if let Self::Flows(flows) = self {
            flows.follow_publications().await;
        }
    }

    async fn flush_forever(&self) {
        let mut ticks = tokio::time::interval(LOG_FLUSH_INTERVAL);
        loop {
            ticks.tick().await;
            match self {
                Self::Application(application) => application.observer.flush(),
                Self::Classic(classic) => classic.observer.flush(),
                Self::Flows(flows) => flows.flush(),
            }
        }
    }
}

/// Tells the connections of every target that has left, with each publication.
async fn announce_departures(exchange: Rc<Exchange>) {
    let mut publications = exchange.worker.publications.clone();
    loop {
        publications.next().await;
        exchange.worker.departures.announce();
        exchange.close_departed();
    }
}

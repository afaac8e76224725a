//! The first thing on a client's connection: a TLS handshake, where the listener speaks it.

use weir_core::snapshot::Listener;
use weir_net::clock::Clock;
use weir_net::stream::Stream;
use weir_tls::Listeners;

use crate::record::Observer;
use crate::record::connection::Connected;
use crate::{Client, Connection};

/// The client of a connection, with TLS where `listener` speaks it; `None` for one with which that failed.
pub async fn shake_hands(
    listener: &Listener,
    connection: &Connection,
    stream: Stream,
    tls: &Listeners,
    (observer, clock): (&Observer, Clock),
) -> Option<Client> {
    let begun = clock.now();
    let connected = |handshake| {
        let latency = clock.now().since(begun);
        let Connection { id, client, listener, .. } = *connection;
        observer.connected(&Connected { id, client, listener, handshake, latency });
    };
    if listener.kind.tls().is_none() {
        connected(None);
        return Some(Client::Plain(stream));
    }
    // In a box of its own: what a handshake needs is not held for as long as the connection lives.
    let shaken = match tls.get(listener.index) {
        Some(side) => Box::pin(side.accept(stream)).await,
        // A reload has just taken it away.
        None => return None,
    };
    match shaken {
        Ok((stream, handshake)) => {
            connected(Some(Ok(&handshake)));
            Some(Client::Secure(Box::new(stream), handshake))
        }
        Err(error) => {
            connected(Some(Err(&error)));
            observer.shard().handshake_failed(error.reason());
            tracing::debug!(listener = %listener.bind, "TLS handshake failed: {error}");
            None
        }
    }
}

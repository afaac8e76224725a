//! A tunnel: what an upgraded connection becomes once the target has agreed.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_core::lease::Lease;
use weir_net::relay::Relay;
use weir_net::worker::Worker;

use super::client::TargetSocket;
use super::io::WatchedSocket;

/// Relays bytes both ways between an upgraded client and an upgraded target, until both have ended.
///
/// The lease is held as long as the tunnel lives, and the tunnel counts as work that a draining process finishes.
pub(super) async fn run(
    client: OnUpgrade,
    target: OnUpgrade,
    lease: Lease,
    worker: Worker,
    idle_timeout: std::time::Duration,
) {
    let _running = worker.tasks.begin();
    // Either side may go away before the switch is complete; then there is nothing to relay.
    let (Ok(client), Ok(target)) = tokio::join!(client, target) else { return };
    let (Some((client, from_client)), Some((target, from_target))) =
        (client_socket(client), target_socket(target))
    else {
        return;
    };
    let (mut client, mut target) = (client, target);
    // Bytes that the codec had read beyond the heads come first.
    if target.write_all(&from_client).await.is_err() || client.write_all(&from_target).await.is_err() {
        return;
    }
    let departure = worker.departures.of(lease.target());
    Relay { client, target, buffers: &worker.buffers, clock: worker.clock, idle_timeout }
        .run(departure.happened())
        .await;
}

fn client_socket(upgraded: Upgraded) -> Option<(TcpStream, bytes::Bytes)> {
    let parts = upgraded.downcast::<TokioIo<WatchedSocket>>().ok()?;
    Some((parts.io.into_inner().stream, parts.read_buf))
}

fn target_socket(upgraded: Upgraded) -> Option<(TcpStream, bytes::Bytes)> {
    let parts = upgraded.downcast::<TargetSocket>().ok()?;
    Some((parts.io.into_inner().0, parts.read_buf))
}

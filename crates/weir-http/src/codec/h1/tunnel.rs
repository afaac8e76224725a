//! A tunnel: what an upgraded connection becomes once the target has agreed.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use weir_core::lease::Lease;
use weir_net::relay::{Relay, RelaySide};
use weir_net::worker::Worker;

use super::super::buffer::Buffer;
use super::super::response;
use super::super::response_body::Content;
use super::target::TargetConnection;
use crate::record::Record;

/// An exchange that has switched protocols.
pub(in super::super) struct Tunnel {
    target: Box<TargetConnection>,
    /// The target counts as in use as long as the tunnel lives.
    lease: Lease,
    /// Written when the tunnel ends.
    record: Option<Record>,
}

impl Tunnel {
    /// The tunnel that a response with 101 begins.
    pub(in super::super) fn of(mut response: response::Parts) -> Option<Self> {
        let record = response.body.take_record();
        let Content::Http1(body) = response.body.into_content() else { return None };
        let (target, lease) = body.into_tunnel()?;
        Some(Self { target, lease, record })
    }

    /// Relays bytes both ways until both sides have ended. `from_client` has come right behind the request.
    pub(in super::super) async fn run(
        self,
        mut client: impl RelaySide,
        from_client: Option<Buffer>,
        idle_timeout: Duration,
        worker: &Worker,
    ) {
        let Self { target, lease, record } = self;
        let (mut target, from_target) = (target.socket, target.input);
        // Bytes that came right behind the heads go first.
        let first = async {
            write(&mut target, from_client.as_ref()).await?;
            write(&mut client, from_target.as_ref()).await
        };
        if first.await.is_err() {
            return;
        }
        drop((from_client, from_target));
        let departure = worker.departures.of(lease.target());
        let Worker { buffers, pipes, idle, .. } = worker;
        let relay = Relay { client, target, buffers, pipes, idle, idle_timeout };
        let summary = relay.run(pin!(departure.happened())).await;
        if let Some(mut record) = record {
            record.sent(summary.from_target_bytes as usize);
        }
    }
}

async fn write(to: &mut impl RelaySide, bytes: Option<&Buffer>) -> io::Result<()> {
    let Some(bytes) = bytes else { return Ok(()) };
    to.write_all(bytes.data()).await?;
    to.flush().await
}

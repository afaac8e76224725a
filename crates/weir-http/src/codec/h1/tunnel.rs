//! A tunnel: what an upgraded connection becomes once the target has agreed.

use tokio::io::AsyncWriteExt;
use weir_core::lease::Lease;
use weir_net::relay::Relay;
use weir_net::worker::Worker;

use super::super::buffer::Buffer;
use super::super::response;
use super::super::response_body::Content;
use super::client_side::ClientSide;
use super::target::TargetConnection;
use crate::record::Record;

/// An exchange that has switched protocols.
pub(super) struct Tunnel {
    target: Box<TargetConnection>,
    /// The target counts as in use as long as the tunnel lives.
    lease: Lease,
    /// Written when the tunnel ends.
    record: Option<Record>,
}

impl Tunnel {
    /// The tunnel that a response with 101 begins.
    pub(super) fn of(mut response: response::Parts) -> Option<Self> {
        let record = response.body.take_record();
        let Content::Http1(body) = response.body.into_content() else { return None };
        let (target, lease) = body.into_tunnel()?;
        Some(Self { target, lease, record })
    }

    /// Relays bytes both ways until both sides have ended.
    pub(super) async fn run(self, client: ClientSide, worker: &Worker) {
        let Self { target, lease, record } = self;
        let idle_timeout = client.state.idle_timeout();
        let (from_client, from_target) = (client.input.into_inner(), target.input);
        let (mut client, mut target) = (client.socket.into_inner(), target.socket);
        // Bytes that came right behind the heads go first.
        let first = async {
            target.write_all(from_client.as_ref().map_or(&[], Buffer::data)).await?;
            client.write_all(from_target.as_ref().map_or(&[], Buffer::data)).await
        };
        if first.await.is_err() {
            return;
        }
        drop((from_client, from_target));
        let departure = worker.departures.of(lease.target());
        let relay = Relay { client, target, buffers: &worker.buffers, clock: worker.clock, idle_timeout };
        let summary = relay.run(departure.happened()).await;
        if let Some(mut record) = record {
            record.sent(summary.from_target_bytes as usize);
        }
    }
}

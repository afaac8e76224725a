//! Asking targets for their load, beside the requests, where a group is balanced by that.
//!
//! A probe is a `GET` on the connections that requests use. It counts nowhere: neither as in flight nor for the health of its target,
//! which may answer it or not.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use tokio::task::spawn_local;
use tokio::time::timeout;
use weir_core::balance::Asked;
use weir_core::comparison::Arm;
use weir_core::dispatcher::{Dispatcher, Speech};
use weir_core::lease::Lease;
use weir_core::load_report::LoadReport;
use weir_core::snapshot::GroupIndex;
use weir_core::target::TargetSerial;
use weir_net::clock::Clock;

use crate::codec::h1::body::Piece;
use crate::codec::request::{Origin, Request};
use crate::codec::response::Response;
use crate::load_report;
use crate::targets::{Link, Targets};

/// How long a target may take to say how much it has to do: what it says later is worth nothing.
const PROBE_TIMEOUT: Duration = LoadReport::WORTH;

/// Bytes of an answer's body that are read for the sake of its connection.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The probes of one worker.
#[derive(Clone, Debug)]
pub(super) struct LoadProbes {
    dispatcher: Rc<RefCell<Dispatcher>>,
    targets: Targets,
    clock: Clock,
    origin: Rc<Origin>,
    /// Targets that have not answered yet. They are not asked again: what they will say is soon enough for everybody.
    under_way: Rc<RefCell<AHashSet<TargetSerial>>>,
}

impl LoadProbes {
    pub(super) fn new(dispatcher: Rc<RefCell<Dispatcher>>, targets: Targets, clock: Clock) -> Self {
        Self { dispatcher, targets, clock, origin: Origin::own(), under_way: Rc::default() }
    }

    /// Asks the targets whose turn comes with a request of `group`, where targets are asked.
    pub(super) fn ask(&self, group: GroupIndex, arm: Option<Arm>, speech: &Arc<Speech>) {
        if speech.load_probe.is_none() {
            return;
        }
        let mut drawn = Vec::new();
        self.dispatcher.borrow_mut().draw_probes(group, arm, &mut drawn);
        for asked in drawn {
            if self.under_way.borrow_mut().insert(asked.target.serial) {
                spawn_local(self.clone().probe(group, arm, asked, speech.clone()));
            }
        }
    }

    async fn probe(self, group: GroupIndex, arm: Option<Arm>, asked: Asked, speech: Arc<Speech>) {
        let answered = timeout(PROBE_TIMEOUT, self.answer(&asked, &speech)).await.ok().flatten();
        let (report, response) = answered.unzip();
        match report.flatten() {
            Some(report) => {
                self.dispatcher.borrow_mut().hear(group, arm, &asked, report, self.clock.now());
            }
            None => asked.target.reported.note_silence(),
        }
        if let Some(mut response) = response {
            // A body that takes longer costs its connection.
            let _ = timeout(PROBE_TIMEOUT, drain(&mut response)).await;
        }
        self.under_way.borrow_mut().remove(&asked.target.serial);
    }

    /// The answer of a target, of which only the head has come, with what that says of its load; no report where it says nothing that is
    /// understood, and nothing at all where there is no answer.
    async fn answer(
        &self,
        Asked { target, .. }: &Asked,
        speech: &Speech,
    ) -> Option<(Option<LoadReport>, Response)> {
        let path = speech.load_probe.as_deref()?;
        let request = Request::own(path, &target.addr.to_string(), &self.origin, PROBE_TIMEOUT)?;
        let lease = Lease::uncounted(target);
        let response = match self.targets.connect(target, speech, &request).await.ok()? {
            Link::Http1(connection) => connection.send(request, lease).await.ok()?,
            Link::Http2(stream) => stream.send(request, lease).await.ok()?,
        };
        let is_success = (200..300).contains(&response.status());
        let report = response.field(load_report::FIELD).filter(|_| is_success).and_then(load_report::parse);
        Some((report, response))
    }
}

/// Reads a body to its end, if that is near: then its connection can be used again.
async fn drain(response: &mut Response) {
    let mut read = 0;
    let body = &mut response.parts_mut().body;
    poll_fn(|cx| {
        loop {
            let mut take = |bytes: &[u8]| {
                read += bytes.len();
                bytes.len()
            };
            match std::task::ready!(body.poll_piece(cx, &mut take)) {
                Ok(Piece::Data) if read <= BODY_BYTES_MAX => {}
                _ => return std::task::Poll::Ready(()),
            }
        }
    })
    .await;
}

//! Target-side connections of one worker, kept for the next request and gone with their target.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use weir_core::target::{Target, TargetSerial};
use weir_core::time::Timestamp;
use weir_net::clock::Clock;
use weir_net::departures::Departures;
use weir_net::dial::DialError;

use crate::codec::h1::target::TargetConnection;

/// Idle connections that one worker keeps to one target.
const IDLE_MAX: usize = 512;

/// How long a connection is kept without work: shorter than most servers' own limit would be safer, longer saves more
/// dials; a request that meets a closing connection is repeated on another.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A request that must not be repeated is only sent on a connection that was used this recently: many servers close
/// idle connections after a few seconds, and the race with such a close would lose it.
const FRESH: Duration = Duration::from_secs(1);

/// One worker's connections to all targets, by identity: a stranger on a recycled port gets none of them.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    clock: Clock,
    departures: Departures,
    idle: Rc<RefCell<AHashMap<TargetSerial, Vec<Idle>>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<TargetConnection>,
    since: Timestamp,
}

/// Where a connection goes back to.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    targets: Targets,
    serial: TargetSerial,
}

impl Targets {
    pub(crate) fn new(clock: Clock, departures: Departures) -> Self {
        Self { clock, departures, idle: Rc::default() }
    }

    /// A connection to `target`: the one used last, if one is ready, else a new one.
    pub(crate) async fn connect(
        &self,
        target: &Arc<Target>,
        is_idempotent: bool,
    ) -> Result<Box<TargetConnection>, DialError> {
        match self.take(target.serial, is_idempotent) {
            Some(connection) => Ok(connection),
            None => {
                let pool = Pool { targets: self.clone(), serial: target.serial };
                TargetConnection::open(target.addr, self.departures.of(target), pool).await
            }
        }
    }

    fn take(&self, serial: TargetSerial, is_idempotent: bool) -> Option<Box<TargetConnection>> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(&serial)?;
        // From the one used last.
        while let Some(last) = stack.last() {
            if !is_idempotent && self.clock.now().since(last.since) > FRESH {
                return None;
            }
            let mut connection = stack.pop()?.connection;
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes connections that have been idle for too long, and all to targets that have left.
    pub(crate) fn tidy(&self) {
        let now = self.clock.now();
        self.idle.borrow_mut().retain(|_, stack| {
            stack.retain_mut(|idle| now.since(idle.since) < IDLE_TIMEOUT && idle.connection.is_usable());
            !stack.is_empty()
        });
    }
}

impl Pool {
    pub(crate) fn put(&self, connection: Box<TargetConnection>) {
        let mut idle = self.targets.idle.borrow_mut();
        let stack = idle.entry(self.serial).or_default();
        if stack.len() < IDLE_MAX {
            stack.push(Idle { connection, since: self.targets.clock.now() });
        }
    }
}

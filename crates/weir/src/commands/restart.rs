//! A restart without loss: the weir that is replaced starts the one that takes its place, and hands its sockets over.
//!
//! Why it is so: `docs/decisions/0026-restart.md`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::getppid;
use rustix::stdio::dup2_stdin;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use weir::process::Process;
use weir_net::handover::{Predecessor, Successor};
use weir_net::inherited::Inherited;
use weir_tls::OwnSecret;

use super::notify::notify;

/// Names the process that hands its sockets over, to a process that finds the channel as its standard input.
const PREDECESSOR_VARIABLE: &str = "WEIR_PREDECESSOR";

/// The longest time until a new weir has to be ready: it has bound what is new, and has heard all its sources.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How much of that a new weir waits for the first verdicts of health checks. A target that is down is only known to be after
/// some intervals; nothing is lost by waiting, for the old weir serves.
const PROBED_WITHIN: Duration = Duration::from_secs(10);

/// How often it looks whether they have come.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long a process takes to be gone that has closed its end of the channel.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// A weir that is being started to take this one's place; killed when it is dropped before it serves.
struct Starting {
    process: Option<Child>,
    channel: Predecessor,
}

/// Starts the program anew, with the same arguments, and hands it every socket of `process`, and its secret. When this
/// returns the new weir serves; which process it is.
///
/// # Errors
/// Why not, for people; the new weir has been ended, and nothing has changed here.
pub(crate) async fn replace(process: &Process) -> Result<u32, String> {
    let sockets = process.listening_sockets().map_err(|error| format!("its sockets: {error}"))?;
    let mut starting = Starting::begin()?;
    let settled = async {
        // A new weir that has ended meanwhile is told of below.
        let _ = starting.channel.give(&sockets, process.own_secret().as_bytes()).await;
        starting.channel.readiness().await
    };
    let Ok(readiness) = timeout(READY_WITHIN, settled).await else {
        return Err(format!("the new weir was not ready within {} s", READY_WITHIN.as_secs()));
    };
    match readiness {
        Ok(()) => {}
        Err(Some(why)) => return Err(why),
        Err(None) => return Err(starting.ended().await),
    }
    if starting.channel.let_serve().await.is_err() {
        return Err(starting.ended().await);
    }
    let child = starting.process.take().and_then(|child| child.id());
    child.ok_or_else(|| "the new weir has ended".to_owned())
}

impl Starting {
    /// By its name, not by its file: a link may lead to another version now.
    fn begin() -> Result<Self, String> {
        let mut arguments = std::env::args_os();
        let program = arguments.next().ok_or("weir does not know its own name")?;
        let problem = |error: io::Error| format!("{}: {error}", program.to_string_lossy());
        let (channel, theirs) = Predecessor::new().map_err(problem)?;
        // The command, which holds the new weir's end of the channel, is gone after this statement: what is left of it is
        // the new weir's own, so that its end is heard.
        let child = Command::new(&program)
            .args(arguments)
            .env(PREDECESSOR_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(problem)?;
        tracing::info!("restart: process {} is starting", child.id().unwrap_or_default());
        Ok(Self { process: Some(child), channel })
    }

    /// How it has ended, without having said why.
    async fn ended(&mut self) -> String {
        let Some(process) = &mut self.process else { return "the new weir has ended".to_owned() };
        let how = match timeout(GONE_WITHIN, process.wait()).await {
            Ok(Ok(status)) => describe(status),
            Ok(Err(_)) | Err(_) => "it does not answer any more".to_owned(),
        };
        format!("the new weir was not ready: {how}")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone already is as good. The runtime takes note of its end.
            let _ = process.start_kill();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    format!("it ended with {status}")
}

/// The weir that this one was started to replace.
#[derive(Debug)]
pub(crate) struct Replaced(Successor);

impl Replaced {
    /// Whether there is one. Standard input is the channel to it then, and empty afterwards.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let named = std::env::var(PREDECESSOR_VARIABLE).ok().and_then(|id| id.parse().ok());
        // Whoever was started by a weir that was itself started so has the variable, and another parent.
        if named.is_none() || named != getppid().map(|id| id.as_raw_nonzero().get()) {
            return Ok(None);
        }
        let channel = io::stdin().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        Ok(Some(Self(Successor::new(channel)?)))
    }

    /// What it listens on, and its secret.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) async fn inheritance(&self) -> io::Result<(Inherited, OwnSecret)> {
        let (sockets, secret) = self.0.take().await?;
        // Another version's may have another form.
        let secret = OwnSecret::handed_over(&secret).unwrap_or_else(OwnSecret::random);
        Ok((Inherited::new(sockets)?, secret))
    }

    /// Tells it why this weir cannot take its place.
    pub(crate) async fn refuse(&self, why: &str) {
        self.0.fail(why).await;
    }

    /// Waits until `process` would serve as well as the one before, says so, and waits for its word.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) async fn take_over(self, process: &Process) -> io::Result<()> {
        let settled = async {
            while !process.is_settled() {
                sleep(LOOK_INTERVAL).await;
            }
        };
        // Targets that are still `initial` by then are so as after any start. Without a source there would be none.
        let _ = timeout(PROBED_WITHIN, settled).await;
        while !process.has_heard() {
            sleep(LOOK_INTERVAL).await;
        }
        self.0.ready().await
    }
}

/// Another process serves now: whoever supervises this one has to follow that one.
pub(crate) fn announce_successor(id: u32) {
    notify(&format!("MAINPID={id}"));
}

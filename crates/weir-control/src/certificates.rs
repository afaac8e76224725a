//! What listeners speak TLS with, and the secrets of workers: loaded with the definitions that name them, watched, and
//! swapped live.
//!
//! A definition with a file that cannot be used is refused whole. Afterwards files change on their own: one that cannot
//! be used then leaves its pair as it was, with a warning, and everything else goes on.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as cell};
use tokio::time::{Instant, sleep_until};
use weir_core::authentication::logins;
use weir_core::definition::{AlpnPolicy, Definitions, ListenerKind};
use weir_core::reconcile::State;
use weir_core::seal::CookieKeys;
use weir_core::snapshot::ListenerIndex;
use weir_core::tls::{NamedFile, Tls};
use weir_net::clock::Clock;
use weir_telemetry::{Telemetry, names};
use weir_tls::{
    Alpn, AlpnOffer, Files, Listeners, LoadError, Secrets, ServerCertificate, ServerSettings, Tickets, load,
    load_secrets, load_tickets,
};

/// What clients of application listeners may speak, the preferred first; without HTTP/2 only the second.
const APPLICATION_ALPN: [Alpn; 2] = [Alpn::Http2, Alpn::Http1];

fn alpn<G>(kind: &ListenerKind<G>, http2: bool) -> AlpnOffer {
    use Alpn::{Http1, Http2, Http10};
    let policy = match kind {
        ListenerKind::Application { .. } => {
            return AlpnOffer {
                protocols: APPLICATION_ALPN[usize::from(!http2)..].into(),
                is_required: true,
            };
        }
        // Older than ALPN.
        ListenerKind::Classic(_) => &AlpnPolicy::None,
        ListenerKind::Network(network) => &network.alpn_policy,
    };
    let protocols = match policy {
        AlpnPolicy::Http1Only => [Http1, Http10].into(),
        AlpnPolicy::Http2Only => [Http2].into(),
        AlpnPolicy::Http2Optional => [Http1, Http10, Http2].into(),
        AlpnPolicy::Http2Preferred => [Http2, Http1, Http10].into(),
        AlpnPolicy::None => [].into(),
        AlpnPolicy::Protocols(names) => names.iter().map(|name| Alpn::named(name)).collect(),
    };
    AlpnOffer { protocols, is_required: false }
}

/// From when on the end of a certificate is warned of, in seconds before it: 30 days.
const EXPIRY_WARNING_SECONDS: i64 = 30 * 24 * 3600;

/// Time between two warnings.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The certificates of all listeners.
#[derive(Debug)]
pub(crate) struct Certificates {
    listeners: Listeners,
    /// Used where no secret is written.
    own_tickets: Arc<Tickets>,
    own_secrets: Secrets,
    wanted: Wanted,
    /// The files as they are used.
    files: cell::Sender<Arc<Files>>,
    changes: mpsc::Receiver<()>,
    /// When it is warned again of certificates that end soon.
    warns_at: Instant,
    telemetry: Telemetry,
    clock: Clock,
}

/// What a listener speaks TLS with.
#[derive(Clone, Debug)]
struct Secured {
    tls: Arc<Tls>,
    alpn: AlpnOffer,
}

/// What definitions ask for.
#[derive(Clone, Debug, Default)]
struct Wanted {
    listeners: BTreeMap<ListenerIndex, Secured>,
    tickets: Option<NamedFile>,
    cookie_secrets: Option<NamedFile>,
    /// By what identity providers know weir.
    client_secrets: Vec<NamedFile>,
}

/// What is loaded and not served with yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    wanted: Wanted,
    loaded: Loaded,
}

#[derive(Debug)]
struct Loaded {
    settings: BTreeMap<ListenerIndex, ServerSettings>,
    secrets: Secrets,
    files: Files,
}

impl Certificates {
    /// For `listeners`, where workers look. Must be called on a runtime that takes local tasks.
    pub(crate) fn new(listeners: Listeners, telemetry: Telemetry, clock: Clock) -> Self {
        let (files, watched) = cell::channel(Arc::new(Files::new()));
        let (sender, changes) = mpsc::channel(1);
        tokio::task::spawn_local(watch::watch(watched, sender));
        let (wanted, own_tickets) = (Wanted::default(), Tickets::own(listeners.own()));
        let warns_at = Instant::now() + EXPIRY_WARNING_INTERVAL;
        let own_secrets = Secrets::own(listeners.own());
        Self { listeners, own_tickets, own_secrets, wanted, files, changes, warns_at, telemetry, clock }
    }

    /// Loads what `definitions` ask for.
    ///
    /// # Errors
    /// The first file that cannot be used; nothing has changed then.
    pub(crate) fn prepare(
        &self,
        definitions: &Definitions,
        state: &mut State,
    ) -> Result<Prepared, LoadError> {
        let mut wanted = Wanted {
            listeners: BTreeMap::new(),
            tickets: definitions.tls_tickets.clone(),
            cookie_secrets: definitions.cookie_secrets.clone(),
            client_secrets: client_secrets(definitions),
        };
        for load_balancer in &definitions.load_balancers {
            for listener in &load_balancer.listeners {
                if let Some(tls) = listener.kind.tls() {
                    let index = state.listener_index(&load_balancer.name, listener.bind, &listener.kind);
                    let alpn = alpn(&listener.kind, load_balancer.http.http2);
                    wanted.listeners.insert(index, Secured { tls: tls.clone(), alpn });
                }
            }
        }
        let mut files = Files::new();
        let (settings, secrets) = self.load(&wanted, &mut files)?;
        Ok(Prepared { wanted, loaded: Loaded { settings, secrets, files } })
    }

    /// Serves with what was prepared.
    pub(crate) fn commit(&mut self, prepared: Prepared) {
        self.wanted = prepared.wanted;
        self.serve(prepared.loaded);
    }

    /// What cookies are sealed with now.
    pub(crate) fn cookie_keys(&self) -> Arc<CookieKeys> {
        self.listeners.secrets().cookies
    }

    /// Waits until a file has changed, and warns of certificates that end soon once a day. May be dropped at any time.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.changes.recv() => return,
                () = sleep_until(self.warns_at) => {
                    self.warns_at += EXPIRY_WARNING_INTERVAL;
                    self.warn_again();
                }
            }
        }
    }

    /// Serves with the files as they are now, each that cannot be used as it was before. What is wrong with those.
    pub(crate) fn renew(&mut self) -> Vec<LoadError> {
        let before = self.files.borrow().clone();
        let mut files = Files::new();
        let mut problems = Vec::new();
        let (settings, secrets) = loop {
            match self.load(&self.wanted, &mut files) {
                Ok(loaded) => break loaded,
                Err(problem) => {
                    let is_back = self.put_back(&problem.file, &mut files, &before);
                    problems.push(problem);
                    if !is_back {
                        // It was as bad before: what is served with stays.
                        self.files.send_replace(Arc::new(files));
                        return problems;
                    }
                }
            }
        };
        self.serve(Loaded { settings, secrets, files });
        problems
    }

    fn load(
        &self,
        wanted: &Wanted,
        files: &mut Files,
    ) -> Result<(BTreeMap<ListenerIndex, ServerSettings>, Secrets), LoadError> {
        let secrets =
            load_secrets(wanted.cookie_secrets.as_ref(), &wanted.client_secrets, &self.own_secrets, files)?;
        let tickets = match &wanted.tickets {
            Some(file) => load_tickets(file, files)?,
            None => self.own_tickets.clone(),
        };
        let listeners = wanted.listeners.iter();
        let load = |(index, Secured { tls, alpn }): (&ListenerIndex, &Secured)| {
            load(tls, alpn, &tickets, files).map(|settings| (*index, settings))
        };
        Ok((listeners.map(load).collect::<Result<_, _>>()?, secrets))
    }

    /// Takes a file as it was before, and the other of its pair with it; whether that makes a difference.
    fn put_back(&self, file: &Path, files: &mut Files, before: &Files) -> bool {
        let pairs = self.wanted.listeners.values().flat_map(|secured| &secured.tls.certificates);
        let pairs = pairs.map(|pair| [&pair.certificate.path, &pair.key.path]);
        let others: Vec<&PathBuf> =
            pairs.filter(|pair| pair.iter().any(|path| *path == file)).flatten().collect();
        let mut is_back = files.put_back(file, before);
        for other in others {
            is_back |= files.put_back(other, before);
        }
        is_back
    }

    fn serve(&mut self, Loaded { settings, secrets, files }: Loaded) {
        self.listeners.set_secrets(secrets);
        let certificates = settings.values().flat_map(ServerSettings::certificates).cloned();
        let certificates: BTreeMap<PathBuf, Arc<ServerCertificate>> =
            certificates.map(|certificate| (certificate.file.clone(), certificate)).collect();
        self.listeners.set(settings);
        self.files.send_replace(Arc::new(files));
        let expiry = certificates.values().map(|certificate| {
            let file = certificate.file.display().to_string();
            (vec![("certificate", file)], u64::try_from(certificate.not_after).unwrap_or(0))
        });
        self.telemetry.set(names::CERTIFICATE_EXPIRY, expiry.collect());
        self.warn_of_expiry(certificates.values());
    }

    /// Warns of certificates that end soon, or have ended.
    fn warn_of_expiry<'c>(&self, certificates: impl Iterator<Item = &'c Arc<ServerCertificate>>) {
        let now = i64::try_from(self.clock.wall_seconds(self.clock.now())).unwrap_or(i64::MAX);
        for certificate in certificates {
            if let Some(warning) = expiry_warning(certificate, now) {
                tracing::warn!("{}: {warning}", certificate.file.display());
            }
        }
    }

    /// Warns again of certificates that end soon.
    fn warn_again(&self) {
        let served = self.wanted.listeners.keys().filter_map(|index| self.listeners.get(*index));
        let certificates: Vec<_> = served.flat_map(|listener| listener.certificates()).collect();
        let mut seen = BTreeSet::new();
        self.warn_of_expiry(certificates.iter().filter(|certificate| seen.insert(&certificate.file)));
    }
}

/// The files by which identity providers know weir.
fn client_secrets(definitions: &Definitions) -> Vec<NamedFile> {
    let listeners = definitions.load_balancers.iter().flat_map(|load_balancer| &load_balancer.listeners);
    let logins = listeners.flat_map(|listener| logins(&listener.kind).to_vec());
    logins.map(|login| login.client_secret.clone()).collect()
}

/// Every file that `definitions` name for TLS and that cannot be used, the first one of each listener.
pub fn unusable_files(definitions: &Definitions) -> Vec<LoadError> {
    let mut files = Files::new();
    let tickets = definitions.tls_tickets.iter().map(|file| load_tickets(file, &mut files).err());
    let mut problems: Vec<LoadError> = tickets.flatten().collect();
    let own = Secrets::random();
    let mut unusable =
        |cookies, clients: &[NamedFile]| load_secrets(cookies, clients, &own, &mut files).err();
    problems.extend(definitions.cookie_secrets.as_ref().and_then(|file| unusable(Some(file), &[])));
    problems.extend(client_secrets(definitions).into_iter().filter_map(|file| unusable(None, &[file])));
    let listeners = definitions.load_balancers.iter().flat_map(|load_balancer| &load_balancer.listeners);
    let tickets = Tickets::random();
    let load = |tls: &Arc<Tls>| load(tls, &AlpnOffer::default(), &tickets, &mut files).err();
    problems.extend(listeners.filter_map(|listener| listener.kind.tls()).filter_map(load));
    problems
}

/// What to say of the end of a certificate at `now`, in seconds since 1970; nothing while it is far.
fn expiry_warning(certificate: &ServerCertificate, now: i64) -> Option<String> {
    const DAY_SECONDS: i64 = 24 * 3600;
    let left = certificate.not_after - now;
    match left {
        ..0 => Some(format!("the certificate ended {} days ago, and is still shown", -left / DAY_SECONDS)),
        0..=EXPIRY_WARNING_SECONDS => Some(format!("the certificate ends in {} days", left / DAY_SECONDS)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) use tests::self_signed;

#[cfg(test)]
mod tests;

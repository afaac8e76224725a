//! Files that come, change, break and go under listeners.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rcgen::{CertificateParams, KeyPair};
use weir_core::address::ListenAddr;
use weir_core::definition::{Listener, ListenerKind, LoadBalancer};
use weir_core::name::LoadBalancerName;
use weir_core::rule::{Action, FixedResponse};
use weir_core::ssl_policy::SslPolicy;
use weir_core::tls::{CertificateFiles, MutualAuthentication};

use super::*;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("weir-control-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> NamedFile {
        NamedFile::new(&self.0.join(name), 12)
    }

    /// Puts a file in place, as a careful program does: whole, by a rename.
    fn write(&self, name: &str, content: &str) {
        let aside = self.0.join(format!("{name}.new"));
        std::fs::write(&aside, content).unwrap();
        std::fs::rename(aside, self.0.join(name)).unwrap();
    }

    /// Writes a new pair of this name; its serial number.
    fn pair(&self, name: &str, years: i32) -> String {
        let made = Made::new(years);
        self.write(&format!("{name}.pem"), &made.certificate);
        self.write(&format!("{name}.key"), &made.key);
        made.serial
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Made {
    certificate: String,
    key: String,
    serial: String,
}

impl Made {
    /// A pair whose certificate ends in year `year`.
    fn new(year: i32) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0x0100_0000);
        let serial = SERIAL.fetch_add(1, Relaxed);
        let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, key: key.serialize_pem(), serial: format!("{serial:08X}") }
    }
}

/// Definitions of a listener for each list of pairs.
fn definitions(folder: &Folder, listeners: &[&[&str]]) -> Definitions {
    let nothing = FixedResponse { status: 404, content_type: None, body: String::new() };
    let listener = |(port, names): (u16, &&[&str])| {
        let pair = |name: &&str| CertificateFiles {
            certificate: folder.file(&format!("{name}.pem")),
            key: folder.file(&format!("{name}.key")),
        };
        let tls = Tls {
            certificates: names.iter().map(pair).collect(),
            policy: SslPolicy::default(),
            mutual_authentication: MutualAuthentication::Off,
        };
        Listener {
            bind: ListenAddr(([127, 0, 0, 1], port).into()),
            proxies: None,
            kind: ListenerKind::Application {
                headers: Arc::default(),
                tls: Some(Arc::new(tls)),
                rules: Vec::new(),
                default_action: Action::FixedResponse(Arc::new(nothing.clone())),
            },
        }
    };
    let load_balancer = LoadBalancer {
        name: LoadBalancerName::parse("edge").unwrap(),
        idle_timeout: Duration::from_secs(60),
        logs: weir_core::logs::Logs::default(),
        http: weir_core::definition::HttpSettings::default(),
        listeners: (1..).zip(listeners).map(listener).collect(),
    };
    Definitions { load_balancers: vec![load_balancer], target_groups: Vec::new(), ..Definitions::default() }
}

/// What a target speaks TLS with that nobody vouches for.
pub(crate) fn self_signed() -> weir_tls::ServerSide {
    let folder = Folder::new();
    folder.pair("target", 2050);
    let tls = definitions(&folder, &[&["target"]]).load_balancers[0].listeners[0].kind.tls().unwrap().clone();
    weir_tls::ServerSide::new(
        load(&tls, &AlpnOffer::default(), &Tickets::random(), &mut Files::new()).unwrap(),
    )
}

/// Certificates of listeners, with the state that numbers them.
struct Control {
    certificates: Certificates,
    state: State,
}

impl Control {
    fn new() -> Self {
        let certificates = Certificates::new(Listeners::default(), Telemetry::default(), Clock::start());
        Self { certificates, state: State::new() }
    }

    fn define(&mut self, definitions: &Definitions) -> Result<(), LoadError> {
        let prepared = self.certificates.prepare(definitions, &mut self.state)?;
        self.certificates.commit(prepared);
        Ok(())
    }

    /// The serial numbers that listener `number` shows.
    fn shown(&self, number: u32) -> Option<Vec<String>> {
        let listener = self.certificates.listeners.get(ListenerIndex(number))?;
        Some(listener.certificates().iter().map(|certificate| certificate.serial_number.clone()).collect())
    }

    /// Waits until a file has changed, and takes it in.
    async fn renew(&mut self) -> Vec<String> {
        self.certificates.changed().await;
        self.certificates.renew().iter().map(ToString::to_string).collect()
    }
}

/// Runs a story where local tasks can be.
async fn locally<T>(story: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(story).await
}

#[tokio::test]
async fn a_pair_that_is_replaced_is_shown_without_being_asked_for() {
    locally(async {
        let folder = Folder::new();
        let first = folder.pair("shop", 2999);
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop"]])).unwrap();
        assert_eq!(control.shown(0).unwrap(), [first]);
        let second = folder.pair("shop", 2999);
        while control.shown(0).unwrap() != [second.as_str()] {
            // Between the two files a look may find half of the pair.
            control.renew().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_pair_that_breaks_stays_as_it_was_and_others_go_on() {
    locally(async {
        let folder = Folder::new();
        let (shop, blog) = (folder.pair("shop", 2999), folder.pair("blog", 2999));
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop", "blog"], &["blog"]])).unwrap();
        assert_eq!(control.shown(0).unwrap(), [shop.clone(), blog.clone()]);
        folder.write("shop.key", &Made::new(2999).key);
        let problems = control.renew().await;
        assert!(
            problems[0].contains("shop.key") && problems[0].contains("is not the key of"),
            "{problems:?}"
        );
        assert_eq!(control.shown(0).unwrap(), [shop.clone(), blog.clone()]);
        let blog = folder.pair("blog", 2999);
        while control.shown(1).unwrap() != [blog.as_str()] {
            control.renew().await;
        }
        assert_eq!(control.shown(0).unwrap(), [shop, blog.clone()], "beside the one that is still broken");
        let mended = folder.pair("shop", 2999);
        while control.shown(0).unwrap() != [mended.as_str(), blog.as_str()] {
            control.renew().await;
        }
    })
    .await;
}

#[tokio::test]
async fn files_that_vanish_or_are_half_written_stay_as_they_were() {
    locally(async {
        let folder = Folder::new();
        let shop = folder.pair("shop", 2999);
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop"]])).unwrap();
        let whole = std::fs::read_to_string(folder.0.join("shop.pem")).unwrap();
        for (broken, cause) in [(&whole[..whole.len() / 2], "has no certificate"), ("", "has no certificate")]
        {
            folder.write("shop.pem", broken);
            let problems = control.renew().await;
            assert!(problems.iter().any(|problem| problem.contains(cause)), "{problems:?}");
            assert_eq!(control.shown(0).unwrap(), [shop.as_str()]);
        }
        std::fs::remove_file(folder.0.join("shop.pem")).unwrap();
        let problems = control.renew().await;
        assert!(problems[0].contains("cannot be read: entity not found"), "{problems:?}");
        assert_eq!(control.shown(0).unwrap(), [shop]);
    })
    .await;
}

#[tokio::test]
async fn definitions_with_a_bad_file_are_refused_with_the_file_and_its_line() {
    locally(async {
        let folder = Folder::new();
        let shop = folder.pair("shop", 2999);
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop"]])).unwrap();
        let refused =
            control.define(&definitions(&folder, &[&["shop"], &["missing"]])).unwrap_err().to_string();
        assert!(refused.contains("missing.pem: cannot be read: entity not found"), "{refused}");
        assert!(refused.contains("line 12 of the configuration"), "{refused}");
        assert_eq!(control.shown(0).unwrap(), [shop]);
        assert_eq!(control.shown(1), None, "nothing has changed");
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_goes_takes_its_certificates_with_it() {
    locally(async {
        let folder = Folder::new();
        folder.pair("shop", 2999);
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop"], &["shop"]])).unwrap();
        assert!(control.shown(1).is_some());
        control.define(&definitions(&folder, &[&["shop"]])).unwrap();
        assert!(control.shown(0).is_some() && control.shown(1).is_none());
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_certificate_is_a_metric() {
    locally(async {
        let folder = Folder::new();
        folder.pair("shop", 2050);
        let mut control = Control::new();
        control.define(&definitions(&folder, &[&["shop"]])).unwrap();
        let text = control.certificates.telemetry.render(&weir_core::snapshot::Snapshot::default());
        let line = text.lines().find(|line| line.starts_with("weir_certificate_expiry_timestamp_seconds{"));
        assert!(line.unwrap().ends_with("shop.pem\"} 2524608000"), "{line:?}");
    })
    .await;
}

#[test]
fn the_end_is_warned_of_from_thirty_days_before() {
    const DAY: i64 = 24 * 3600;
    let folder = Folder::new();
    folder.pair("shop", 2050);
    let tls = definitions(&folder, &[&["shop"]]).load_balancers[0].listeners[0].kind.tls().unwrap().clone();
    let settings = load(&tls, &AlpnOffer::default(), &Tickets::random(), &mut Files::new()).unwrap();
    let certificate = settings.certificates().next().unwrap();
    let end = certificate.not_after;
    assert_eq!(expiry_warning(certificate, end - 31 * DAY), None);
    assert_eq!(expiry_warning(certificate, end - 30 * DAY).unwrap(), "the certificate ends in 30 days");
    assert_eq!(
        expiry_warning(certificate, end + 2 * DAY).unwrap(),
        "the certificate ended 2 days ago, and is still shown"
    );
}

//! Canaille, an identity provider, started by a test on a port of its own and ended with it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::server::Running;
use crate::{Browser, Folder, Reply, free_port, loopback};

/// Attempts to start the provider on a free port that somebody else may take first.
const ATTEMPTS: usize = 5;

/// A running canaille, with a user `bob` and a client `weir`.
#[derive(Debug)]
pub struct Canaille {
    _running: Running,
    addr: SocketAddr,
    _folder: Folder,
}

impl Canaille {
    /// The secret of the client.
    pub const SECRET: &str = "the secret/of:weir";

    /// Starts one that sends clients back to these URIs.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(redirect_uris: &[&str]) -> Self {
        let test = std::env::current_exe().expect("a program knows its own place");
        let target = test.ancestors().nth(3).expect("tests lie in a folder below the target folder");
        let python = target.join("canaille/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/identity_provider.py");
        for _ in 0..ATTEMPTS {
            let (addr, folder) = (loopback(free_port()), Folder::new());
            let mut arguments = vec![script.display().to_string(), addr.port().to_string()];
            arguments.extend(redirect_uris.iter().map(ToString::to_string));
            let log = folder.path().join("log");
            let mut running = Running::start(&python, "`cargo xtask test` installs it", &arguments, &log);
            if running.is_ready("canaille answers", || TcpStream::connect(addr).is_ok()) {
                return Self { _running: running, addr, _folder: folder };
            }
        }
        panic!("canaille does not start on any of {ATTEMPTS} free ports")
    }

    /// Its issuer, and what its endpoints begin with.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Logs bob in, who has been sent to `location`; where the provider sends him then.
    ///
    /// # Panics
    /// When the provider does not let him.
    pub fn log_in(&self, browser: &mut Browser, location: &str) -> String {
        let mut page = self.ask(browser, location, None);
        for answer in ["login=bob&remember=y&answer=", "password=a+password+of+bob&answer="] {
            let mut at = String::new();
            while page.status == 302 {
                page.header("location").clone_into(&mut at);
                page = self.ask(browser, &at, None);
            }
            let (_, rest) = page.body.split_once("name=\"csrf_token\" value=\"").expect("a form has a token");
            let token = rest.split('"').next().unwrap_or_default();
            page = self.ask(browser, &at, Some(&format!("csrf_token={token}&{answer}")));
        }
        while page.header("location").starts_with('/') || page.header("location").starts_with(&self.url()) {
            page = self.ask(browser, page.header("location"), None);
        }
        assert_eq!(page.status, 302, "{}", page.body);
        page.header("location").to_owned()
    }

    fn ask(&self, browser: &mut Browser, location: &str, form: Option<&str>) -> Reply {
        let path = location.strip_prefix(&self.url()).unwrap_or(location);
        browser.ask_plainly(self.addr, path, form)
    }
}

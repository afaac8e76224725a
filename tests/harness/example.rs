//! The examples of `config/`, made to run here.

use std::path::Path;

use crate::{FakeTarget, Folder, Weir};

/// An example whose listeners are on free ports of loopback.
#[derive(Debug)]
pub struct Example(String);

impl Example {
    /// The example of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a parent").join("config");
        let text = std::fs::read_to_string(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self::of(&text)
    }

    /// A configuration that a document shows.
    pub fn of(text: &str) -> Self {
        let mut parts = text.split("bind: ");
        let first = parts.next().unwrap_or_default();
        let after_bind = |part: &str| part.find([' ', ',', '\n']).map_or("", |end| &part[end..]).to_owned();
        let moved = parts.map(|part| format!("bind: 127.0.0.1:0{}", after_bind(part)));
        Self(format!("{first}{}", moved.collect::<String>()))
    }

    /// With something else in place of what it says.
    ///
    /// # Panics
    /// When it does not say so.
    #[must_use]
    pub fn with(self, said: &str, instead: &str) -> Self {
        assert!(self.0.contains(said), "{said:?} is not in {}", self.0);
        Self(self.0.replace(said, instead))
    }

    /// With targets of the test in place of those at ports from 32768 on.
    #[must_use]
    pub fn with_targets(self, targets: &[FakeTarget]) -> Self {
        (32_768_u16..).zip(targets).fold(self, |example, (port, target)| {
            example.with(&format!("port: {port}"), &format!("port: {}", target.addr().port()))
        })
    }

    /// Starts it beside the files that it asks for.
    pub fn start_in(self, folder: Folder) -> Weir {
        Weir::start_in(folder, &self.0, |_| {})
    }

    /// Starts it, and waits until all its targets are healthy.
    pub fn serve(self) -> Weir {
        let weir = self.start_in(Folder::new());
        weir.wait_until_healthy();
        weir
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.0
    }
}

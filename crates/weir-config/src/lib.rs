//! The configuration: YAML in, a [`Config`] or *every* mistake out.
//!
//! A document is first read into a tree that remembers where everything stands, then resolved into what it means.
//! There is no other way to make a [`Config`], so a value that exists is valid. Every mistake is reported at once,
//! each with its line, a caret, the cause and the remedy.
//!
//! What this crate lacks, on purpose: tokio, sockets, defaults hidden elsewhere.

mod config;
pub mod document;
mod keys;
mod problem;
mod read;
mod resolve;
mod tree;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use config::{
    Admin, Config, Discovery, DnsSource, DockerSource, EtcdSource, FileSource, HttpSource, Limits,
    SharedSource, SwarmSource,
};
pub use keys::OBJECTS;
pub use problem::{Problem, Problems};

/// Largest configuration file, in bytes: as many rules as one listener has priorities fit in.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A configuration that was read, and what to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What is allowed, and probably not intended.
    pub warnings: Vec<Problem>,
}

/// Why a configuration was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It has mistakes.
    #[error(transparent)]
    Mistaken(#[from] Problems),
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("{0}: has more than {FILE_BYTES_MAX} bytes, which no configuration needs")]
    TooLarge(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, #[source] std::io::Error),
}

/// Reads a configuration file.
///
/// # Errors
/// [`LoadError`]; all mistakes of the file at once.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    Ok(parse(&text_of(path)?, path)?)
}

/// The text of a configuration file.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn text_of(path: &Path) -> Result<String, LoadError> {
    let unreadable = |error| LoadError::Unreadable(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Whatever its size is said to be: a pipe or a device has none.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge(path.to_owned()));
    }
    // Bytes that are no text become characters that no key or value has, and are reported where they stand.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the configuration that several weirs share, for the one whose own is `local`; `name` names it in reports, and
/// relative paths in it start from `folder`. What comes of it is `local` with the shared load balancers and groups.
///
/// # Errors
/// [`LoadError`]; all mistakes at once.
pub fn parse_shared(text: &str, name: &str, folder: &Path, local: &Config) -> Result<Loaded, LoadError> {
    let name = Path::new(name);
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(LoadError::TooLarge(name.to_owned()));
    }
    Ok(read(text, name, folder, |root, reader| resolve::resolve_shared(root, local, reader))?)
}

/// Reads a configuration from text; `file` names it in reports, and relative paths in it start from its folder.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Problems> {
    read(text, file, file.parent().unwrap_or(Path::new("")), resolve::resolve)
}

fn read(
    text: &str,
    file: &Path,
    folder: &Path,
    resolve: impl FnOnce(&tree::Node, &mut read::Reader<'_>) -> Option<Config>,
) -> Result<Loaded, Problems> {
    let (config, warnings) = document::read(text, file, folder, resolve)?;
    Ok(Loaded { config, warnings })
}

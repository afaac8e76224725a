//! Files as they were read, so that it can be told later whether they have changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file, in bytes: a revocation list of half a million entries, AWS's quota, has about 20 MB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What a file has, or why that is not known.
type Content = Result<Arc<[u8]>, io::ErrorKind>;

/// Files that were read, each once.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<PathBuf, Entry>);

#[derive(Debug)]
struct Entry {
    /// What was found.
    found: Content,
    /// What is made of it, which may be what was found before.
    used: Content,
}

impl Files {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a file has; read at the first call only, so that whatever is made of it is made of the same.
    ///
    /// # Errors
    /// It cannot be read, or is larger than any file of its kind.
    pub fn read(&mut self, path: &Path) -> io::Result<&[u8]> {
        let entry = self.0.entry(path.to_owned()).or_insert_with(|| {
            let found = content(path);
            Entry { used: found.clone(), found }
        });
        match &entry.used {
            Ok(bytes) => Ok(bytes),
            Err(kind) => Err((*kind).into()),
        }
    }

    /// Takes a file as it was in `before`, whatever was found now; whether that makes a difference.
    pub fn put_back(&mut self, path: &Path, before: &Self) -> bool {
        let (Some(entry), Some(before)) = (self.0.get_mut(path), before.0.get(path)) else { return false };
        let differs = entry.used != before.used;
        entry.used.clone_from(&before.used);
        differs
    }

    /// Whether a file is not what it was any more.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| content(path) != before.found)
    }

    /// Every file that was read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }
}

fn content(path: &Path) -> Content {
    let read = || {
        // To open a pipe would wait for whoever writes to it.
        if !path.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    };
    read().map(Arc::from).map_err(|error: io::Error| error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_file_that_is_written_replaced_or_removed_has_changed() {
        let folder = Folder::new();
        let path = folder.write("a.pem", b"one");
        let mut files = Files::new();
        assert_eq!(files.read(&path).unwrap(), b"one");
        assert!(!files.have_changed());
        folder.write("a.pem", b"two");
        assert!(files.have_changed());
        assert_eq!(files.read(&path).unwrap(), b"one", "what was read stays");
        folder.write("a.pem", b"one");
        assert!(!files.have_changed(), "it is as it was");
        std::fs::remove_file(&path).unwrap();
        assert!(files.have_changed());
    }

    #[test]
    fn a_file_that_appears_has_changed() {
        let folder = Folder::new();
        let mut files = Files::new();
        let missing = folder.path("a.pem");
        assert_eq!(files.read(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!files.have_changed());
        folder.write("a.pem", b"one");
        assert!(files.have_changed());
    }

    #[test]
    fn a_file_that_was_put_back_is_used_as_it_was_and_found_as_it_is() {
        let folder = Folder::new();
        let path = folder.write("a.pem", b"good");
        let (mut before, mut after) = (Files::new(), Files::new());
        before.read(&path).unwrap();
        folder.write("a.pem", b"bad");
        after.read(&path).unwrap();
        assert!(after.put_back(&path, &before));
        assert!(!after.put_back(&path, &before), "it is back already");
        assert_eq!(after.read(&path).unwrap(), b"good");
        assert!(!after.have_changed(), "the bad one has been seen");
        folder.write("a.pem", b"better");
        assert!(after.have_changed());
    }
}

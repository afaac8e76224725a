//! The access log: lines gather in each worker and go to one writer thread.
//!
//! A worker never waits. A batch that finds the writer's queue full is dropped, and its lines are counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::collector::Telemetry;

/// Batches that may wait for the writer: beyond them lines are lost and counted.
const BATCHES_QUEUED_MAX: usize = 256;

/// Bytes of lines that a worker gathers before it hands them over. It also hands them over when it is asked to
/// [`LogBuffer::flush`], which happens several times a second.
const BATCH_BYTES: usize = 32 * 1024;

/// Where lines go: a file, or standard output.
pub type Destination = Option<PathBuf>;

enum Message {
    Batch { destination: Destination, lines: Vec<u8>, count: u64 },
    Flush(SyncSender<()>),
    Reopen,
}

/// A handle to the writer thread.
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    telemetry: Telemetry,
}

impl LogWriter {
    /// Starts the writer thread; it ends when the last handle is gone.
    ///
    /// # Errors
    /// When the kernel has no thread left.
    pub fn start(telemetry: Telemetry) -> io::Result<Self> {
        let (queue, messages) = sync_channel(BATCHES_QUEUED_MAX);
        let counted = telemetry.clone();
        thread::Builder::new().name("access-log".into()).spawn(move || write(&messages, &counted))?;
        Ok(Self { queue, telemetry })
    }

    /// A buffer for one worker and one load balancer.
    pub fn buffer(&self, destination: Destination) -> LogBuffer {
        LogBuffer { destination, writer: self.clone(), lines: RefCell::default() }
    }

    /// Closes every file and opens it anew at its next line: after a log rotation.
    pub fn reopen(&self) {
        // A full queue means a writer that is far behind; the request is repeated by the next signal.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Waits until everything handed over so far is written. Blocks: for the end of the process and for tests.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            // The writer answers or is gone; either way nothing more will be written.
            let _ = wait.recv();
        }
    }
}

/// One worker's lines for one destination.
#[derive(Debug)]
pub struct LogBuffer {
    destination: Destination,
    writer: LogWriter,
    lines: RefCell<(Vec<u8>, u64)>,
}

impl LogBuffer {
    /// Appends one line; `format` writes it without its line end.
    pub fn line(&self, format: impl FnOnce(&mut Vec<u8>)) {
        let is_full = {
            let (bytes, count) = &mut *self.lines.borrow_mut();
            format(bytes);
            bytes.push(b'\n');
            *count += 1;
            bytes.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands over what has gathered.
    pub fn flush(&self) {
        let (lines, count) = std::mem::take(&mut *self.lines.borrow_mut());
        if count > 0 {
            let batch = Message::Batch { destination: self.destination.clone(), lines, count };
            if self.writer.queue.try_send(batch).is_err() {
                self.writer.telemetry.count_lost_lines(count);
            }
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write(messages: &Receiver<Message>, telemetry: &Telemetry) {
    let mut files: BTreeMap<PathBuf, Option<File>> = BTreeMap::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Batch { destination: None, lines, count } => {
                if io::stdout().lock().write_all(&lines).is_err() {
                    telemetry.count_lost_lines(count);
                }
            }
            Message::Batch { destination: Some(path), lines, count } => {
                let file = files.entry(path.clone()).or_insert_with(|| open(&path));
                let written = file.as_mut().map(|file| file.write_all(&lines));
                if let Some(Err(error)) = &written {
                    tracing::error!(
                        "access log {}: {error}; lines are lost until it is reopened",
                        path.display()
                    );
                    *file = None;
                }
                if !matches!(written, Some(Ok(()))) {
                    telemetry.count_lost_lines(count);
                }
            }
            Message::Flush(done) => drop(done.send(())),
            Message::Reopen => files.clear(),
        }
    }
}

fn open(path: &PathBuf) -> Option<File> {
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::error!(
                "access log {}: {error}; its lines are lost until it is reopened",
                path.display()
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("weir-access-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn lines_reach_the_file_and_a_reopened_log_starts_a_new_one() {
        let folder = folder("reopen");
        let path = folder.join("access.log");
        let writer = LogWriter::start(Telemetry::default()).unwrap();
        let buffer = writer.buffer(Some(path.clone()));
        buffer.line(|line| line.extend(b"one"));
        buffer.flush();
        writer.flush();
        std::fs::rename(&path, folder.join("access.log.1")).unwrap();
        writer.reopen();
        buffer.line(|line| line.extend(b"two"));
        drop(buffer);
        writer.flush();
        assert_eq!(std::fs::read_to_string(folder.join("access.log.1")).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_that_find_the_queue_full_are_counted_and_nobody_waits() {
        let telemetry = Telemetry::default();
        let (queue, _messages) = sync_channel(1);
        let writer = LogWriter { queue, telemetry: telemetry.clone() };
        let buffer = writer.buffer(None);
        for _ in 0..3 {
            buffer.line(|line| line.extend(b"x"));
            buffer.flush();
        }
        let text = telemetry.render(&weir_core::snapshot::Snapshot::default());
        assert!(text.contains("weir_access_log_lines_lost_total 2"), "{text}");
    }
}

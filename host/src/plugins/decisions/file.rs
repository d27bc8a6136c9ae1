//! The file of decisions: one JSON object a line, written by a thread of its own. It looks for new decisions a hundred times a
//! second, so that no call has to wake it. A file that is large enough is put aside as `.1`, the one before as `.2`, and so on.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::plugins::limits;
use crate::plugins::slot_name::SlotName;

/// Bytes of the buffer between two looks.
const MOST_KEPT: usize = 1 << 20;

/// Where the lines come from.
pub trait Source: Send + 'static {
    /// Appends the new lines of a slot to a buffer, and answers how many; none when there will be no more.
    fn lines(&self, slot: SlotName, buffer: &mut Vec<u8>) -> Option<u64>;

    /// So many lines of a slot could not be written.
    fn lost(&self, slot: SlotName, count: u64);
}

/// The thread that writes. Dropping it writes what is left.
pub struct FileSink {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FileSink {
    /// Opens the file, and writes to it what `source` has from now on.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or no thread be started.
    pub fn start(path: &Path, source: impl Source) -> std::io::Result<Self> {
        let rotated = Rotated::open(path, limits::DECISION_FILE_BYTES)?;
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || work(rotated, &source, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        drop(self.stop.take());
        let own = std::thread::current().id();
        // The thread itself may be the last to let go of what holds this.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != own) {
            // A panic in it was logged, and there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

fn work(mut file: Rotated, source: &impl Source, stopped: &Receiver<()>) {
    let mut buffer = Vec::new();
    let mut well = true;
    loop {
        let last = !matches!(
            stopped.recv_timeout(limits::DECISION_FLUSH),
            Err(RecvTimeoutError::Timeout)
        );
        for slot in SlotName::ALL {
            buffer.clear();
            let Some(count) = source.lines(slot, &mut buffer) else {
                return;
            };
            if count == 0 {
                continue;
            }
            match file.append(&buffer) {
                Ok(()) => well = true,
                Err(error) => {
                    if std::mem::take(&mut well) {
                        tracing::warn!(%error, path = %file.path.display(),
                            "decisions are not written; they are counted as dropped");
                    }
                    source.lost(slot, count);
                }
            }
            // One large frame must not keep its memory for ever.
            buffer.shrink_to(MOST_KEPT);
        }
        if last {
            return;
        }
    }
}

/// A file, and those that it was before.
struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    largest: u64,
}

impl Rotated {
    fn open(path: &Path, largest: u64) -> std::io::Result<Self> {
        let file = open(path)?;
        Ok(Self {
            size: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            largest,
        })
    }

    fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.size >= self.largest {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let aside = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..limits::DECISION_FILES - 1).rev() {
            match std::fs::rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, aside(1))?;
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// Only its owner may read it.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        let mut file = Rotated::open(&path, 15).unwrap();
        for number in 0..20 {
            file.append(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let wanted = ["", ".1", ".2", ".3", ".4"].map(|end| format!("decisions.jsonl{end}"));
        assert_eq!(names, wanted);
        let newest = std::fs::read_to_string(&path).unwrap();
        assert_eq!(newest, "line 0018\nline 0019\n");
        drop(file);
        let mut again = Rotated::open(&path, 15).unwrap();
        again.append(b"after a restart\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after a restart\n");
    }
}

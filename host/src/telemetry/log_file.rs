//! The log in a file of a fixed name, so that `tail -F` works. What is full or of yesterday gets the day behind its name, and
//! the oldest are removed. Loses no line when that fails: it then writes on where it was.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use time::{Date, OffsetDateTime};

/// Largest file, in bytes.
pub const MAX_BYTES: u64 = 500 * 1024 * 1024;
/// Old files that are kept.
pub const KEPT: usize = 10;

/// When a file is full, and how many old ones stay.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    pub max_bytes: u64,
    pub kept: usize,
}

/// The open file.
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The day of what is in it, in UTC.
    day: Date,
    rotation: Option<Rotation>,
    /// Set from outside: somebody else has moved the file away.
    reopen: Arc<AtomicBool>,
    today: fn() -> Date,
}

impl LogFile {
    /// Opens the file for more lines, and makes its folder when it is missing. Without `rotation` it grows until `reopen` is set.
    ///
    /// # Errors
    /// The folder cannot be made, or the file not written to.
    pub fn open(path: &Path, rotation: Option<Rotation>, reopen: Arc<AtomicBool>) -> std::io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let today = || OffsetDateTime::now_utc().date();
        let (file, bytes, written) = append(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            day: written.unwrap_or_else(today),
            rotation,
            reopen,
            today,
        })
    }

    fn prepare(&mut self, length: usize) {
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.open_again();
        }
        let Some(rotation) = self.rotation else { return };
        let today = (self.today)();
        let full = self.bytes > 0 && self.bytes + length as u64 > rotation.max_bytes;
        if !full && (today == self.day || self.bytes == 0) {
            self.day = today;
            return;
        }
        if let Err(error) = std::fs::rename(&self.path, self.old_name()) {
            eprintln!(
                "p2p-coordinator: LOG_FILE: {} cannot be renamed: {error}",
                self.path.display()
            );
        } else {
            self.open_again();
            self.remove_oldest(rotation.kept);
        }
        // Also after a failure, so that not every line tries again.
        (self.bytes, self.day) = (0, today);
    }

    fn open_again(&mut self) {
        match append(&self.path) {
            Ok((file, bytes, _)) => (self.file, self.bytes) = (file, bytes),
            Err(error) => eprintln!(
                "p2p-coordinator: LOG_FILE: {} cannot be opened: {error}",
                self.path.display()
            ),
        }
    }

    /// The day behind the name, and a number behind it from the second file of a day on.
    fn old_name(&self) -> PathBuf {
        let day = format!(
            "{:04}-{:02}-{:02}",
            self.day.year(),
            u8::from(self.day.month()),
            self.day.day()
        );
        let last = self
            .old()
            .into_iter()
            .filter(|(of, _, _)| *of == day)
            .map(|(_, number, _)| number)
            .max();
        let end = last.map_or_else(|| day.clone(), |number| format!("{day}.{}", number + 1));
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{end}"));
        name.into()
    }

    /// Old files with their day and number.
    fn old(&self) -> Vec<(String, u32, PathBuf)> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let name = self
            .path
            .file_name()
            .map(|name| format!("{}.", name.to_string_lossy()))
            .unwrap_or_default();
        let entries = std::fs::read_dir(folder.unwrap_or_else(|| Path::new(".")))
            .into_iter()
            .flatten()
            .flatten();
        let old = entries.filter_map(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            let (day, number) = dated(file.strip_prefix(&name)?)?;
            Some((day, number, entry.path()))
        });
        old.collect()
    }

    fn remove_oldest(&self, kept: usize) {
        let mut old = self.old();
        old.sort();
        let over = old.len().saturating_sub(kept);
        for (_, _, path) in old.into_iter().take(over) {
            std::fs::remove_file(path).ok();
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.prepare(line.len());
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The file, its size, and the day it was last written to.
fn append(path: &Path) -> std::io::Result<(File, u64, Option<Date>)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let metadata = file.metadata()?;
    let written = metadata.modified().ok().filter(|_| metadata.len() > 0);
    Ok((file, metadata.len(), written.map(|at| OffsetDateTime::from(at).date())))
}

/// `2026-11-07` or `2026-11-07.2`: the day and the number, 0 without one.
fn dated(end: &str) -> Option<(String, u32)> {
    let (day, number) = match end.split_once('.') {
        Some((day, number)) => (day, number.parse().ok()?),
        None => (end, 0),
    };
    let shape = |(at, byte): (usize, u8)| {
        if at == 4 || at == 7 {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    (day.len() == 10 && day.bytes().enumerate().all(shape)).then(|| (day.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static DAY: Cell<i64> = const { Cell::new(0) };
    }

    fn day() -> Date {
        time::macros::date!(2026 - 11 - 07) + time::Duration::days(DAY.get())
    }

    fn open(path: &Path, rotation: Option<Rotation>) -> (LogFile, Arc<AtomicBool>) {
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file = LogFile::open(path, rotation, reopen.clone()).unwrap();
        (file.today, file.day) = (day, day());
        (file, reopen)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn full_files_and_those_of_yesterday_get_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/service.log");
        let rotation = Rotation { max_bytes: 20, kept: 3 };
        let (mut file, _) = open(&path, Some(rotation));
        for line in ["one 4567890\n", "two 4567890\n", "three 67890\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        let logs = path.parent().unwrap();
        assert_eq!(
            names(logs),
            ["service.log", "service.log.2026-11-07", "service.log.2026-11-07.1"]
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three 67890\n");
        DAY.set(1);
        file.write_all(b"four\n").unwrap();
        DAY.set(2);
        file.write_all(b"five\n").unwrap();
        // The oldest of four is gone, and nothing that is no log of ours.
        assert_eq!(
            names(logs),
            [
                "service.log",
                "service.log.2026-11-07.1",
                "service.log.2026-11-07.2",
                "service.log.2026-11-08"
            ]
        );
        assert_eq!(
            std::fs::read_to_string(logs.join("service.log.2026-11-08")).unwrap(),
            "four\n"
        );
        drop(file);
        std::fs::write(logs.join("service.log.old"), "mine").unwrap();
        let (mut file, _) = open(&path, Some(rotation));
        file.write_all(b"six\n").unwrap();
        assert!(names(logs).contains(&"service.log.old".to_owned()));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        let (mut file, reopen) = open(&path, None);
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        file.write_all(b"two\n").unwrap();
        reopen.store(true, Ordering::Relaxed);
        file.write_all(b"three\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("moved")).unwrap(),
            "one\ntwo\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}

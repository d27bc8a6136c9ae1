//! Makes commits durable, many with one sync of the write-ahead log.
//!
//! SQLite itself commits without a sync (`synchronous=NORMAL`): that survives `kill -9`, not a power cut. Whoever has
//! committed waits here until the log is on disk. A sync takes milliseconds; all that commit meanwhile share the next one.
//! The log's frames carry checksums, so after a power cut SQLite finds exactly the commits that were synced whole. The
//! file stays the same one while a connection is open.
//!
//! The system reports a failed sync once and may have dropped what was to be written: a later sync that succeeds proves
//! nothing. So after the first failure nothing counts as durable any more, until the service starts again.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex;

/// The open write-ahead log.
pub struct Log {
    disk: Arc<Disk>,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are on disk.
    synced: Mutex<u64>,
}

/// The file, and why it can be trusted no more. Outlives a caller that gives up waiting.
struct Disk {
    file: parking_lot::Mutex<File>,
    failed: OnceLock<io::Error>,
}

impl Log {
    /// Opens the log of the database at `path`, which a connection has open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push("-wal");
        Ok(Self::over(File::options().append(true).open(name)?))
    }

    fn over(file: File) -> Self {
        Self {
            disk: Arc::new(Disk {
                file: parking_lot::Mutex::new(file),
                failed: OnceLock::new(),
            }),
            committed: AtomicU64::new(0),
            synced: Mutex::new(0),
        }
    }

    /// Whether writes can still be made durable; the error of the sync that failed.
    pub fn check(&self) -> io::Result<()> {
        self.disk.check()
    }

    /// Returns when the commit that the caller has just made is on disk.
    pub async fn sync(&self) -> io::Result<()> {
        let mine = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        if *synced >= mine {
            return Ok(());
        }
        let all = self.committed.load(Ordering::SeqCst);
        let disk = self.disk.clone();
        tokio::task::spawn_blocking(move || disk.sync())
            .await
            .map_err(io::Error::other)??;
        *synced = all;
        Ok(())
    }
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(error) => Err(io::Error::new(
                error.kind(),
                format!("an earlier sync of the log failed: {error}"),
            )),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let file = self.file.lock();
        self.check()?;
        if let Err(error) = file.sync_data() {
            tracing::error!(
                %error,
                "the database's log cannot be brought to disk: no write is accepted any more; check the disk and restart"
            );
            let _ = self.failed.set(error);
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_sync_stays_failed() {
        // A device that cannot be synced.
        let log = Log::over(File::open("/dev/null").unwrap());
        assert!(log.check().is_ok());
        assert!(log.sync().await.is_err());
        *log.disk.file.lock() = tempfile::tempfile().unwrap();
        let error = log.sync().await.unwrap_err().to_string();
        assert!(error.contains("earlier sync"), "{error}");
        assert!(log.check().is_err());
    }

    #[tokio::test]
    async fn a_sync_covers_all_commits_before_it() {
        let log = Log::over(tempfile::tempfile().unwrap());
        log.sync().await.unwrap();
        log.sync().await.unwrap();
        assert_eq!(*log.synced.lock().await, 2);
    }
}

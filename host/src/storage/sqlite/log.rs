//! Makes commits durable, many with one sync of the write-ahead log.
//!
//! SQLite itself commits without a sync (`synchronous=NORMAL`): that survives `kill -9`, not a power cut. Whoever has
//! committed waits here until the log is on disk. A sync takes milliseconds; all that commit meanwhile share the next one.
//! The log's frames carry checksums, so after a power cut SQLite finds exactly the commits that were synced whole. The
//! file stays the same one while a connection is open.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The open write-ahead log.
pub struct Log {
    file: Arc<File>,
    /// Commits so far.
    committed: AtomicU64,
    /// How many of them are on disk.
    synced: Mutex<u64>,
}

impl Log {
    /// Opens the log of the database at `path`, which a connection has open.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut name = OsString::from(path);
        name.push("-wal");
        let file = File::options().append(true).open(name)?;
        Ok(Self {
            file: Arc::new(file),
            committed: AtomicU64::new(0),
            synced: Mutex::new(0),
        })
    }

    /// Returns when the commit that the caller has just made is on disk.
    pub async fn sync(&self) -> std::io::Result<()> {
        let mine = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = self.synced.lock().await;
        if *synced >= mine {
            return Ok(());
        }
        let all = self.committed.load(Ordering::SeqCst);
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || file.sync_data())
            .await
            .map_err(std::io::Error::other)??;
        *synced = all;
        Ok(())
    }
}

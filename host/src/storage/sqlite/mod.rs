//! Storage in one SQLite file: connections, migrations, and the mapping of errors. One file per noun beside it.
//!
//! One connection writes, a pool of others reads. SQLite has one writer at a time anyway; queueing for it here is fair
//! and never ends in `SQLITE_BUSY` within the process. A write is acknowledged when `log` has brought it to disk, so it
//! survives `kill -9` and a power cut.

pub mod copy;
mod explain;
mod hosts;
mod log;
mod refresh;
mod releases;
pub mod schema;
mod sessions;
mod zones;

use std::fs::{DirBuilder, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Connection as _, Row, Sqlite, SqlitePool, Transaction};

use crate::ports::storage::{PoolUse, Result, SchemaVersions, Storage, StorageError, StorageHealth};
use crate::storage::{APPLIED, pool_use, versions};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// How long a call waits for a connection of its pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long SQLite waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the write lock at once.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Prepared statements kept per connection; more than this module has.
const STATEMENTS: usize = 256;

/// Opens the file at `path`, creates it (readable by its owner only) and its folder when missing, and brings the
/// schema up to date. `pool` connections read beside the one that writes.
///
/// # Errors
/// The folder or file cannot be made, is no SQLite database, or has a schema that this program does not know. The text says what
/// to do.
pub async fn open(path: &Path, pool: u32) -> anyhow::Result<Storage> {
    let database = reach(path, pool).await;
    let database = Arc::new(database.map_err(|error| explain::explain(&error, path))?);
    Ok(Storage {
        hosts: database.clone(),
        zones: database.clone(),
        sessions: database.clone(),
        refresh: database.clone(),
        releases: database.clone(),
        health: database,
    })
}

async fn reach(path: &Path, pool: u32) -> anyhow::Result<Database> {
    create_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS);
    let write = connections(1).connect_with(options.clone()).await?;
    MIGRATIONS.run(&write).await?;
    let read = connections(pool.max(1))
        .connect_with(options.pragma("query_only", "ON"))
        .await?;
    let log = log::Log::open(path)?;
    Ok(Database { write, read, log })
}

/// Creates the file when it is missing. One that exists is not touched: closing it again would drop the locks that other
/// connections of this process hold on it.
fn create_file(path: &Path) -> std::io::Result<()> {
    let mut folder = DirBuilder::new();
    let mut file = OpenOptions::new();
    folder.recursive(true);
    file.create_new(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    match file.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Connections to a local file do not go stale: they are never tested, aged or closed for idleness.
fn connections(count: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(count)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// The open file.
struct Database {
    write: SqlitePool,
    read: SqlitePool,
    log: log::Log,
}

impl Database {
    /// Starts a transaction that holds the write lock from the start, so that what it reads stays true until it commits.
    /// Refuses when writes cannot be made durable any more.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.durable()?;
        match self.write.begin_with(BEGIN).await {
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.replace_writer().await.map_err(failed)?;
                self.write.begin_with(BEGIN).await.map_err(failed)
            }
            begun => begun.map_err(failed),
        }
    }

    /// Has another connection write. On a full disk SQLite ends a transaction by itself; the driver goes on counting one that is
    /// not there, and would begin no other.
    async fn replace_writer(&self) -> sqlx::Result<()> {
        // One that has the database open, so that its log stays the same file meanwhile.
        let mut reader = self.read.acquire().await?;
        sqlx::query("SELECT count(*) FROM sqlite_schema")
            .execute(&mut *reader)
            .await?;
        let writer = self.write.acquire().await?;
        // Whoever has the only connection has no transaction on it. Somebody else may have been here before.
        if writer.is_in_transaction() {
            writer.close().await?;
        }
        Ok(())
    }

    /// Commits, and returns when that is on disk. The connection is free for the next writer meanwhile.
    async fn commit(&self, tx: Transaction<'static, Sqlite>) -> Result<()> {
        tx.commit().await.map_err(failed)?;
        self.log.sync().await.map_err(|error| failed(sqlx::Error::Io(error)))
    }

    fn durable(&self) -> Result<()> {
        self.log.check().map_err(|error| failed(sqlx::Error::Io(error)))
    }
}

#[async_trait]
impl StorageHealth for Database {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    async fn ping(&self) -> Result<()> {
        self.durable()?;
        sqlx::query("SELECT 1").execute(&self.read).await.map_err(failed)?;
        Ok(())
    }

    async fn schema(&self) -> Result<SchemaVersions> {
        let applied = sqlx::query_scalar(APPLIED).fetch_one(&self.read).await;
        applied.map(|applied| versions(applied, &MIGRATIONS)).map_err(failed)
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![pool_use("read", &self.read, None), pool_use("write", &self.write, None)]
    }

    async fn close(&self) {
        // The last connection to close folds the log back into the file; it must be the one that may write.
        self.read.close().await;
        self.write.close().await;
    }
}

/// SQLite's primary result codes that a later attempt may not meet: busy, locked, interrupted, I/O error, disk full,
/// cannot open.
const PASSING_CODES: [i32; 6] = [5, 6, 9, 10, 13, 14];

/// Maps an error of the driver by what the caller can do about it.
fn failed(error: sqlx::Error) -> StorageError {
    let passing = match &error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| PASSING_CODES.contains(&(code & 0xff))),
        _ => false,
    };
    if passing {
        StorageError::Unavailable(error.into())
    } else {
        StorageError::Internal(error.into())
    }
}

/// Reads a column of JSON text.
fn json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> sqlx::Result<T> {
    serde_json::from_str(row.try_get(column)?).map_err(|error| undecodable(column, error))
}

/// Reads a column that holds the name of a status.
fn status<T>(row: &SqliteRow, column: &str, parse: fn(&str) -> Option<T>) -> sqlx::Result<T> {
    let name: &str = row.try_get(column)?;
    parse(name).ok_or_else(|| undecodable(column, format!("unknown status {name:?}")))
}

fn undecodable(column: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    }
}

/// Writes a value as JSON text.
fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StorageError::Internal(error.into()))
}

#[cfg(test)]
mod tests;

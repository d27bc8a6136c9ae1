//! Storage in PostgreSQL: the pool, how a call is bounded and repeated, and the mapping of errors. One file per noun beside it.
//!
//! Several nodes may share one database. Rules are decided under row locks in a fixed order (see `sessions`), at the isolation
//! level `READ COMMITTED`, which every connection sets for itself: a statement after a lock sees what the lock waited for.

mod connect;
mod fault;
mod hosts;
mod lease;
mod moment;
mod refresh;
mod releases;
pub mod schema;
mod sessions;
mod sql;
mod zones;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{Connection as _, PgConnection, PgPool, Row};

use self::fault::{failed, is_conflict, is_dead};
use self::lease::Lease;
use crate::ports::storage::{PoolUse, Result, SchemaVersions, Storage, StorageError, StorageHealth};
use crate::storage::{APPLIED, pool_use, versions};

/// How long a call waits for a connection, an opening one included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call gets beyond its statement timeout, so that the server's own answer comes first.
const SLACK: Duration = Duration::from_secs(1);

/// A connection that was idle for longer is tested before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// Longest wait for that test.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for `ping`.
const PING_TIMEOUT: Duration = Duration::from_millis(1500);

/// How often a call is repeated after a deadlock, a serialisation failure or a dead connection.
const REPEATS: u32 = 5;

/// Longest first pause before a repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

/// The size of the pool and the patience with the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are kept open.
    pub kept: u32,
    /// Connections at most.
    pub most: u32,
    /// Longest run of one statement. A call ends a second later at the latest.
    pub statement: Duration,
}

/// Opens the database at `url` (`postgresql://…`, as `config` accepts it) and brings its schema up to date. Several nodes may do
/// so at once.
///
/// # Errors
/// The database does not answer within a few seconds, refuses, or holds a schema that this program does not know. The text says
/// what to do.
pub async fn open(url: &str, limits: Limits) -> anyhow::Result<Storage> {
    let database = Arc::new(reach(url, limits).await?);
    Ok(Storage {
        hosts: database.clone(),
        zones: database.clone(),
        sessions: database.clone(),
        refresh: database.clone(),
        releases: database.clone(),
        health: database,
    })
}

async fn reach(url: &str, limits: Limits) -> anyhow::Result<Database> {
    let options = connect::options(url, limits.statement)?;
    connect::prepare(&options).await?;
    let lost = Arc::new(Mutex::new(None));
    let pool = pool(limits, lost.clone())
        .connect_with(options.clone())
        .await
        .map_err(|error| connect::explain(error, &options))?;
    tracing::info!("{} is open", connect::place(&options));
    Ok(Database {
        pool,
        lost,
        waiting: AtomicU32::new(0),
        patience: limits.statement + SLACK,
    })
}

/// When a connection was last found dead.
type Lost = Arc<Mutex<Option<Instant>>>;

/// A connection in use all the time is not tested: that would be one more round trip per call. One that lay idle is, and so is
/// every one that was open when another was found dead.
fn pool(limits: Limits, lost: Lost) -> PgPoolOptions {
    PgPoolOptions::new()
        .min_connections(limits.kept)
        .max_connections(limits.most)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, used| {
            let suspect = lost.lock().is_some_and(|at| at.elapsed() < used.idle_for);
            let test = suspect || used.idle_for > FRESH;
            Box::pin(async move { Ok(!test || answers(connection).await) })
        })
}

async fn answers(connection: &mut PgConnection) -> bool {
    let answer = tokio::time::timeout(TEST_TIMEOUT, connection.ping()).await;
    matches!(answer, Ok(Ok(())))
}

/// The open database.
struct Database {
    pool: PgPool,
    lost: Lost,
    /// Calls that wait for a connection.
    waiting: AtomicU32,
    patience: Duration,
}

/// Counts a call while it waits, however the wait ends.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Database {
    async fn connection(&self) -> sqlx::Result<Lease> {
        let _waiting = Waiting::among(&self.waiting);
        self.pool.acquire().await.map(Lease::of)
    }

    /// Has every connection that is idle now tested before its next use.
    fn suspect(&self) {
        *self.lost.lock() = Some(Instant::now());
    }

    /// Does work that must not be done twice. It is repeated only when the server has undone it whole, or it has not begun.
    async fn once<T, F>(&self, work: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>> + Send,
    {
        self.run(self.patience, work, |error| {
            is_conflict(error) || matches!(error, sqlx::Error::BeginFailed)
        })
        .await
    }

    /// Does work that leaves the same behind when it is done twice: a lost connection is a reason to repeat it.
    async fn again<T, F>(&self, work: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>> + Send,
    {
        self.run(self.patience, work, |error| is_conflict(error) || is_dead(error))
            .await
    }

    async fn run<T, F>(
        &self,
        patience: Duration,
        work: impl Fn() -> F + Send + Sync,
        repeat: impl Fn(&sqlx::Error) -> bool + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>> + Send,
    {
        let attempts = async {
            let mut left = REPEATS;
            let mut pause = PAUSE;
            loop {
                let error = match work().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                if is_dead(&error) {
                    self.suspect();
                }
                if left == 0 || !repeat(&error) {
                    return Err(failed(error));
                }
                left -= 1;
                tokio::time::sleep(pause.mul_f64(random())).await;
                pause *= 2;
            }
        };
        tokio::time::timeout(patience, attempts).await.unwrap_or_else(|_| {
            self.suspect();
            let error = anyhow::anyhow!("the database did not answer within {patience:?}");
            Err(StorageError::Unavailable(error))
        })
    }
}

/// A number from 0 to 1, so that those who collided do not meet again.
fn random() -> f64 {
    let mut byte = [0_u8; 1];
    match getrandom::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 1.0,
    }
}

#[async_trait]
impl StorageHealth for Database {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    /// A server that takes no writes, as after a failover, does not answer for this purpose.
    async fn ping(&self) -> Result<()> {
        let ask = move || async move {
            sqlx::query_scalar::<_, bool>("SELECT current_setting('transaction_read_only')::BOOLEAN")
                .fetch_one(&mut *self.connection().await?)
                .await
        };
        match self.run(PING_TIMEOUT, ask, is_dead).await? {
            false => Ok(()),
            true => Err(StorageError::Unavailable(anyhow::anyhow!("the database is read-only"))),
        }
    }

    async fn schema(&self) -> Result<SchemaVersions> {
        let ask = move || async move {
            sqlx::query_scalar(APPLIED)
                .fetch_one(&mut *self.connection().await?)
                .await
        };
        let applied = self.run(PING_TIMEOUT, ask, is_dead).await?;
        Ok(versions(applied, &connect::MIGRATIONS))
    }

    fn pools(&self) -> Vec<PoolUse> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        vec![pool_use("main", &self.pool, Some(waiting))]
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A name to look for. PostgreSQL has no texts with U+0000 in them, so nothing is called so: `NULL` equals nothing.
fn key(name: &str) -> Option<&str> {
    (!name.contains('\0')).then_some(name)
}

/// Reads a column of a number that never is negative.
fn number<T: TryFrom<i64>>(row: &PgRow, column: &str) -> sqlx::Result<T> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_| undecodable(column, format!("{number} is out of range")))
}

/// Reads a column that holds the name of a status.
fn status<T>(row: &PgRow, column: &str, parse: fn(&str) -> Option<T>) -> sqlx::Result<T> {
    let name: &str = row.try_get(column)?;
    parse(name).ok_or_else(|| undecodable(column, format!("unknown status {name:?}")))
}

fn undecodable(column: &str, error: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;

//! Backup of a file while it is in use, and its way back. A copy is whole or is not there: it gets its name when it is on disk.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{BUSY_TIMEOUT, explain, schema};
use crate::storage::Schema;

/// How often a copy that is being written is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that are written between two looks, where they are written here.
const CHUNK: u64 = 4 << 20;
/// What a copy may get: free pages are left out of it.
const USED_BYTES: &str = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, \
                          pragma_page_size";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is nothing to copy.
    #[error("there is no database at {}: set DATABASE_URL or DATA_DIR as for the service", .0.display())]
    Missing(PathBuf),
    /// The target is there, and nobody said to replace it.
    #[error("{} is there already: name another file, or say --force", .0.display())]
    InTheWay(PathBuf),
    /// Another process has the target open.
    #[error("{} is in use: stop the service first", .0.display())]
    InUse(PathBuf),
    /// What is to be restored cannot serve this program.
    #[error("{} {what}", file.display())]
    Unfit { file: PathBuf, what: String },
    /// The disk or the database said no.
    #[error("{}: {error:#}", file.display())]
    Failed { file: PathBuf, error: anyhow::Error },
}

/// What was copied.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Copied {
    /// The new file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The newest migration in it.
    pub schema: Option<i64>,
    /// What was in its place before, and where it is now.
    pub kept: Option<PathBuf>,
}

/// What is being done, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// So many bytes of the copy are written, of so many as it may get.
    Writing { bytes: u64, of: u64 },
    /// The file is looked at: whether it is whole, and of this program.
    Checking,
}

/// Copies the database at `from` to the new file `to` as of one moment, while others read and write it. The copy is checked.
/// `watch` is told how far it is.
///
/// # Errors
/// See [`CopyError`].
pub async fn backup(from: &Path, to: &Path, force: bool, watch: &mut dyn FnMut(CopyStep)) -> Result<Copied, CopyError> {
    if !from.is_file() {
        return Err(CopyError::Missing(from.to_owned()));
    }
    if to.exists() && !force {
        return Err(CopyError::InTheWay(to.to_owned()));
    }
    let failed = |error: anyhow::Error| CopyError::Failed {
        file: to.to_owned(),
        error,
    };
    let fresh = beside(to, "partial");
    let written = write_copy(from, &fresh, watch).await.map_err(failed);
    let copied = match written {
        Ok(()) => {
            watch(CopyStep::Checking);
            fit(&fresh).await
        }
        Err(error) => Err(error),
    };
    let schema = copied.inspect_err(|_| drop(std::fs::remove_file(&fresh)))?;
    publish(&fresh, to).map_err(|error| failed(error.into()))?;
    done(to, &schema, None).map_err(|error| failed(error.into()))
}

/// Puts the copy `from` in the place of the database at `to`, which nobody may have open. With `force`, a database that is there
/// gets another name first. `watch` is told how far it is.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(
    from: &Path,
    to: &Path,
    force: bool,
    watch: &mut dyn FnMut(CopyStep),
) -> Result<Copied, CopyError> {
    if !from.is_file() {
        return Err(CopyError::Missing(from.to_owned()));
    }
    let failed = |error: anyhow::Error| CopyError::Failed {
        file: to.to_owned(),
        error,
    };
    watch(CopyStep::Checking);
    let schema = fit(from).await?;
    let there = to.metadata().is_ok_and(|file| file.len() > 0);
    if there {
        // Asked first, so that nobody says --force to what cannot be done anyway.
        close_log(to).await?;
        if !force {
            return Err(CopyError::InTheWay(to.to_owned()));
        }
    }
    let fresh = beside(to, "partial");
    copy_file(from, &fresh, watch).map_err(|error| failed(error.into()))?;
    let kept = if there {
        let kept = beside(to, &format!("before-restore-{}", stamp()));
        std::fs::rename(to, &kept).map_err(|error| failed(error.into()))?;
        Some(kept)
    } else {
        None
    };
    for end in ["-wal", "-shm"] {
        let mut left = to.as_os_str().to_owned();
        left.push(end);
        std::fs::remove_file(PathBuf::from(left)).ok();
    }
    publish(&fresh, to).map_err(|error| failed(error.into()))?;
    done(to, &schema, kept).map_err(|error| failed(error.into()))
}

/// `YYYYMMDD-HHMMSS` now, in UTC.
#[must_use]
pub fn stamp() -> String {
    let now = time::OffsetDateTime::now_utc();
    let (date, clock) = (now.date(), now.time());
    format!(
        "{:04}{:02}{:02}-{:02}{:02}{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

/// One read transaction over everything: writers go on meanwhile.
async fn write_copy(from: &Path, to: &Path, watch: &mut dyn FnMut(CopyStep)) -> anyhow::Result<()> {
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made here first, so that nobody else may read it.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await?;
    let path = to.to_str().ok_or_else(|| anyhow::anyhow!("the name is no UTF-8"))?;
    let of: i64 = sqlx::query_scalar(USED_BYTES).fetch_one(&mut connection).await?;
    let of = u64::try_from(of).unwrap_or(0);
    let written = || to.metadata().map_or(0, |file| file.len());
    {
        let mut copying = std::pin::pin!(sqlx::query("VACUUM INTO ?").bind(path).execute(&mut connection));
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                done = &mut copying => break done?,
                _ = look.tick() => watch(CopyStep::Writing { bytes: written().min(of), of }),
            }
        }
    };
    watch(CopyStep::Writing {
        bytes: written(),
        of: written(),
    });
    connection.close().await?;
    File::open(to)?.sync_all()?;
    Ok(())
}

/// Whether this file is a whole database of this program or of an older one.
async fn fit(file: &Path) -> Result<Schema, CopyError> {
    let unfit = |what: String| CopyError::Unfit {
        file: file.to_owned(),
        what,
    };
    let looked = schema::look(file)
        .await
        .map_err(|error| unfit(format!("is no backup: {error:#}")))?;
    let schema = looked.filter(|schema| !schema.applied.is_empty());
    let schema = schema.ok_or_else(|| unfit("is no database of this service".to_owned()))?;
    if let Some(version) = schema.unknown.last() {
        return Err(unfit(format!(
            "has a newer schema ({version}) than this program: use a newer version"
        )));
    }
    let checked: Result<String, sqlx::Error> = async {
        let mut connection = schema::connect(file).await?;
        let said = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(said)
    }
    .await;
    match checked {
        Ok(said) if said == "ok" => Ok(schema),
        Ok(said) => Err(unfit(format!("is damaged: {said}"))),
        Err(error) => Err(unfit(format!("is damaged: {error}"))),
    }
}

/// Folds the log of a database into its file. Refused while anybody else has it open.
async fn close_log(path: &Path) -> Result<(), CopyError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_millis(200))
        .journal_mode(SqliteJournalMode::Delete);
    let closed: sqlx::Result<()> = async { options.connect().await?.close().await }.await;
    closed.map_err(|error| {
        let code = error.as_database_error().and_then(|said| said.code());
        if code.as_deref() == Some("5") {
            return CopyError::InUse(path.to_owned());
        }
        CopyError::Failed {
            file: path.to_owned(),
            error: explain::explain(&error.into(), path),
        }
    })
}

fn copy_file(from: &Path, to: &Path, watch: &mut dyn FnMut(CopyStep)) -> std::io::Result<()> {
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let source = File::open(from)?;
    let of = source.metadata()?.len();
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to);
    let mut target = options?;
    let mut bytes = 0;
    loop {
        watch(CopyStep::Writing { bytes, of });
        let copied = std::io::copy(&mut (&source).take(CHUNK), &mut target)?;
        if copied == 0 {
            break;
        }
        bytes += copied;
    }
    target.sync_all()
}

/// Gives a file that is on disk its name, for good.
fn publish(fresh: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(fresh, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn done(file: &Path, schema: &Schema, kept: Option<PathBuf>) -> std::io::Result<Copied> {
    Ok(Copied {
        file: file.to_owned(),
        bytes: file.metadata()?.len(),
        schema: schema.applied.last().copied(),
        kept,
    })
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{end}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(path: &Path, statements: &str) {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    /// What was written at each step, and that everything between is in order.
    #[track_caller]
    fn written(steps: &[CopyStep]) -> Vec<(u64, u64)> {
        let written: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                CopyStep::Writing { bytes, of } => Some((*bytes, *of)),
                CopyStep::Checking => None,
            })
            .collect();
        assert!(written.iter().all(|(bytes, of)| bytes <= of), "{steps:?}");
        assert!(written.is_sorted_by_key(|(bytes, _)| *bytes), "{steps:?}");
        assert_eq!(steps.len(), written.len() + 1, "the file is looked at once: {steps:?}");
        written
    }

    #[tokio::test]
    async fn who_waits_is_told_how_much_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("p2p.db"), folder.path().join("copy.db"));
        super::super::open(&path, 1).await.unwrap().health.close().await;
        run(
            &path,
            "CREATE TABLE filler (content BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
             INSERT INTO filler SELECT randomblob(3000) FROM n; DELETE FROM filler WHERE rowid % 3 = 0",
        )
        .await;
        let mut steps = Vec::new();
        let copied = backup(&path, &copy, false, &mut |step| steps.push(step)).await.unwrap();
        assert_eq!(steps.last(), Some(&CopyStep::Checking));
        let told = written(&steps);
        assert_eq!(told.last(), Some(&(copied.bytes, copied.bytes)));
        // Free pages are no part of what is to be written.
        let first = told[0].1;
        assert!(
            first >= copied.bytes && first < copied.bytes + copied.bytes / 10,
            "{first} {copied:?}"
        );

        let restored = folder.path().join("restored.db");
        let mut steps = Vec::new();
        let back = restore(&copy, &restored, false, &mut |step| steps.push(step))
            .await
            .unwrap();
        assert_eq!(steps[0], CopyStep::Checking);
        let told = written(&steps);
        assert_eq!(
            (told[0], told.last()),
            ((0, copied.bytes), Some(&(back.bytes, back.bytes)))
        );
        assert!(told.len() > 3, "{told:?}");
    }
}

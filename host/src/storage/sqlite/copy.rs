//! Backup of a file while it is in use, and its way back. A copy is whole or is not there: it gets its name when it is on disk.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{BUSY_TIMEOUT, explain, schema};
use crate::storage::Schema;

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

/// Copies the database at `from` to the new file `to` as of one moment, while others read and write it. The copy is checked.
///
/// # Errors
/// See [`CopyError`].
pub async fn backup(from: &Path, to: &Path, force: bool) -> Result<Copied, CopyError> {
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
    let written = write_copy(from, &fresh).await.map_err(failed);
    let copied = match written {
        Ok(()) => fit(&fresh).await,
        Err(error) => Err(error),
    };
    let schema = copied.inspect_err(|_| drop(std::fs::remove_file(&fresh)))?;
    publish(&fresh, to).map_err(|error| failed(error.into()))?;
    done(to, &schema, None).map_err(|error| failed(error.into()))
}

/// Puts the copy `from` in the place of the database at `to`, which nobody may have open. With `force`, a database that is there
/// gets another name first.
///
/// # Errors
/// See [`CopyError`].
pub async fn restore(from: &Path, to: &Path, force: bool) -> Result<Copied, CopyError> {
    if !from.is_file() {
        return Err(CopyError::Missing(from.to_owned()));
    }
    let failed = |error: anyhow::Error| CopyError::Failed {
        file: to.to_owned(),
        error,
    };
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
    copy_file(from, &fresh).map_err(|error| failed(error.into()))?;
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
async fn write_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made here first, so that nobody else may read it.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await?;
    let path = to.to_str().ok_or_else(|| anyhow::anyhow!("the name is no UTF-8"))?;
    sqlx::query("VACUUM INTO ?").bind(path).execute(&mut connection).await?;
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
        .busy_timeout(std::time::Duration::from_millis(200))
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

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut source = File::open(from)?;
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to);
    let mut target = options?;
    std::io::copy(&mut source, &mut target)?;
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

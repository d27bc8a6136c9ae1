//! How far the schema of a file is, looked at without changing anything.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{BUSY_TIMEOUT, MIGRATIONS, explain};
use crate::storage::Schema;

/// The schema of the file at `path`; none when there is no such file.
///
/// # Errors
/// It is no database, or cannot be read. The text says what to do.
pub async fn look(path: &Path) -> anyhow::Result<Option<Schema>> {
    if !path.exists() {
        return Ok(None);
    }
    let looked = read(path).await;
    looked.map(Some).map_err(|error| explain::explain(&error, path))
}

async fn read(path: &Path) -> anyhow::Result<Schema> {
    let mut connection = connect(path).await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await?;
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(Schema::new(format!("SQLite {version}"), applied, &MIGRATIONS))
}

/// A connection that writes nothing to the data.
pub(super) async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "ON");
    options.connect().await
}

async fn applied(connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
    let table: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?;
    if table == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
}

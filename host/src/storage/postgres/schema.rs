//! How far the schema of a database is, looked at without changing anything.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::connect;
use crate::storage::Schema;

const STATE: &str = "
    SELECT current_setting('server_version') AS version,
        current_setting('transaction_read_only')::BOOLEAN AS read_only,
        current_setting('server_encoding') AS encoding,
        COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE)
            OR has_database_privilege(current_database(), 'CREATE') AS may_create,
        to_regclass('_sqlx_migrations') IS NOT NULL AS migrated";

/// Connects to the database at `url` and says how far its schema is.
///
/// # Errors
/// It cannot be reached, refuses, or could not serve. The text says what to do.
pub async fn look(url: &str, statement: Duration) -> anyhow::Result<Schema> {
    let options = connect::options(url, statement)?;
    let mut connection = connect::first(&options).await?;
    let looked = read(&mut connection, options.get_username()).await;
    connection.close().await.ok();
    looked.map_err(|error| anyhow::anyhow!("{}: {error:#}", connect::place(&options)))
}

async fn read(connection: &mut PgConnection, user: &str) -> anyhow::Result<Schema> {
    let row = sqlx::query(STATE).fetch_one(&mut *connection).await?;
    let encoding: String = row.try_get("encoding")?;
    if row.try_get("read_only")? {
        anyhow::bail!("the database takes no writes; connect to the primary server");
    }
    if encoding != "UTF8" {
        anyhow::bail!("the database has the encoding {encoding}; create it with ENCODING 'UTF8' TEMPLATE template0");
    }
    if !row.try_get::<bool, _>("may_create")? {
        anyhow::bail!(
            "the user may not create tables; as an administrator, in this database: GRANT CREATE ON SCHEMA public TO \"{user}\""
        );
    }
    let applied = if row.try_get("migrated")? {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(connection)
            .await?
    } else {
        Vec::new()
    };
    let version: String = row.try_get("version")?;
    Ok(Schema::new(
        format!("PostgreSQL {version}"),
        applied,
        &connect::MIGRATIONS,
    ))
}

/// What PostgreSQL's own programs need to find this database, without the password: `-h … -p … -U … -d …`.
///
/// # Errors
/// It is no URL of a PostgreSQL database.
pub fn arguments(url: &str) -> anyhow::Result<String> {
    let options = connect::options(url, Duration::ZERO)?;
    let user = options.get_username();
    let host = options
        .get_socket()
        .map_or_else(|| options.get_host().to_owned(), |folder| folder.display().to_string());
    let database = options.get_database().unwrap_or(user);
    Ok(format!("-h {host} -p {} -U {user} -d {database}", options.get_port()))
}

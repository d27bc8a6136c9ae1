//! The way to the database: options of a connection, the first one with an explanation of what is wrong, the schema.

use std::io::ErrorKind;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::fault::code;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// Longest wait for the first connection, repetitions while the server starts included.
const FIRST: Duration = Duration::from_secs(4);

/// Pause between two attempts while the server starts.
const STARTING: Duration = Duration::from_millis(200);

/// Longest wait for another node that changes the schema, and longest run of one such change.
const MIGRATION: Duration = Duration::from_secs(600);

/// Prepared statements kept per connection; more than this module has.
const STATEMENTS: usize = 256;

/// The options of every connection. `statement` is the longest run of one statement.
pub(super) fn options(url: &str, statement: Duration) -> anyhow::Result<PgConnectOptions> {
    // The error of the parser may hold the password.
    let mut options =
        PgConnectOptions::from_str(url).map_err(|_| anyhow!("this is no URL of a PostgreSQL database"))?;
    let host = options.get_host();
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address = address.to_owned();
        options = options.host(&address);
    }
    // As with PostgreSQL's own client, a root certificate is there to be checked.
    if matches!(options.get_ssl_mode(), PgSslMode::Require) && url.contains("sslrootcert=") {
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    if options.get_application_name().is_none() {
        options = options.application_name("p2p-coordinator");
    }
    Ok(options.statement_cache_capacity(STATEMENTS).options([
        ("statement_timeout", millis(statement)),
        // Ends before the statement does, with an error of its own.
        ("lock_timeout", millis(statement / 2)),
        // A node that stops in the middle of something must not hold its locks for long.
        ("idle_in_transaction_session_timeout", millis(statement * 2)),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("default_transaction_deferrable", "off".to_owned()),
    ]))
}

fn millis(span: Duration) -> String {
    span.as_millis().max(1).to_string()
}

/// Makes sure that the database is there, takes writes, and has the schema of this program.
///
/// # Errors
/// One sentence that says what is wrong and what to do.
pub(super) async fn prepare(options: &PgConnectOptions) -> anyhow::Result<()> {
    let limit = millis(MIGRATION);
    let patient = options
        .clone()
        .options([("statement_timeout", &limit), ("lock_timeout", &limit)]);
    let mut connection = first(&patient).await?;
    check(&mut connection, options).await.with_context(|| place(options))?;
    let migrated = MIGRATIONS.run(&mut connection).await;
    migrated.map_err(|error| migration(error, options))?;
    connection.close().await.ok();
    Ok(())
}

/// The first connection. While the server starts, it is asked again.
pub(super) async fn first(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let end = Instant::now() + FIRST;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let error = match tokio::time::timeout(left, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        if code(&error) != "57P03" || left < STARTING {
            return Err(explain(error, options));
        }
        tokio::time::sleep(STARTING).await;
    }
}

/// Refuses what would fail later and makes a schema when the one that is meant may not be written.
async fn check(connection: &mut PgConnection, options: &PgConnectOptions) -> anyhow::Result<()> {
    const STATE: &str = "
        SELECT current_setting('transaction_read_only')::BOOLEAN AS read_only,
            current_setting('server_encoding') AS encoding,
            COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE) AS ready,
            has_database_privilege(current_database(), 'CREATE') AS may_make_one";
    for attempt in 0..2 {
        let row = sqlx::query(STATE).fetch_one(&mut *connection).await?;
        if row.try_get("read_only")? {
            anyhow::bail!("the database takes no writes; connect to the primary server");
        }
        let encoding: String = row.try_get("encoding")?;
        if encoding != "UTF8" {
            anyhow::bail!(
                "the database has the encoding {encoding}; create it with ENCODING 'UTF8' TEMPLATE template0"
            );
        }
        if row.try_get("ready")? {
            return Ok(());
        }
        let (may_make_one, user): (bool, _) = (row.try_get("may_make_one")?, options.get_username());
        if !may_make_one || attempt > 0 {
            anyhow::bail!(
                "the user may not create tables; as an administrator, in this database: GRANT CREATE ON SCHEMA public TO \"{user}\""
            );
        }
        // With all privileges on a database alone nobody may write to its schema `public` any more. A schema with the name of
        // the user goes before `public`. Another node may make it at the same time.
        let made = sqlx::query("CREATE SCHEMA IF NOT EXISTS AUTHORIZATION CURRENT_USER")
            .execute(&mut *connection)
            .await;
        match made {
            Err(error) if !matches!(&*code(&error), "23505" | "42P06") => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// What went wrong on the way to the server, and what to do about it.
pub(super) fn explain(error: sqlx::Error, options: &PgConnectOptions) -> anyhow::Error {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let advice = match &error {
        sqlx::Error::PoolTimedOut => {
            "there is no answer in time; check host and port, the firewall, and that the server is well".to_owned()
        }
        sqlx::Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => {
                "nothing listens there; start PostgreSQL, or correct host and port (listen_addresses, port)".to_owned()
            }
            ErrorKind::NotFound => "there is no such socket; start PostgreSQL, or correct the path".to_owned(),
            ErrorKind::InvalidData => {
                format!("TLS failed: {io}; check sslmode, sslrootcert and the host name")
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                format!("the connection was cut ({io}); check that this is PostgreSQL, and its log")
            }
            _ => format!("{io}; check the host name and the network"),
        },
        sqlx::Error::Tls(tls) => {
            format!("TLS failed: {tls}; check sslmode and sslrootcert, or switch TLS on in the server (ssl = on)")
        }
        sqlx::Error::Configuration(cause) => format!("{cause}; check the options in the URL"),
        sqlx::Error::Protocol(cause) => {
            format!("what answers is no PostgreSQL server ({cause}); correct host and port")
        }
        sqlx::Error::Database(said) => match &*code(&error) {
            "28P01" => format!("the password is wrong ({said}); correct it, or: ALTER USER \"{user}\" PASSWORD '…'"),
            "28000" => {
                format!("the server refuses this user ({said}); create the user, or let it in (pg_hba.conf, sslmode)")
            }
            "3D000" => format!("the database does not exist; CREATE DATABASE \"{database}\" OWNER \"{user}\""),
            "42501" => {
                format!("the user has no right ({said}); GRANT ALL PRIVILEGES ON DATABASE \"{database}\" TO \"{user}\"")
            }
            "53300" => format!(
                "the server has no connection left ({said}); raise max_connections, or lower DATABASE_POOL_SIZE"
            ),
            "57P03" => format!("the server does not take connections yet ({said}); try again when it does"),
            code => format!("{said} ({code})"),
        },
        other => other.to_string(),
    };
    anyhow!("{}: {advice}", place(options))
}

/// What went wrong with the schema, and what to do about it.
fn migration(error: MigrateError, options: &PgConnectOptions) -> anyhow::Error {
    let advice = match &error {
        MigrateError::VersionMissing(version) => {
            format!("its schema ({version}) is newer than this program; start a newer version")
        }
        MigrateError::VersionMismatch(version) => {
            format!("its schema ({version}) is not the one that this program made; name another database")
        }
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) if code(cause) == "42P07" => {
            format!("it holds tables of another program ({cause}); name an empty database")
        }
        other => format!("cannot bring the schema up to date: {other}"),
    };
    anyhow!("{}: {advice}", place(options))
}

/// Where the database is; never the password.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let server = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    format!("PostgreSQL at {server}, database {database}, user {user}")
}

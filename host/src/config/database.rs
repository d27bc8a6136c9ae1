//! Which database, and how many connections to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;

/// Which database.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A file of the embedded database.
    Sqlite(PathBuf),
    /// `postgresql://…`; carries a password.
    Postgres(SecretString),
}

/// `DATABASE_URL`, `DATABASE_POOL_SIZE`, `DATABASE_MAX_OVERFLOW`, `DATABASE_STATEMENT_TIMEOUT_MS`.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    pub pool_size: u32,
    pub max_overflow: u32,
    /// Longest run of one statement; PostgreSQL only.
    pub statement_timeout: Duration,
}

const RIGHT: &str = "must be sqlite:///relative/path.db, sqlite:////absolute/path.db, sqlite:path.db, \
                     postgresql://user:password@host:5432/name or postgresql+asyncpg://…";

/// Ways to use TLS. `allow` is not among them: it would ask for none.
const TLS: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// What a PostgreSQL URL may say behind its `?`, besides `ssl`.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "application_name",
    "options",
];

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader<'_>, data_dir: &Path) -> Self {
        let url = match reader.given("DATABASE_URL") {
            None => DatabaseUrl::Sqlite(data_dir.join("coordinator.db")),
            Some(text) => parse(text).unwrap_or_else(|message| {
                reader.refuse("DATABASE_URL", message);
                DatabaseUrl::Sqlite(PathBuf::new())
            }),
        };
        Self {
            url,
            pool_size: reader.number("DATABASE_POOL_SIZE", 1..=500),
            max_overflow: reader.number("DATABASE_MAX_OVERFLOW", 0..=500),
            statement_timeout: Duration::from_millis(reader.number("DATABASE_STATEMENT_TIMEOUT_MS", 100..=60_000)),
        }
    }
}

/// Reads SQLAlchemy's URLs and the plain ones. As there, three slashes start a relative path and four an absolute one.
fn parse(text: &str) -> Result<DatabaseUrl, String> {
    let (scheme, rest) = text.split_once(':').ok_or(RIGHT)?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgresql+asyncpg" | "postgresql" | "postgres" => {
            let rest = rest.strip_prefix("//").filter(|rest| !rest.is_empty()).ok_or(RIGHT)?;
            let url = postgres(&format!("postgresql://{rest}"))?;
            Ok(DatabaseUrl::Postgres(SecretString::from(url)))
        }
        "sqlite" | "sqlite+aiosqlite" => {
            let path = rest
                .strip_prefix("///")
                .or_else(|| rest.strip_prefix("//"))
                .unwrap_or(rest);
            if path.is_empty() || path.contains(":memory:") {
                return Err("must name a file: a database in memory would forget acknowledged writes".to_owned());
            }
            if path.contains('?') {
                return Err("must end with the path of the file; options behind ? are not read".to_owned());
            }
            Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
        }
        _ => Err(RIGHT.to_owned()),
    }
}

/// Checks a PostgreSQL URL and gives it the one spelling that the driver reads. Messages repeat nothing that may be secret.
fn postgres(text: &str) -> Result<String, String> {
    let unreadable = "must be postgresql://user:password@host:5432/name; in the password write each of / ? # @ : % as %2F %3F \
                      %23 %40 %3A %25";
    let mut url = reqwest::Url::parse(text).map_err(|_| unreadable)?;
    if url.fragment().is_some() {
        return Err(unreadable.to_owned());
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in url.query_pairs() {
        // As SQLAlchemy and asyncpg spell it.
        let name = if name == "ssl" { "sslmode" } else { &*name };
        if !PARAMETERS.contains(&name) {
            let known = PARAMETERS.join(", ");
            return Err(format!(
                "has an option behind ? that is not known; known are ssl, {known}"
            ));
        }
        if name == "sslmode" && !TLS.contains(&&*value) {
            return Err(format!("must have sslmode (or ssl) as one of {}", TLS.join(", ")));
        }
        if matches!(name, "sslrootcert" | "sslcert" | "sslkey")
            && !value.starts_with("-----BEGIN")
            && let Err(error) = std::fs::File::open(&*value)
        {
            return Err(format!(
                "must have {name} as the path of a file that can be read: {error}"
            ));
        }
        pairs.push((name.to_owned(), value.into_owned()));
    }
    let has = |wanted: &str| pairs.iter().any(|(name, value)| name == wanted && !value.is_empty());
    if url.host_str().is_none_or(str::is_empty) && !has("host") {
        return Err("must name the host: postgresql://user:password@host:5432/name".to_owned());
    }
    if url.path().trim_start_matches('/').is_empty() && !has("dbname") {
        return Err("must end with the name of the database: postgresql://user:password@host:5432/name".to_owned());
    }
    if url.username().is_empty() && !has("user") {
        return Err("must name the user: postgresql://user:password@host:5432/name".to_owned());
    }
    url.set_query(None);
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn sqlite(text: &str) -> PathBuf {
        match parse(text) {
            Ok(DatabaseUrl::Sqlite(path)) => path,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn spelled(text: &str) -> String {
        match parse(text) {
            Ok(DatabaseUrl::Postgres(url)) => url.expose_secret().to_owned(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sqlite_paths_follow_sqlalchemy() {
        assert_eq!(sqlite("sqlite:///data/x.db"), Path::new("data/x.db"));
        assert_eq!(sqlite("sqlite:////var/x.db"), Path::new("/var/x.db"));
        assert_eq!(sqlite("sqlite+aiosqlite:///./x.db"), Path::new("./x.db"));
        assert_eq!(sqlite("sqlite:/var/x.db"), Path::new("/var/x.db"));
        assert_eq!(sqlite("sqlite:x.db"), Path::new("x.db"));
    }

    #[test]
    fn postgresql_prefixes_become_one() {
        for scheme in ["postgresql+asyncpg", "postgresql", "postgres"] {
            assert_eq!(
                spelled(&format!("{scheme}://u:p@localhost:5432/d")),
                "postgresql://u:p@localhost:5432/d"
            );
        }
    }

    #[test]
    fn tls_has_two_spellings() {
        for word in TLS {
            let right = format!("postgresql://u:p@h/d?sslmode={word}");
            assert_eq!(spelled(&right), right);
            assert_eq!(spelled(&format!("postgresql+asyncpg://u:p@h/d?ssl={word}")), right);
        }
    }

    #[test]
    fn sockets_are_named_behind_the_question_mark() {
        let url = spelled("postgresql:///d?user=u&host=/run/postgresql");
        assert_eq!(url, "postgresql:///d?user=u&host=%2Frun%2Fpostgresql");
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, part) in [
            ("mysql://h/d", "sqlite:"),
            ("data.db", "sqlite:"),
            ("postgresql:", "sqlite:"),
            ("sqlite://", "name a file"),
            ("sqlite:///:memory:", "name a file"),
            ("sqlite:///x.db?mode=ro", "options behind"),
            ("postgresql://u:s3cret@h", "name of the database"),
            ("postgresql://u:s3cret@h/", "name of the database"),
            ("postgresql://h/d", "the user"),
            ("postgresql:///d", "the host"),
            ("postgresql://u:s3cret#x@h/d", "%23"),
            ("postgresql://u:s3cret/x@h/d", "%2F"),
            ("postgresql://u:s3cret@h:port/d", "5432"),
            ("postgresql://u:s3cret@h/d?sslmode=allow", "verify-full"),
            ("postgresql://u:s3cret@h/d?ssl=true", "verify-full"),
            ("postgresql://u:s3cret@h/d?passwd=s3cret", "not known"),
            ("postgresql://u:s3cret@h/d?sslrootcert=/no/such/file", "sslrootcert"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("s3cret"), "{text}: {message}");
        }
    }
}

//! Which database, and how many connections to it.

use std::path::{Path, PathBuf};

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

/// `DATABASE_URL`, `DATABASE_POOL_SIZE`, `DATABASE_MAX_OVERFLOW`.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    pub pool_size: u32,
    pub max_overflow: u32,
}

const RIGHT: &str = "must be sqlite:///relative/path.db, sqlite:////absolute/path.db, sqlite:path.db, \
                     postgresql://user:password@host:5432/name or postgresql+asyncpg://…";

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
        }
    }
}

/// Reads SQLAlchemy's URLs and the plain ones. As there, three slashes start a relative path and four an absolute one.
fn parse(text: &str) -> Result<DatabaseUrl, &'static str> {
    let (scheme, rest) = text.split_once(':').ok_or(RIGHT)?;
    match scheme.to_ascii_lowercase().as_str() {
        "postgresql+asyncpg" | "postgresql" | "postgres" => {
            let rest = rest.strip_prefix("//").filter(|rest| !rest.is_empty()).ok_or(RIGHT)?;
            let url = format!("postgresql://{rest}");
            reqwest::Url::parse(&url).map_err(|_| RIGHT)?;
            Ok(DatabaseUrl::Postgres(SecretString::from(url)))
        }
        "sqlite" | "sqlite+aiosqlite" => {
            let path = rest
                .strip_prefix("///")
                .or_else(|| rest.strip_prefix("//"))
                .unwrap_or(rest);
            if path.is_empty() || path.contains(":memory:") {
                return Err("must name a file: a database in memory would forget acknowledged writes");
            }
            if path.contains('?') {
                return Err("must end with the path of the file; options behind ? are not read");
            }
            Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
        }
        _ => Err(RIGHT),
    }
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
            let Ok(DatabaseUrl::Postgres(url)) = parse(&format!("{scheme}://u:p@localhost:5432/d")) else {
                panic!("{scheme}");
            };
            assert_eq!(url.expose_secret(), "postgresql://u:p@localhost:5432/d");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "mysql://h/d",
            "data.db",
            "postgresql:",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///x.db?mode=ro",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

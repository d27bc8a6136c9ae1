//! Durable storage, behind `ports::storage`: one module per database, and what they share.

mod beats;
pub mod postgres;
pub mod sqlite;

use sqlx::migrate::Migrator;

/// How far the schema of a database is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Schema {
    /// The server and its version, for people.
    pub server: String,
    /// Migrations that have run, by number.
    pub applied: Vec<i64>,
    /// Migrations of this program that have not.
    pub pending: Vec<i64>,
    /// Migrations that a newer program has run: this one cannot use the database.
    pub unknown: Vec<i64>,
}

impl Schema {
    fn new(server: String, applied: Vec<i64>, migrations: &Migrator) -> Self {
        let known: Vec<i64> = migrations.iter().map(|migration| migration.version).collect();
        let pending = known.iter().filter(|version| !applied.contains(version));
        let unknown = applied.iter().filter(|version| !known.contains(version));
        Self {
            server,
            pending: pending.copied().collect(),
            unknown: unknown.copied().collect(),
            applied,
        }
    }
}

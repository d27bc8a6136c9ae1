//! Durable storage, behind `ports::storage`: one module per database, and what they share.

mod beats;
mod measured;
mod metrics;
pub mod postgres;
pub mod sqlite;

use sqlx::migrate::Migrator;
use sqlx::{Database, Pool};

pub use self::measured::measured;
use crate::ports::storage::{PoolUse, SchemaVersions};

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

/// The newest migration that has run, 0 before the first one. Both databases take it.
const APPLIED: &str = "SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM _sqlx_migrations WHERE success";

/// The answer to `APPLIED`, beside what this program knows.
fn versions(applied: i64, migrations: &Migrator) -> SchemaVersions {
    let known = migrations.iter().map(|migration| migration.version).max();
    SchemaVersions {
        applied,
        known: known.unwrap_or_default(),
    }
}

fn pool_use<D: Database>(pool: &'static str, connections: &Pool<D>, waiting: Option<u32>) -> PoolUse {
    let idle = u32::try_from(connections.num_idle()).unwrap_or(u32::MAX);
    PoolUse {
        pool,
        most: connections.options().get_max_connections(),
        idle,
        in_use: connections.size().saturating_sub(idle),
        waiting,
    }
}

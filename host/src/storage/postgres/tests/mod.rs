//! The contract of storage, on PostgreSQL, and what only a server of its own can show.

mod opening;
mod outage;
mod patience;
mod plans;
mod sharing;
mod tls;

use std::time::Duration;

use p2p_coordinator_tests::postgres::{Database, database};

use super::{Limits, open};
use crate::ports::contract::storage_contract;
use crate::ports::storage::Storage;

const LIMITS: Limits = Limits {
    kept: 2,
    most: 8,
    statement: Duration::from_secs(5),
};

async fn empty() -> (Storage, Database) {
    let database = database();
    let store = open(database.url(), LIMITS).await.unwrap();
    (store, database)
}

storage_contract!(super::empty);

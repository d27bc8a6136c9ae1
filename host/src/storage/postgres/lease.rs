//! A connection on loan from the pool, and its way back.
//!
//! The pool tests what comes back, without an end. A connection that has gone silent (its network is cut, its server is halted)
//! would keep its place until the system gives it up, a quarter of an hour later; enough of them, and the pool is empty. So the
//! way back has an end here: what does not make it is closed.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::fault::is_dead;

/// Longest way back. A statement that was abandoned may still run.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// The loan.
pub(super) struct Lease(PoolConnection<Postgres>);

impl Lease {
    pub(super) fn of(connection: PoolConnection<Postgres>) -> Self {
        Self(connection)
    }

    /// Starts a transaction. A connection that turns out dead here is `BeginFailed`: nothing has happened yet.
    pub(super) async fn begin(&mut self) -> sqlx::Result<Transaction<'_, Postgres>> {
        let begun = PgConnection::begin(&mut self.0).await;
        begun.map_err(|error| {
            if is_dead(&error) {
                sqlx::Error::BeginFailed
            } else {
                error
            }
        })
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let back = self.0.return_to_pool();
        // Without a runtime it is closed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(RETURN_TIMEOUT, back));
        }
    }
}

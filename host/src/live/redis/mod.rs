//! Live state that several nodes share, in Redis or DragonflyDB. Nothing here is needed for a restart of either side: every
//! key has an end, an empty server fills again by itself, and while it is away each node goes on alone.

mod board;
mod board_news;
mod buckets;
mod connection;
mod fault;
mod fleet;
mod keys;
mod leases;
mod link;
mod metrics;
mod server;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod wakeups;

use std::sync::Arc;

use async_trait::async_trait;

use crate::ports::live::{Live, LiveHealth, Result};

pub use connection::{Connection, Ordered};
pub use keys::Keys;
pub use link::Script;
pub use status::State;
pub use subscription::{Event, Subscription};

/// Live state of one node among several. `node` is different for each of them.
#[must_use]
pub fn open(connection: &Connection, node: &str) -> Live {
    compose(connection, node, false)
}

/// `given_time`: buckets go by the time they are given and not by the server's.
fn compose(connection: &Connection, node: &str, given_time: bool) -> Live {
    Live {
        hosts: Arc::new(board::SharedBoard::start(connection, node)),
        buckets: Arc::new(buckets::SharedBuckets::new(connection.clone(), given_time)),
        leases: Arc::new(leases::SharedLeases(connection.clone())),
        fleet: Arc::new(fleet::RedisFleet::new(connection.clone())),
        wakeups: Arc::new(wakeups::Channels(connection.clone())),
        health: Arc::new(Health(connection.clone())),
    }
}

struct Health(Connection);

#[async_trait]
impl LiveHealth for Health {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn ping(&self) -> Result<()> {
        self.0.query(&redis::cmd("PING")).await
    }
}

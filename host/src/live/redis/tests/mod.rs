//! Live state on real servers: the contract, and what happens when a server goes away, comes back empty, or is another one.

mod connection;
mod contract;
mod fleet;
mod state;

use std::time::Duration;

use p2p_coordinator_tests::Redis;

use super::*;
use crate::config::{RedisConfig, RedisUrl};

/// As long as a step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(url: &str) -> RedisConfig {
    RedisConfig {
        url: Some(RedisUrl::parse(url).unwrap_or_else(|message| panic!("{url}: {message}"))),
        max_connections: 50,
    }
}

async fn connect(url: &str) -> Connection {
    let config = config(url);
    Connection::open(&config, config.url.as_ref().unwrap(), &prometheus::Registry::new())
        .await
        .unwrap()
}

/// Waits for a state; fails when it does not come.
async fn until(connection: &Connection, what: impl FnMut(&State) -> bool) -> State {
    let mut state = connection.watch();
    let state = tokio::time::timeout(PATIENCE, state.wait_for(what)).await;
    *state.expect("the state comes").unwrap()
}

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(PATIENCE, subscription.next())
        .await
        .expect("an event comes")
}

//! The contract of live state, on Redis. The checks share one server and keep apart by the names of their keys. With
//! `TEST_REDIS_URL` they use that server, whatever it is, and leave nothing there that does not end by itself.

use std::sync::Arc;

use super::*;
use crate::ports::contract::live_contract;
use crate::ports::live::Live;

async fn empty() -> (Live, Option<Arc<Redis>>) {
    let given = std::env::var("TEST_REDIS_URL").ok();
    let server = given.is_none().then(Redis::shared);
    let url = given.or_else(|| server.as_ref().map(|server| server.url())).unwrap();
    let config = config(&url);
    let connection = Connection::open_apart(&config, config.url.as_ref().unwrap())
        .await
        .unwrap();
    let live = compose(&connection, "node", true);
    until_quiet(&live).await;
    (live, server)
}

/// Waits until the board has joined the others, which it tells once.
async fn until_quiet(live: &Live) {
    let joined = async {
        while !live.hosts.take_missed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, joined)
        .await
        .expect("the board joins the others");
}

live_contract!(super::empty);

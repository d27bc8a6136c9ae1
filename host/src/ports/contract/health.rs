//! Contract of `StorageHealth` and `LiveHealth`.

use crate::ports::live::Live;
use crate::ports::storage::Storage;

pub(crate) async fn storage_answers(store: &Storage) {
    assert!(["sqlite", "postgres"].contains(&store.health.kind()));
    store.health.ping().await.unwrap();
    let schema = store.health.schema().await.unwrap();
    assert!(schema.applied > 0 && schema.applied == schema.known, "{schema:?}");
    let pools = store.health.pools();
    assert!(!pools.is_empty());
    for pool in pools {
        let open = pool.idle + pool.in_use;
        assert!((1..=pool.most).contains(&open), "{pool:?}");
    }
    store.health.close().await;
    assert!(store.health.schema().await.is_err());
    assert!(store.health.ping().await.is_err());
    assert!(store.hosts.all().await.is_err());
    store.health.close().await;
}

pub(crate) async fn live_answers(live: &Live) {
    assert!(["memory", "redis"].contains(&live.health.kind()));
    live.health.ping().await.unwrap();
}

//! Contract of `StorageHealth` and `LiveHealth`.

use crate::ports::live::Live;
use crate::ports::storage::Storage;

pub(crate) async fn storage_answers(store: &Storage) {
    assert!(["sqlite", "postgres"].contains(&store.health.kind()));
    store.health.ping().await.unwrap();
    store.health.close().await;
    assert!(store.health.ping().await.is_err());
    assert!(store.hosts.all().await.is_err());
    store.health.close().await;
}

pub(crate) async fn live_answers(live: &Live) {
    assert!(["memory", "redis"].contains(&live.health.kind()));
    live.health.ping().await.unwrap();
}

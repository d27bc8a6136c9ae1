//! The contract of storage, on SQLite, and what only a file can show.

use std::time::Duration;

use tempfile::TempDir;

use super::{BEGIN, failed, open, reach};
use crate::domain::host::{HostStatus, Measurements};
use crate::domain::session::SessionStatus;
use crate::ports::contract::{NOW, a_host, a_session, a_zone, done, key, new_session, storage_contract};
use crate::ports::storage::{
    HeartbeatRecord, RefreshFamily, Rotated, SessionFilter, Storage, StorageError, ZoneFilter,
};

async fn empty() -> (Storage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("deep/er/p2p.db"), 4).await.unwrap();
    (store, folder)
}

storage_contract!(super::empty);

#[tokio::test]
async fn a_full_disk_fails_writes_only_as_long_as_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let database = reach(&folder.path().join("p2p.db"), 1).await.unwrap();
    let most = async |pages: &str| {
        let pragma = format!("PRAGMA max_page_count = {pages}");
        let set = sqlx::raw_sql(sqlx::AssertSqlSafe(pragma))
            .execute(&database.write)
            .await;
        set.unwrap();
    };
    let fill = async || {
        let mut tx = database.begin().await?;
        let filled = sqlx::raw_sql("INSERT INTO filler VALUES (randomblob(1000000))");
        filled.execute(&mut *tx).await.map_err(failed)?;
        database.commit(tx).await
    };
    let table = sqlx::raw_sql("CREATE TABLE filler (content BLOB)").execute(&database.write);
    table.await.unwrap();
    // The same error as of a full disk; the bound is that of one connection.
    for _ in 0..3 {
        most("1").await;
        let error = fill().await.unwrap_err();
        assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        let begun = database.write.begin_with(BEGIN).await.err();
        assert!(
            matches!(begun, Some(sqlx::Error::InvalidSavePointStatement)),
            "the driver mends it now: {begun:?}"
        );
        assert!(database.begin().await.is_ok(), "the next one may write");
    }
    most("1000000").await;
    fill().await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM filler")
        .fetch_one(&database.read)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn reopening_shows_all_again() {
    let (store, folder) = empty().await;
    let path = folder.path().join("deep/er/p2p.db");
    a_host(&store, "one").await;
    a_zone(&store, "plaza").await;
    a_session(&store, "a", "one", "plaza", &["ann"]).await;
    done(store.sessions.activate(&key("a"), NOW).await.unwrap());
    let family = RefreshFamily {
        family_id: "family".to_owned(),
        player_id: "ann".to_owned(),
        user_id: None,
        current_jti: "jti".to_owned(),
        expires_at: NOW.plus_seconds(9),
    };
    store.refresh.start(&family, NOW).await.unwrap();
    let all = async |store: &Storage| {
        let filter = SessionFilter {
            limit: 9,
            ..SessionFilter::default()
        };
        (
            store.hosts.all().await.unwrap(),
            store.zones.list(ZoneFilter::default()).await.unwrap(),
            store.sessions.list(&filter).await.unwrap(),
        )
    };
    let before = all(&store).await;
    assert_eq!(before.2[0].status, SessionStatus::Active);

    // While the first is open, as after a crash that left its log behind, and once more after an orderly close.
    let second = open(&path, 1).await.unwrap();
    assert_eq!(all(&second).await, before);
    second.health.close().await;
    store.health.close().await;
    assert!(!path.with_extension("db-wal").exists(), "closing folds the log in");
    let third = open(&path, 1).await.unwrap();
    assert_eq!(all(&third).await, before);
    let answer = third
        .refresh
        .rotate("family", "jti", "next", NOW.plus_seconds(9), NOW)
        .await
        .unwrap();
    assert!(matches!(answer, Rotated::Done(_)));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (store, folder) = empty().await;
    a_host(&store, "one").await;
    for name in ["p2p.db", "p2p.db-wal", "p2p.db-shm"] {
        let mode = folder
            .path()
            .join("deep/er")
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p.db");
    std::fs::write(
        &path,
        "not a database, but long enough to have a header of its own".repeat(20),
    )
    .unwrap();
    let error = open(&path, 1).await.err().unwrap();
    assert!(format!("{error:#}").contains("p2p.db"), "{error:#}");
}

#[tokio::test]
async fn the_guides_indexes_are_there() {
    let (_store, folder) = empty().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("deep/er/p2p.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'index'")
        .fetch_all(&pool)
        .await
        .unwrap();
    for name in [
        "idx_zone_status",
        "idx_host_status",
        "idx_zone_status_capacity",
        "idx_status_ended_at",
    ] {
        assert!(names.iter().any(|there| there == name), "{name}");
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_no_transaction_open() {
    let (store, _folder) = empty().await;
    a_zone(&store, "plaza").await;
    a_host(&store, "one").await;
    for number in 0..50_u64 {
        let call = new_session(&format!("dropped-{number}"), "one", "plaza", &[]);
        let _ = tokio::time::timeout(Duration::from_micros(number * 20), store.sessions.open(&call, NOW)).await;
    }
    let zone = store.zones.set_p2p("plaza", true, NOW).await.unwrap().unwrap();
    let filter = SessionFilter {
        limit: 99,
        ..SessionFilter::default()
    };
    let stored = store.sessions.list(&filter).await.unwrap().len();
    assert_eq!(
        i64::try_from(stored).unwrap(),
        zone.total_sessions,
        "whole or not at all"
    );
}

#[tokio::test]
async fn a_locked_file_is_unavailable() {
    let busy = sqlx::Error::PoolTimedOut;
    assert!(matches!(super::failed(busy), StorageError::Unavailable(_)));
    assert!(matches!(
        super::failed(sqlx::Error::RowNotFound),
        StorageError::Internal(_)
    ));
    let (store, _folder) = empty().await;
    store.health.close().await;
    assert!(matches!(store.hosts.all().await, Err(StorageError::Unavailable(_))));
}

#[tokio::test]
async fn a_large_batch_of_heartbeats_is_one_write() {
    let (store, _folder) = empty().await;
    for number in 0..200 {
        a_host(&store, &format!("host-{number}")).await;
    }
    let at = NOW.plus_seconds(1);
    let records: Vec<_> = (0..200)
        .map(|number| HeartbeatRecord {
            host_id: format!("host-{number}"),
            measured: Measurements {
                current_players: number,
                ..Measurements::default()
            },
            quality_score: 1.0,
            at,
        })
        .collect();
    store.hosts.save_heartbeats(&records).await.unwrap();
    let hosts = store.hosts.all().await.unwrap();
    assert!(
        hosts
            .iter()
            .all(|host| host.last_heartbeat == Some(at) && host.status == HostStatus::Online)
    );
    assert_eq!(
        hosts.iter().map(|host| u64::from(host.current_players)).sum::<u64>(),
        199 * 100
    );
}
